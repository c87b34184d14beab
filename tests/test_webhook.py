"""Webhooks without a network: configuration, filter, signature, schedule. The public library is the receiver."""

import base64
import json
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.ear import Status
from attest_pipeline.errors import Misconfigured, Reason
from attest_pipeline.jws import BadToken
from attest_pipeline.model import Context, Rejection, TenantConfig
from attest_pipeline.ports import Message
from attest_pipeline.result import issue
from attest_pipeline.webhook import (
    HORIZON,
    JITTER,
    MAX_RETRY_AFTER,
    SCHEDULE,
    Endpoint,
    Secret,
    Verdict,
    dead_letter,
    delivery_of,
    is_spent,
    is_wanted,
    judge,
    read_endpoints,
    retry_delay,
    signed_headers,
)

OLD = "whsec_" + base64.b64encode(b"o" * 24).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 64).decode()
NOW = 1_790_000_500
ISSUED = 1_790_000_000


@pytest.fixture
def now() -> int:
    """The public library reads the clock of the wall, and a whole test run takes longer than its five minutes."""
    return int(datetime.now(UTC).timestamp())


def b64u(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(payload: object = None, **changes: object) -> str:
    claims = {"jti": "ab" * 32, "iat": ISSUED, "ear_status": "affirming", "submods": {"tdx": {}}, **changes}
    return f"e30.{b64u(msgspec.json.encode(claims if payload is None else payload))}.c2ln"


def message(subject: str = "result.acme.node-1", data: str | None = None, **changes: object) -> Message:
    return Message(subject=subject, data=(data or token(**changes)).encode(), reply="ack", received_at=ISSUED)


def endpoint(**changes: object) -> Endpoint:
    return read_endpoints(configuration(**changes))[0]


def configuration(**changes: object) -> bytes:
    entry = {"id": "siem", "url": "https://siem.example.test/in", "tenant": "acme", "secrets": [OLD], **changes}
    return msgspec.json.encode({"endpoints": [entry]})


# ── configuration ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_endpoint_hears_every_status_of_its_tenant_by_default_and_is_public() -> None:
    found = endpoint()
    assert found.statuses == tuple(Status)
    assert not found.allow_private
    assert found.secrets[0].key == b"o" * 24


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"secrets": []}, "length"),
        ({"secrets": ["whsec_" + base64.b64encode(b"x" * 23).decode()]}, "24 to 64"),
        ({"secrets": ["whsec_" + base64.b64encode(b"x" * 65).decode()]}, "24 to 64"),
        ({"secrets": [base64.b64encode(b"x" * 32).decode()]}, "whsec_"),
        ({"secrets": ["whsec_not base64 at all, but long enough"]}, "base64"),
        ({"secrets": ["whsec_ünicode-and-long-enough-to-count"]}, "base64"),
        ({"secrets": [7]}, "text"),
        ({"id": "a.b"}, "regex"),
        ({"id": "ok\n"}, "regex"),
        ({"id": ""}, "regex"),
        ({"tenant": ""}, "length"),
        ({"statuses": []}, "length"),
        ({"statuses": ["trusted"]}, "Invalid enum"),
        ({"verify_tls": False}, "verify_tls"),
        ({"url": 3}, "url"),
    ],
)
def test_a_configuration_that_cannot_be_used_says_which_field_and_why(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(Misconfigured, match=why) as error:
        endpoint(**changes)
    assert "$.endpoints[0]" in str(error.value)
    assert base64.b64encode(b"x" * 10).decode()[:12] not in str(error.value), "a secret is never repeated"


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"endpoints": {}}'])
def test_a_file_that_is_no_configuration_is_misconfigured(text: bytes) -> None:
    with pytest.raises(Misconfigured, match="webhook endpoints"):
        read_endpoints(text)


def test_two_endpoints_cannot_share_a_consumer() -> None:
    entry = json.loads(configuration())["endpoints"][0]
    with pytest.raises(Misconfigured, match="share the id 'siem'"):
        read_endpoints(msgspec.json.encode({"endpoints": [entry, entry]}))


def test_a_secret_shows_in_no_representation() -> None:
    assert "o" * 8 not in repr(endpoint())
    assert OLD[6:] not in repr(endpoint())
    assert repr(Secret(OLD)) == "Secret(…)"


# ── what is sent ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_body_names_the_result_and_carries_its_token() -> None:
    found = delivery_of(message(), endpoint())
    assert json.loads(found.body) == {
        "type": "attestation.result.v1",
        "timestamp": "2026-09-21T14:13:20Z",
        "data": {
            "tenant": "acme",
            "agent": "node-1",
            "attestation_id": "ab" * 32,
            "status": "affirming",
            "token": token(),
        },
    }


def test_the_id_is_that_of_result_and_endpoint_and_nothing_else() -> None:
    first = delivery_of(message(), endpoint())
    again = delivery_of(msgspec.structs.replace(message(), attempt=7, reply="other", received_at=1), endpoint())
    assert first.id == again.id
    assert first.body == again.body
    assert first.id.startswith("msg_")
    assert len(first.id) == 36
    others = [
        delivery_of(message(), endpoint(id="other")).id,
        delivery_of(message(jti="cd" * 32), endpoint()).id,
    ]
    assert len({first.id, *others}) == 3


def test_the_public_library_accepts_the_signature_of_either_secret_during_a_rotation(now: int) -> None:
    found = delivery_of(message(), endpoint())
    headers = signed_headers(found, [Secret(OLD), Secret(NEW)], now)
    for secret in (OLD, NEW):
        assert Webhook(secret).verify(found.body, headers)["data"]["agent"] == "node-1"
    assert headers["webhook-signature"].count("v1,") == 2


@pytest.mark.parametrize("part", ["webhook-id", "webhook-timestamp", "body", "secret"])
def test_a_changed_request_does_not_verify(now: int, part: str) -> None:
    found = delivery_of(message(), endpoint())
    headers = signed_headers(found, [Secret(OLD)], now)
    body = found.body
    if part == "body":
        body = body.replace(b"affirming", b"warning")
    elif part == "secret":
        headers = signed_headers(found, [Secret(NEW)], now)
    else:
        headers[part] = headers[part][:-1] + ("0" if headers[part][-1] != "0" else "1")
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(body, headers)


def test_an_old_attempt_does_not_verify(now: int) -> None:
    found = delivery_of(message(), endpoint())
    with pytest.raises(WebhookVerificationError, match="old"):
        Webhook(OLD).verify(found.body, signed_headers(found, [Secret(OLD)], now - 3600))


@pytest.mark.parametrize(
    "stored",
    [
        message(subject="result.acme"),
        message(subject="result.acme.node.1"),
        message(data="no token"),
        message(data="a.b"),
        message(data="a.!.c"),
        message(data=token("a string")),
        message(data=token({"jti": "ab"})),
        message(data=token({"jti": "ab", "iat": ISSUED, "ear_status": "excellent"})),
        message(iat=1 << 60),
        message(iat=-1),
        message(iat=1.5),
        msgspec.structs.replace(message(), data=b"\xff.\xff.\xff"),
        message(data=f"e30.{b64u(b'[' * 100_000)}.c2ln"),
    ],
)
def test_what_is_no_result_is_a_value_error_and_nothing_else(stored: Message) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the class is the contract
        delivery_of(stored, endpoint())


@pytest.mark.parametrize(
    ("changes", "status", "wanted"),
    [
        ({}, "affirming", True),
        ({}, "none", True),
        ({"statuses": ["contraindicated", "none"]}, "contraindicated", True),
        ({"statuses": ["contraindicated", "none"]}, "affirming", False),
        ({"tenant": "acme2"}, "affirming", False),
        ({"tenant": "acm"}, "affirming", False),
    ],
)
def test_an_endpoint_gets_the_statuses_it_listens_to_and_never_another_tenants(
    changes: dict[str, Any],
    status: str,
    wanted: bool,  # noqa: FBT001 - an expectation
) -> None:
    chosen = endpoint(**changes)
    assert is_wanted(delivery_of(message(ear_status=status), chosen), chosen) is wanted


def test_a_dead_letter_keeps_the_result_and_says_for_whom_it_was() -> None:
    record = dead_letter(message(), endpoint(), "exhausted")
    assert record.subject == "dead.acme.node-1"
    assert record.data == message().data
    assert record.headers == {"Attest-Endpoint": "siem", "Attest-Reason": "exhausted"}
    assert record.message_id == dead_letter(message(), endpoint(), "exhausted").message_id
    assert record.message_id != dead_letter(message(), endpoint(id="other"), "exhausted").message_id


# ── the receiver of docs/webhooks.md ──────────────────────────────────────────────────────────────────────────────────
PAGE = (Path(__file__).parent.parent / "docs" / "webhooks.md").read_text()


def block(language: str) -> str:
    return PAGE.split(f"```{language}\n", 1)[1].split("```", 1)[0]


def signed_result(signer: FileSigner, now: int) -> bytes:
    config = TenantConfig(
        tenant="acme",
        version="1",
        environment="test",
        issuer="urn:attest-pipeline:default",
        audience="default",
        token_seconds=300,
        tees=("tdx",),
        annotate=False,
        allow_replay=False,
        policies=(),
        reference_values=(),
        trust_anchors=(),
        endorsements={},
    )
    context = Context(attestation_id=b"i" * 32, tenant="acme", agent="node-1", received_at=now, fresh=True)
    return issue(context, [Rejection("tdx", Reason.BAD_SIGNATURE, "the quote")], config, signer)


def test_the_receiver_of_the_page_verifies_signature_and_token(
    now: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = FileSigner.ensure(tmp_path / "key.pem")
    (tmp_path / "jwks.json").write_bytes(msgspec.json.encode({"keys": [signer.public_jwk()]}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEBHOOK_SECRET", OLD)
    page: dict[str, Any] = {}
    exec(block("python"), page)  # noqa: S102 - the page is ours
    sent = delivery_of(message(data=signed_result(signer, now).decode()), endpoint())
    found = page["receive"](sent.body, signed_headers(sent, [Secret(OLD)], now))
    assert (found.sub, found.status, found.jti) == ("node-1", "contraindicated", sent.data.attestation_id)
    stranger = FileSigner.ensure(tmp_path / "stranger.pem")
    forged = delivery_of(message(data=signed_result(stranger, now).decode()), endpoint())
    with pytest.raises(BadToken):
        page["receive"](forged.body, signed_headers(forged, [Secret(OLD)], now))
    with pytest.raises(WebhookVerificationError):
        page["receive"](sent.body, signed_headers(sent, [Secret(NEW)], now))


def test_the_configuration_of_the_page_is_accepted() -> None:
    (found,) = read_endpoints(block("json").encode())
    assert found.statuses == (Status.CONTRAINDICATED, Status.NONE)


# ── what came of it ───────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((code, Verdict.DELIVERED) for code in (200, 202, 204, 299)),
        *((code, Verdict.FAILED) for code in (199, 300, 302, 307, 400, 401, 404, 429, 500, 502, 503, 504)),
        (410, Verdict.GONE),
    ],
)
def test_only_a_2xx_is_a_delivery(status: int, verdict: Verdict) -> None:
    assert judge(status, {}, NOW).verdict is verdict


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("9" * 400, MAX_RETRY_AFTER),
        ("-5", 0),
        ("soon", 0),
        ("", 0),
        ("²", 0),
        (format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True), 90),
        (format_datetime(datetime.fromtimestamp(NOW - 90, UTC), usegmt=True), 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER),
        ("Fri, 31 Dec 99999 23:59:59 GMT", 0),
    ],
)
def test_retry_after_is_honoured_within_bounds(value: str, seconds: int) -> None:
    assert judge(429, {"Retry-After": value}, NOW).retry_after == seconds


def test_waits_grow_are_never_shortened_and_differ_between_deliveries() -> None:
    found = [delivery_of(message(jti=f"{number:064x}"), endpoint()) for number in range(50)]
    for attempt, wait in enumerate(SCHEDULE, 1):
        waits = [retry_delay(one, attempt, 0) for one in found]
        assert all(wait <= given <= wait * (1 + JITTER) for given in waits)
        assert len(set(waits)) > 25
        assert waits == [retry_delay(one, attempt, 0) for one in found]
    assert retry_delay(found[0], 1000, 0) >= SCHEDULE[-1]
    assert retry_delay(found[0], 1, 100) >= 100
    assert retry_delay(found[0], 5, 1) >= SCHEDULE[4]


def test_the_schedule_starts_within_seconds_and_lasts_three_days() -> None:
    assert SCHEDULE[:5] == (5, 30, 120, 600, 1800)
    assert list(SCHEDULE) == sorted(SCHEDULE)
    assert HORIZON <= sum(SCHEDULE) <= HORIZON * 1.1


@pytest.mark.parametrize(
    ("attempt", "age", "spent"),
    [
        (1, 0, False),
        (len(SCHEDULE), HORIZON * 9, False),
        (len(SCHEDULE) + 1, HORIZON - 1, False),
        (len(SCHEDULE) + 1, HORIZON, True),
        (1, HORIZON * 9, False),
    ],
)
def test_a_delivery_is_given_up_when_attempts_and_time_have_both_run_out(
    attempt: int,
    age: int,
    spent: bool,  # noqa: FBT001 - an expectation
) -> None:
    assert is_spent(attempt, age) is spent
