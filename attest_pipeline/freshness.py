"""Freshness: stateless nonces, epoch ticks, and the challenge that Evidence must carry. Pure; nothing is stored here.

A challenge is 64 bytes, SHA-512 over length-prefixed parts that bind it to one tenant, agent, TEE and attester key, so
that Evidence cannot be moved to another agent, job or epoch. A TEE whose field is smaller carries its first bytes.
Rules: `docs/freshness.md`; background: RFC 9334 section 10, draft-ietf-rats-reference-interaction-models section 7.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from attest_pipeline import jws
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Challenge, EpochChallenge, EvidenceCollection, NonceChallenge
from attest_pipeline.ports import Signer

NONCE_SECONDS: Final = 120
SALT_BYTES: Final = 16
TICK_BYTES: Final = 32
MARKER_TYPE: Final = "att-epoch+jwt"
_NONCE_LABEL: Final = b"att-nonce-v1"
_EPOCH_LABEL: Final = b"att-epoch-v1"
_TAG_BYTES: Final = 32
_NONCE_BYTES: Final = 8 + SALT_BYTES + _TAG_BYTES
_SUPPLIED_SIZES: Final = range(8, 65)
_NO_KEY_DIGEST: Final = hashlib.sha256(b"").digest()


class Tick(Struct, frozen=True, forbid_unknown_fields=True):
    """One stroke of a tenant's epoch bell; evidence over it is fresh when received in [not_before, not_after]."""

    tenant: str
    epoch: int
    tick: bytes
    not_before: int
    not_after: int


Ticks = Mapping[int, Tick]


class Expectation(NamedTuple):
    """What the Evidence must carry, for each TEE, and whether that makes it fresh."""

    fresh: bool
    nonce: bytes | None
    values: Mapping[str, bytes | None]


def issue_nonce(key: bytes, tenant: str, agent: str, *, expires: int, salt: bytes) -> bytes:
    """Nonce of 56 bytes for one agent: expiry (8, big-endian), random salt (16), HMAC-SHA-256 tag (32)."""
    body = expires.to_bytes(8) + salt
    return body + hmac.digest(key, length_prefixed((_NONCE_LABEL, tenant.encode(), agent.encode(), body)), "sha256")


def check_nonce(key: bytes, tenant: str, agent: str, nonce: bytes, *, received_at: int) -> None:
    """Require an unexpired nonce of ours for this agent. Raises BadEvidence(CHALLENGE_MISMATCH | CHALLENGE_EXPIRED)."""
    if len(nonce) != _NONCE_BYTES:
        raise BadEvidence(Reason.CHALLENGE_MISMATCH, f"nonce of {len(nonce)} bytes")
    expires = int.from_bytes(nonce[:8])
    expected = issue_nonce(key, tenant, agent, expires=expires, salt=nonce[8 : 8 + SALT_BYTES])
    if not hmac.compare_digest(expected, nonce):
        raise BadEvidence(Reason.CHALLENGE_MISMATCH, "the nonce was not issued to this agent")
    if received_at > expires:
        raise BadEvidence(Reason.CHALLENGE_EXPIRED, f"the nonce expired {received_at - expires} s before")


def nonce_challenge(tenant: str, agent: str, tee: str, nonce: bytes, attester_key: bytes | None) -> bytes:
    """The 64-byte challenge that Evidence over a nonce carries, or begins with if its field is smaller."""
    return _digest(_NONCE_LABEL, tenant.encode(), agent.encode(), nonce, tee.encode(), _key_digest(attester_key))


def epoch_challenge(agent: str, tee: str, tick: Tick, job: str, attester_key: bytes | None) -> bytes:
    """The 64-byte challenge that Evidence over an epoch tick carries, or begins with if its field is smaller."""
    return _digest(
        _EPOCH_LABEL,
        tick.tenant.encode(),
        agent.encode(),
        tick.epoch.to_bytes(8),
        tick.tick,
        job.encode(),
        tee.encode(),
        _key_digest(attester_key),
    )


def expect(
    collection: EvidenceCollection,
    tenant: str,
    agent: str,
    *,
    received_at: int,
    nonce_key: bytes,
    ticks: Ticks,
    sizes: Mapping[str, int],
) -> Expectation:
    """What each Evidence of the collection must carry. Raises BadEvidence(CHALLENGE_*).

    `sizes` is TEE → bytes of the field that carries a derived challenge; a supplied one is never cut.
    """
    challenge, key = collection.challenge, collection.attester_key
    tees = dict.fromkeys(evidence.tee for evidence in collection.evidence)
    if challenge is None:
        return Expectation(fresh=False, nonce=None, values=tees)
    if isinstance(challenge, NonceChallenge):
        check_nonce(nonce_key, tenant, agent, challenge.nonce, received_at=received_at)
        values = {tee: nonce_challenge(tenant, agent, tee, challenge.nonce, key)[: sizes.get(tee)] for tee in tees}
        return Expectation(fresh=True, nonce=challenge.nonce, values=values)
    if isinstance(challenge, EpochChallenge):
        tick = _current(ticks, challenge, received_at)
        values = {tee: epoch_challenge(agent, tee, tick, challenge.job, key)[: sizes.get(tee)] for tee in tees}
        return Expectation(fresh=True, nonce=None, values=values)
    if len(challenge.value) not in _SUPPLIED_SIZES:
        raise BadEvidence(Reason.CHALLENGE_MISMATCH, f"a supplied challenge of {len(challenge.value)} bytes")
    return Expectation(fresh=False, nonce=challenge.value, values=dict.fromkeys(tees, challenge.value))


def encode_challenge(challenge: Challenge | None) -> bytes:
    """Bytes that stand for a challenge reference in the attestation id."""
    if challenge is None:
        return b""
    if isinstance(challenge, NonceChallenge):
        return b"n" + challenge.nonce
    if isinstance(challenge, EpochChallenge):
        return b"e" + challenge.epoch.to_bytes(8) + challenge.job.encode()
    return b"s" + challenge.value


def _current(ticks: Ticks, challenge: EpochChallenge, received_at: int) -> Tick:
    tick = ticks.get(challenge.epoch)
    if tick is None or not tick.not_before <= received_at <= tick.not_after:
        newest = max(ticks, default=0)
        raise BadEvidence(Reason.CHALLENGE_EXPIRED, f"epoch {challenge.epoch} is not open; the current one is {newest}")
    return tick


def length_prefixed(parts: Iterable[bytes]) -> bytes:
    """All parts, each behind its length (4 bytes, big-endian): no two lists give the same bytes."""
    pieces: list[bytes] = []
    for part in parts:
        pieces += (len(part).to_bytes(4), part)
    return b"".join(pieces)


def _key_digest(attester_key: bytes | None) -> bytes:
    return _NO_KEY_DIGEST if attester_key is None else hashlib.sha256(attester_key).digest()


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha512(length_prefixed(parts)).digest()


def encode_marker(ticks: Sequence[Tick], signer: Signer) -> bytes:
    """Epoch marker: the ticks that are still open, oldest first, as a compact JWS; the broker cannot make its own."""
    return jws.compact(msgspec.json.encode(ticks), signer, MARKER_TYPE)


def decode_marker(token: bytes, keys: Sequence[jws.Jwk], tenant: str) -> dict[int, Tick]:
    """Ticks by epoch inside a marker signed by one of the bell's keys for this tenant. Raises BadToken."""
    payload = jws.check(token, keys, token_type=MARKER_TYPE)
    try:
        ticks = msgspec.json.decode(payload, type=tuple[Tick, ...])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise jws.BadToken(f"no epoch marker: {error}") from None
    if any(tick.tenant != tenant for tick in ticks):
        raise jws.BadToken(f"an epoch marker of another tenant than {tenant}")
    return {tick.epoch: tick for tick in ticks}
