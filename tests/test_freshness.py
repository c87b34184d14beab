"""Challenges: whose they are, how long they hold, and that nothing can be moved from one use to another."""

import hashlib
import itertools

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from attest_pipeline import jws
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.freshness import (
    MARKER_TYPE,
    NONCE_SECONDS,
    Expectation,
    Tick,
    Ticks,
    check_nonce,
    decode_marker,
    encode_challenge,
    encode_marker,
    epoch_challenge,
    expect,
    issue_nonce,
    nonce_challenge,
)
from attest_pipeline.jws import BadToken
from attest_pipeline.model import (
    Challenge,
    EpochChallenge,
    Evidence,
    EvidenceCollection,
    NonceChallenge,
    SuppliedChallenge,
)

KEY = b"k" * 32
NOW = 1_790_000_000
NONCE = issue_nonce(KEY, "acme", "node-1", expires=NOW + NONCE_SECONDS, salt=b"s" * 16)
OLD = Tick("acme", 8, b"8" * 32, NOW - 600, NOW)
CURRENT = Tick("acme", 9, b"9" * 32, NOW - 300, NOW + 300)
TICKS = {8: OLD, 9: CURRENT}


def expected(
    challenge: Challenge | None,
    *,
    received_at: int = NOW,
    tenant: str = "acme",
    agent: str = "node-1",
    ticks: Ticks | None = None,
) -> Expectation:
    evidence = (Evidence("tdx", {}), Evidence("gpu", {}), Evidence("tdx", {}))
    collection = EvidenceCollection(evidence=evidence, challenge=challenge, attester_key=b"spki")
    return expect(
        collection,
        tenant,
        agent,
        received_at=received_at,
        nonce_key=KEY,
        ticks=TICKS if ticks is None else ticks,
        sizes={"tdx": 64, "gpu": 32},
    )


def reason_of(challenge: Challenge, **changes: object) -> Reason:
    with pytest.raises(BadEvidence) as caught:
        expected(challenge, **changes)  # type: ignore[arg-type]
    return caught.value.reason


# ── nonces ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_nonce_holds_for_its_agent_until_it_expires() -> None:
    for received_at in (NOW, NOW + NONCE_SECONDS):
        found = expected(NonceChallenge(NONCE), received_at=received_at)
        assert found.fresh
        assert found.nonce == NONCE
        assert found.values["tdx"] == nonce_challenge("acme", "node-1", "tdx", NONCE, b"spki")


def test_an_expired_nonce_is_refused() -> None:
    assert reason_of(NonceChallenge(NONCE), received_at=NOW + NONCE_SECONDS + 1) is Reason.CHALLENGE_EXPIRED


@pytest.mark.parametrize("who", [{"agent": "node-2"}, {"tenant": "other"}, {"tenant": "acmen", "agent": "ode-1"}])
def test_a_nonce_of_another_agent_or_tenant_is_refused(who: dict[str, str]) -> None:
    assert reason_of(NonceChallenge(NONCE), **who) is Reason.CHALLENGE_MISMATCH


@pytest.mark.parametrize("nonce", [b"", NONCE[:-1], NONCE + b"\0", NONCE[:24]])
def test_a_nonce_of_another_length_is_refused(nonce: bytes) -> None:
    assert reason_of(NonceChallenge(nonce)) is Reason.CHALLENGE_MISMATCH


def test_every_flipped_byte_of_a_nonce_is_noticed() -> None:
    for place in range(len(NONCE)):
        flipped = bytearray(NONCE)
        flipped[place] ^= 1
        assert reason_of(NonceChallenge(bytes(flipped))) is Reason.CHALLENGE_MISMATCH


def test_a_nonce_made_with_another_key_is_refused() -> None:
    forged = issue_nonce(b"x" * 32, "acme", "node-1", expires=NOW + 60, salt=b"s" * 16)
    with pytest.raises(BadEvidence, match="not issued to this agent"):
        check_nonce(KEY, "acme", "node-1", forged, received_at=NOW)


def test_a_nonce_begins_with_its_expiry_and_salt_and_two_salts_give_two_nonces() -> None:
    assert NONCE[:8] == (NOW + NONCE_SECONDS).to_bytes(8)
    assert NONCE[8:24] == b"s" * 16
    assert issue_nonce(KEY, "acme", "node-1", expires=NOW + NONCE_SECONDS, salt=b"t" * 16) != NONCE


# ── epochs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("epoch", [8, 9])
def test_the_current_and_the_previous_epoch_are_open(epoch: int) -> None:
    found = expected(EpochChallenge(epoch, "job"))
    assert found.fresh
    assert found.nonce is None
    assert found.values["tdx"] == epoch_challenge("node-1", "tdx", TICKS[epoch], "job", b"spki")


@pytest.mark.parametrize(
    ("epoch", "received_at"),
    [(8, NOW + 1), (9, NOW + 301), (9, NOW - 301), (7, NOW), (10, NOW), (0, NOW)],
    ids=["stale", "older", "future", "forgotten", "unknown", "zero"],
)
def test_an_epoch_that_is_not_open_is_refused_and_the_current_one_is_named(epoch: int, received_at: int) -> None:
    assert reason_of(EpochChallenge(epoch), received_at=received_at) is Reason.CHALLENGE_EXPIRED
    with pytest.raises(BadEvidence, match="the current one is 9"):
        expected(EpochChallenge(epoch), received_at=received_at)


def test_without_any_tick_no_epoch_is_open() -> None:
    assert reason_of(EpochChallenge(9), ticks={}) is Reason.CHALLENGE_EXPIRED


# ── what the Evidence must carry ──────────────────────────────────────────────────────────────────────────────────────
def test_each_tee_of_a_composite_has_its_own_challenge() -> None:
    for challenge in (NonceChallenge(NONCE), EpochChallenge(9)):
        values = expected(challenge).values
        assert set(values) == {"tdx", "gpu"}
        assert values["tdx"] != values["gpu"]


def test_a_smaller_field_carries_the_first_bytes_of_a_derived_challenge() -> None:
    found = expected(NonceChallenge(NONCE)).values
    assert found["gpu"] == nonce_challenge("acme", "node-1", "gpu", NONCE, b"spki")[:32]
    found = expected(EpochChallenge(9)).values
    assert found["gpu"] == epoch_challenge("node-1", "gpu", CURRENT, "", b"spki")[:32]


def test_a_supplied_challenge_is_never_cut_to_the_size_of_a_field() -> None:
    assert expected(SuppliedChallenge(b"s" * 64)).values == {"tdx": b"s" * 64, "gpu": b"s" * 64}


def test_a_challenge_is_64_bytes_and_bound_to_everything_it_names() -> None:
    ticks = [
        CURRENT,
        *(
            msgspec.structs.replace(CURRENT, **change)
            for change in ({"tenant": "b"}, {"epoch": 8}, {"tick": b"t" * 32})
        ),
    ]
    found = [
        epoch_challenge(agent, tee, tick, job, key)
        for agent, tee, tick, job, key in itertools.product(
            ("node-1", "node-2"), ("tdx", "snp"), ticks, ("", "job"), (None, b"spki")
        )
    ]
    found += [
        nonce_challenge(tenant, agent, tee, nonce, key)
        for tenant, agent, tee, nonce, key in itertools.product(
            ("acme", "b"), ("node-1", "node-2"), ("tdx", "snp"), (NONCE, b"n" * 56), (None, b"spki")
        )
    ]
    assert {len(challenge) for challenge in found} == {64}
    assert len(set(found)) == len(found)


def test_no_byte_can_move_from_one_part_of_a_challenge_to_the_next() -> None:
    assert nonce_challenge("ab", "c", "tdx", NONCE, None) != nonce_challenge("a", "bc", "tdx", NONCE, None)
    assert epoch_challenge("a", "tdx", CURRENT, "b", None) != epoch_challenge("ab", "tdx", CURRENT, "", None)


def test_a_challenge_is_the_documented_hash() -> None:
    parts = (b"att-epoch-v1", b"acme", b"node-1", bytes(7) + b"\x09", b"9" * 32, b"", b"tdx", hashlib.sha256().digest())
    plain = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    assert epoch_challenge("node-1", "tdx", CURRENT, "", None) == hashlib.sha512(plain).digest()


@pytest.mark.parametrize("size", [8, 64])
def test_a_supplied_challenge_is_expected_byte_for_byte_echoed_and_never_fresh(size: int) -> None:
    value = bytes(range(size))
    found = expected(SuppliedChallenge(value))
    assert not found.fresh
    assert found.nonce == value
    assert found.values == {"tdx": value, "gpu": value}


@pytest.mark.parametrize("size", [0, 7, 65, 10_000])
def test_a_supplied_challenge_of_another_size_is_refused(size: int) -> None:
    assert reason_of(SuppliedChallenge(bytes(size))) is Reason.CHALLENGE_MISMATCH


def test_without_a_challenge_nothing_is_bound_and_nothing_is_fresh() -> None:
    assert expected(None) == Expectation(fresh=False, nonce=None, values={"tdx": None, "gpu": None})


def test_references_to_challenges_of_different_kinds_never_encode_alike() -> None:
    references: list[Challenge | None] = [
        None,
        NonceChallenge(b""),
        EpochChallenge(0),
        EpochChallenge(0, "j"),
        SuppliedChallenge(b""),
        SuppliedChallenge(bytes(8)),
    ]
    assert len({encode_challenge(one) for one in references}) == len(references)


# ── markers ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def bell() -> FileSigner:
    return FileSigner(ec.generate_private_key(ec.SECP256R1()))


def test_a_marker_carries_its_ticks_to_whoever_knows_the_bells_key(bell: FileSigner) -> None:
    assert decode_marker(encode_marker([OLD, CURRENT], bell), [bell.public_jwk()], "acme") == TICKS


def test_a_marker_that_another_key_signed_is_refused_even_under_the_bells_kid(bell: FileSigner) -> None:
    forger = FileSigner(ec.generate_private_key(ec.SECP256R1()))
    marker = encode_marker([CURRENT], forger)
    with pytest.raises(BadToken, match="no known key"):
        decode_marker(marker, [bell.public_jwk()], "acme")
    forger.key_id = bell.key_id
    with pytest.raises(BadToken, match="Signature"):
        decode_marker(encode_marker([CURRENT], forger), [bell.public_jwk()], "acme")


def test_every_flipped_byte_of_a_marker_is_noticed(bell: FileSigner) -> None:
    marker = encode_marker([CURRENT], bell)
    last_of_segment = {marker.find(b".") - 1, marker.rfind(b".") - 1, len(marker) - 1}  # may hold unused bits
    for place in set(range(len(marker))) - last_of_segment:
        changed = bytearray(marker)
        changed[place] = ord("A") if changed[place] != ord("A") else ord("B")
        with pytest.raises(BadToken):
            decode_marker(bytes(changed), [bell.public_jwk()], "acme")


def test_a_marker_with_a_tick_of_another_tenant_is_refused(bell: FileSigner) -> None:
    foreign = msgspec.structs.replace(CURRENT, tenant="other")
    with pytest.raises(BadToken, match="another tenant"):
        decode_marker(encode_marker([OLD, foreign], bell), [bell.public_jwk()], "acme")


@pytest.mark.parametrize(
    "payload", [b"", b"{}", b"[1]", b'[{"tenant": "acme"}]', b"[" * 50_000, b'[{"tenant": "\xff"}]']
)
def test_a_signed_payload_that_is_no_list_of_ticks_is_refused(bell: FileSigner, payload: bytes) -> None:
    with pytest.raises(BadToken, match="no epoch marker"):
        decode_marker(jws.compact(payload, bell, MARKER_TYPE), [bell.public_jwk()], "acme")


def test_a_token_of_another_type_is_no_marker(bell: FileSigner) -> None:
    token = jws.compact(msgspec.json.encode([CURRENT]), bell, "eat+jwt")
    with pytest.raises(BadToken, match="typ is"):
        decode_marker(token, [bell.public_jwk()], "acme")
