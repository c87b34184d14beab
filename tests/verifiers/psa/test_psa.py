"""PSA tokens: real ones of three profiles, forgeries signed with real keys, and every byte flipped."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from arm_tokens import ABSENT, Changes, change, flipped, jwk, reason_of
from verifiers_conformance import run_cases

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, EndorsementKind, EndorsementRef, Endorsements, Evidence
from attest_pipeline.simulator import arm_token
from attest_pipeline.simulator.psa import as_legacy, psa_claims
from attest_pipeline.verifiers.psa import PsaVerifier

NOW = datetime(2026, 11, 23, tzinfo=UTC)
VERIFIER = PsaVerifier({})
IAK = arm_token.P256Key()
INSTANCE = b"\x01" + bytes(range(32))
NONCE = bytes(range(64))
CLAIMS = psa_claims(NONCE, INSTANCE)
LEGACY = as_legacy(CLAIMS)
COMPONENT = {2: bytes(32), 5: bytes(32)}


def verify(token: bytes, iak: bytes | None = None, challenge: bytes | None = NONCE) -> Claims:
    endorsements = Endorsements({"iak": (jwk(IAK) if iak is None else iak,)})
    return VERIFIER.verify(Evidence("psa", {"token": token}), endorsements, challenge=challenge, now=NOW)


def token(changes: Changes = {}, key: arm_token.Key = IAK) -> bytes:  # noqa: B006 - read only
    return arm_token.sign1(key, change(CLAIMS, changes))


def legacy(changes: Changes = {}) -> bytes:  # noqa: B006 - read only
    return arm_token.sign1(IAK, change(LEGACY, changes))


def test_all_conformance_cases_pass(conformance: Path) -> None:
    assert run_cases(conformance, "psa", lambda: PsaVerifier({})) == []


def test_claims_name_hardware_signer_measurements_and_every_check() -> None:
    claims = verify(token())
    assert (claims.tee, claims.hardware_id, claims.debug, claims.tcb_status) == ("psa", INSTANCE.hex(), False, None)
    assert claims.signer is not None
    assert set(claims.endorsements) == {"iak"}
    assert claims.checks == ("token-format", "token-signature", "security-lifecycle", "challenge")
    assert set(claims.measurements) == {f"psa-sw-component-{position}-measurement" for position in range(3)}
    assert {name: claims.fields[name] for name in claims.measurements} == claims.measurements
    assert claims.fields["psa-sw-component-1-type"] == "PRoT"
    assert claims.fields["psa-client-id"] == -1


def test_both_generations_of_labels_say_the_same() -> None:
    rfc, old = verify(token()), verify(legacy())
    assert old.fields["eat-profile"] == "PSA_IOT_PROFILE_1"
    assert rfc.fields | {"eat-profile": "PSA_IOT_PROFILE_1"} == old.fields
    assert rfc.measurements == old.measurements


def test_without_a_challenge_the_claims_say_that_none_was_verified() -> None:
    claims = verify(token(), challenge=None)
    assert not claims.challenge_verified
    assert "challenge" not in claims.checks


@pytest.mark.parametrize("made", [token, legacy])
def test_the_iak_is_asked_for_by_implementation_and_instance(made: object) -> None:
    evidence = Evidence("psa", {"token": token() if made is token else legacy()})
    key = f"{arm_token.IMPLEMENTATION.hex()}/{INSTANCE.hex()}"
    assert VERIFIER.endorsements_for(evidence) == (EndorsementRef(item="iak", kind=EndorsementKind.PSA_IAK, key=key),)


@pytest.mark.parametrize("items", [{}, {"token": b""}])
def test_evidence_without_token_is_empty(items: dict[str, bytes]) -> None:
    assert reason_of(lambda: VERIFIER.endorsements_for(Evidence("psa", items))) is Reason.EMPTY


@pytest.mark.parametrize("documents", [(), (jwk(IAK), jwk(IAK))])
def test_a_missing_or_doubled_iak_is_a_missing_endorsement(documents: tuple[bytes, ...]) -> None:
    evidence, endorsements = Evidence("psa", {"token": token()}), Endorsements({"iak": documents})
    assert reason_of(lambda: VERIFIER.verify(evidence, endorsements, challenge=None, now=NOW)) is (
        Reason.MISSING_ENDORSEMENT
    )


def test_an_iak_that_is_no_jwk_of_an_ec_key_is_a_bad_endorsement() -> None:
    assert reason_of(lambda: verify(token(), b"{}")) is Reason.BAD_ENDORSEMENT


def test_another_key_than_the_endorsed_one_proves_nothing_even_after_a_proof() -> None:
    genuine = token()
    verify(genuine)
    assert reason_of(lambda: verify(genuine, jwk(arm_token.P256Key()))) is Reason.BAD_SIGNATURE
    assert reason_of(lambda: verify(genuine, jwk(arm_token.P384Key()))) is Reason.BAD_SIGNATURE
    assert verify(genuine).challenge_verified


def test_a_key_of_another_curve_signs_by_its_own_algorithm() -> None:
    key = arm_token.P384Key()
    assert verify(token(key=key), jwk(key)).challenge_verified


# ── freshness ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("size", [32, 48, 64])
def test_a_nonce_of_every_size_is_compared_as_a_whole(size: int) -> None:
    made = token({10: NONCE[:size]})
    assert verify(made, challenge=NONCE[:size]).challenge_verified
    for wrong in (b"", NONCE[: size - 1], NONCE[:size] + b"\0", bytes(size), flipped(NONCE[:size], size - 1)):
        with pytest.raises(BadEvidence, match="challenge_mismatch"):
            verify(made, challenge=wrong)


# ── lifecycle ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("lifecycle", "debug"),
    [(0x3000, False), (0x30FF, False), (0x4000, True), (0x50FF, True), (0, None), (0x1000, None), (0x60FF, None)],
)
def test_the_lifecycle_says_whether_the_device_is_in_debug(lifecycle: int, debug: bool | None) -> None:  # noqa: FBT001 - a column of the table
    assert verify(token({2395: lifecycle})).debug is debug
    assert verify(legacy({-75002: lifecycle})).debug is debug


# ── profiles and claims ───────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "made",
    [
        token({265: "http://UNKNOWN"}),
        token({265: "PSA_IOT_PROFILE_1"}),
        legacy({-75000: "http://UNKNOWN"}),
        legacy({-75000: "http://arm.com/psa/2.0.0"}),
    ],
)
def test_a_token_of_another_profile_is_malformed(made: bytes) -> None:
    assert reason_of(lambda: verify(made)) is Reason.MALFORMED


def test_a_token_under_a_symmetric_key_is_unsupported() -> None:
    assert reason_of(lambda: verify(b"\xd1" + token()[1:])) is Reason.UNSUPPORTED_FORMAT


def test_a_real_token_under_a_symmetric_key_is_unsupported(vectors: Path) -> None:
    for name in ("psa-2_0_0_mac0.bin", "psa-iot-1_mac0.bin"):
        with pytest.raises(BadEvidence, match="unsupported_format"):
            verify((vectors / "rats/psa" / name).read_bytes())


def test_only_the_legacy_profile_may_be_left_unsaid() -> None:
    assert verify(legacy({-75000: ABSENT})).fields["eat-profile"] == "PSA_IOT_PROFILE_1"
    assert reason_of(lambda: verify(token({265: ABSENT}))) is Reason.MALFORMED


def test_what_is_optional_may_be_absent() -> None:
    fields = verify(token({268: ABSENT, 2398: ABSENT, 2400: ABSENT, 2399: [COMPONENT]})).fields
    assert fields["psa-boot-seed"] is None
    assert fields["psa-certification-reference"] is None
    assert fields["psa-verification-service"] is None
    assert fields["psa-sw-component-0-type"] is None


def test_a_hardware_version_of_2019_has_no_suffix() -> None:
    fields = verify(legacy({-75005: "1234567890123"})).fields
    assert fields["psa-certification-reference"] == "1234567890123"
    assert reason_of(lambda: verify(token({2398: "1234567890123"}))) is Reason.MALFORMED


def test_a_legacy_device_may_say_that_it_measures_nothing() -> None:
    claims = verify(legacy({-75006: ABSENT, -75007: 1}))
    assert (claims.measurements, claims.fields["psa-software-measured"]) == ({}, False)
    assert verify(legacy()).fields["psa-software-measured"] is True


@pytest.mark.parametrize(
    "changes",
    [
        {-75007: 1},
        {-75006: ABSENT},
        {-75006: ABSENT, -75007: 0},
        {-75006: ABSENT, -75007: True},
        {-75004: ABSENT},
        {-75004: bytes(31)},
    ],
)
def test_a_legacy_claim_that_contradicts_its_profile_is_malformed(changes: Changes) -> None:
    assert reason_of(lambda: verify(legacy(changes))) is Reason.MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {265: 1},
        {10: ABSENT},
        {10: bytes(31)},
        {10: [NONCE]},
        {256: ABSENT},
        {256: bytes(33)},
        {256: INSTANCE + b"\0"},
        {2396: ABSENT},
        {2396: bytes(31)},
        {2394: ABSENT},
        {2394: 0},
        {2394: "1"},
        {2394: True},
        {2394: 1 << 31},
        {2395: ABSENT},
        {2395: 0x7000},
        {2395: 0x3100},
        {2395: -1},
        {268: bytes(7)},
        {268: bytes(33)},
        {2398: "1234567890123-1234x"},
        {2398: "1234567890123-12345-"},
        {2398: 12345},
        {2399: ABSENT},
        {2399: ABSENT, -75007: 1},
        {2399: []},
        {2399: [COMPONENT] * 65},
        {2399: [{**COMPONENT, 2: bytes(20)}]},
        {2399: [{2: bytes(32)}]},
        {2399: [{**COMPONENT, 4: 1}]},
        {2400: ""},
        {2400: b"service"},
    ],
)
def test_a_claim_of_the_wrong_type_or_size_is_malformed(changes: Changes) -> None:
    assert reason_of(lambda: verify(token(changes))) is Reason.MALFORMED


@pytest.mark.parametrize("payload", [b"", b"\x80", b"\xa0\x00", b"\xbf\xff"])
def test_a_payload_that_is_no_claims_set_is_malformed(payload: bytes) -> None:
    assert reason_of(lambda: verify(arm_token.sign1(IAK, payload))) is Reason.MALFORMED


def test_a_token_beyond_the_limit_is_too_large() -> None:
    assert reason_of(lambda: verify(bytes(16 * 1024 + 1))) is Reason.TOO_LARGE


# ── mutation ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def real(vectors: Path, name: str) -> tuple[bytes, bytes]:
    """A token of Veraison's services and its key."""
    iak = (vectors / "rats/keys/services-psa-ec.p256.jwk").read_bytes()
    return (vectors / "rats/psa" / name).read_bytes(), iak


@pytest.mark.parametrize("name", ["services-psa.good.cose", "services-psaintegtoken.cbor"])
def test_no_flipped_byte_of_a_real_token_verifies(vectors: Path, name: str) -> None:
    genuine, iak = real(vectors, name)
    verify(genuine, iak, None)
    assert _survivors(genuine, iak) == []


def test_no_flipped_byte_of_a_legacy_token_verifies() -> None:
    assert _survivors(legacy(), jwk(IAK)) == []


def _survivors(genuine: bytes, iak: bytes) -> list[int]:
    return [offset for offset in range(len(genuine)) if _verifies(flipped(genuine, offset), iak)]


def _verifies(mutant: bytes, iak: bytes) -> bool:
    try:
        verify(mutant, iak, None)
    except BadEvidence:
        return False
    return True


def test_no_prefix_of_a_real_token_verifies_nor_bytes_behind_it(vectors: Path) -> None:
    genuine, iak = real(vectors, "services-psa.good.cose")
    for cut in (*(genuine[:size] for size in range(1, len(genuine), 8)), genuine + b"\0"):
        with pytest.raises(BadEvidence, match="malformed"):
            verify(cut, iak, None)
