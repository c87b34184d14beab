"""Webhooks: which Attestation Result goes to which endpoint, what is sent, and when it is tried again.

The request is a Standard Webhook 1.0.0 (standardwebhooks.com): `webhook-id`, `webhook-timestamp` and
`webhook-signature` over the exact body. The signature says who sent it; what it says rests on the token inside.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from attest_pipeline.ear import Status
from attest_pipeline.errors import Misconfigured
from attest_pipeline.ports import Message, Record

EVENT_TYPE: Final = "attestation.result.v1"
SCHEDULE: Final = (5, 30, 120, 600, 1800, 3600, 7200, 21600, *[28800] * 8)
"""Seconds between attempts, before jitter: 73 hours in all, so that an endpoint may be down for a weekend."""
HORIZON: Final = 72 * 3600
JITTER: Final = 0.2
"""Each wait is lengthened by up to this fraction; never shortened, so the schedule is a promise."""
MAX_RETRY_AFTER: Final = 6 * 3600
MIN_SECRET: Final = 24
MAX_SECRET: Final = 64

_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the mark of a secret, no secret


# ── configuration ─────────────────────────────────────────────────────────────────────────────────────────────────────
class Secret:
    """A shared HMAC key, written `whsec_` and base64 of 24 to 64 bytes. Shows itself nowhere."""

    __slots__ = ("key",)

    def __init__(self, text: str) -> None:
        encoded = text.removeprefix(_SECRET_PREFIX)
        try:
            self.key: Final = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("a secret is not base64") from None
        if encoded == text or not MIN_SECRET <= len(self.key) <= MAX_SECRET:
            raise ValueError(f"a secret is {_SECRET_PREFIX} and base64 of {MIN_SECRET} to {MAX_SECRET} bytes")

    def __repr__(self) -> str:
        return "Secret(…)"


class Endpoint(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One receiver: gets the results of one tenant, all of them or only those of some statuses.

    During a rotation `secrets` holds the old and the new one; each signs. `allow_private` admits addresses that are
    not public, and plain HTTP to the loopback: for development and for receivers on one's own network.
    """

    id: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
    url: Annotated[str, Meta(max_length=2048)]
    tenant: Annotated[str, Meta(min_length=1, max_length=128)]
    secrets: Annotated[tuple[Secret, ...], Meta(min_length=1, max_length=4)]
    statuses: Annotated[tuple[Status, ...], Meta(min_length=1)] = tuple(Status)
    allow_private: bool = False


class _Configuration(Struct, frozen=True, forbid_unknown_fields=True):
    endpoints: tuple[Endpoint, ...]


def read_endpoints(text: bytes) -> tuple[Endpoint, ...]:
    """Endpoints of a configuration file (JSON `{"endpoints": […]}`). Raises Misconfigured; never repeats a secret."""
    try:
        endpoints = msgspec.json.decode(text, type=_Configuration, dec_hook=_decode_secret).endpoints
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Misconfigured(f"webhook endpoints: {error}") from None
    names = [endpoint.id for endpoint in endpoints]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Misconfigured(f"webhook endpoints: two share the id {twice[0]!r}")
    return endpoints


def _decode_secret(_: type, text: Any) -> Secret:
    if not isinstance(text, str):
        raise TypeError("a secret is text")
    return Secret(text)


# ── what is sent ──────────────────────────────────────────────────────────────────────────────────────────────────────
class ResultData(Struct, frozen=True, kw_only=True):
    """The `data` of a webhook. Only `token` is proof; the rest serves routing, and repeats what the token says."""

    tenant: str
    agent: str
    attestation_id: str
    status: Status
    token: str


class ResultEvent(Struct, frozen=True, kw_only=True):
    """Body of a webhook. `timestamp` is the token's `iat` in ISO 8601, so each attempt sends the same bytes."""

    type: str
    timestamp: str
    data: ResultData


class Delivery(Struct, frozen=True, kw_only=True):
    """One result on its way to one endpoint. `id` is constant over attempts: receivers drop what they have seen."""

    id: str
    data: ResultData
    body: bytes


class _Payload(Struct, frozen=True):
    """What is read from our own token."""

    jti: str
    iat: Annotated[int, Meta(ge=0, lt=1 << 33)]
    status: Status = msgspec.field(name="ear_status")


_payload_decoder: Final = msgspec.json.Decoder(_Payload)
_encoder: Final = msgspec.json.Encoder()


def delivery_of(message: Message, endpoint: Endpoint) -> Delivery:
    """The delivery that a stored result (`result.<tenant>.<agent>`, a compact token) means for that endpoint.

    The token is not verified: only `sign` may write that stream, and the receiver verifies. Raises ValueError for
    anything that is no such message.
    """
    _, tenant, agent = message.subject.split(".")
    token = message.data.decode("ascii")
    claims = _read_payload(token)
    data = ResultData(tenant=tenant, agent=agent, attestation_id=claims.jti, status=claims.status, token=token)
    issued = datetime.fromtimestamp(claims.iat, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Delivery(
        id=_delivery_id(claims.jti, endpoint.id),
        data=data,
        body=_encoder.encode(ResultEvent(type=EVENT_TYPE, timestamp=issued, data=data)),
    )


def is_wanted(delivery: Delivery, endpoint: Endpoint) -> bool:
    """Whether the endpoint asked for this result: its tenant's, and of a status it listens to."""
    return delivery.data.tenant == endpoint.tenant and delivery.data.status in endpoint.statuses


def signed_headers(delivery: Delivery, secrets: Sequence[Secret], now: int) -> dict[str, str]:
    """Headers of an attempt at `now` (seconds): one `v1` signature (HMAC-SHA256) for each secret."""
    signed = b".".join((delivery.id.encode(), str(now).encode(), delivery.body))
    digests = (hmac.digest(secret.key, signed, "sha256") for secret in secrets)
    return {
        "content-type": "application/json",
        "webhook-id": delivery.id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }


def dead_letter(message: Message, endpoint: Endpoint, reason: str) -> Record:
    """The record that keeps what could not be delivered, under `dead.<tenant>.<agent>`, to be looked at or replayed."""
    return Record(
        subject=f"dead.{message.subject.partition('.')[2]}",
        data=message.data,
        message_id=_delivery_id(hashlib.sha256(message.data).hexdigest(), endpoint.id),
        headers={"Attest-Endpoint": endpoint.id, "Attest-Reason": reason},
    )


def _read_payload(token: str) -> _Payload:
    _, payload, _ = token.split(".")
    try:
        return _payload_decoder.decode(base64.urlsafe_b64decode(payload + "=="))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"no Attestation Result: {error}") from None


def _delivery_id(attestation_id: str, endpoint_id: str) -> str:
    return "msg_" + hashlib.sha256(f"{attestation_id}\n{endpoint_id}".encode()).hexdigest()[:32]


# ── what came of it ───────────────────────────────────────────────────────────────────────────────────────────────────
class Verdict(StrEnum):
    """What an attempt came to; also the `outcome` label of the metrics."""

    DELIVERED = "delivered"
    FAILED = "failed"
    REFUSED = "refused"
    GONE = "gone"


class Outcome(Struct, frozen=True):
    """An attempt's verdict, the seconds its receiver asked to wait (0: none), and a word for the log."""

    verdict: Verdict
    retry_after: float = 0.0
    detail: str = ""


def judge(status: int, headers: Mapping[str, str], now: int) -> Outcome:
    """Outcome of an answer: 2xx is delivered, 410 asks for no more, everything else (redirects too) has failed."""
    detail = f"HTTP {status}"
    if 200 <= status < 300:  # noqa: PLR2004 - the class of success
        return Outcome(Verdict.DELIVERED, detail=detail)
    if status == 410:  # noqa: PLR2004 - Gone
        return Outcome(Verdict.GONE, detail=detail)
    return Outcome(Verdict.FAILED, retry_after(headers.get("Retry-After", ""), now), detail)


def retry_after(value: str, now: int) -> float:
    """Seconds that a Retry-After header (RFC 9110 section 10.2.3) asks for, bounded; 0 if it asks for nothing."""
    if value.isascii() and value.isdigit():
        return float(min(int(value[:12]), MAX_RETRY_AFTER))
    try:
        seconds = parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def is_spent(attempt: int, age: float) -> bool:
    """Whether a failed delivery has had its chances: `attempt` counts from 1, `age` is seconds since it was stored.

    Both must have run out: redeliveries that no attempt followed use up the count, and a worker that was down the age.
    """
    return attempt > len(SCHEDULE) and age >= HORIZON


def retry_delay(delivery: Delivery, attempt: int, asked: float) -> float:
    """Seconds to wait after failed attempt number `attempt`, at least what the receiver asked for.

    The jitter comes from id and attempt: it spreads deliveries apart and needs no source of chance.
    """
    wait = max(SCHEDULE[min(attempt, len(SCHEDULE)) - 1], asked)
    digest = hashlib.sha256(f"{delivery.id}{attempt}".encode()).digest()
    return wait * (1 + JITTER * digest[0] / 256)
