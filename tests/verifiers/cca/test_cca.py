"""Arm CCA: real tokens, forgeries signed with real keys, and every byte flipped."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import cbor2
import pytest
from arm_tokens import (
    ABSENT,
    CHALLENGE,
    INSTANCE,
    LEGACY,
    Changes,
    collection,
    flipped,
    jwk,
    platform_token,
    realm_payload,
    reason_of,
)
from verifiers_conformance import run_cases

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, EndorsementKind, EndorsementRef, Endorsements, Evidence
from attest_pipeline.simulator import arm_token
from attest_pipeline.simulator.arm import RMM_2
from attest_pipeline.verifiers._shared import cbor
from attest_pipeline.verifiers.cca import CcaVerifier

NOW = datetime(2026, 11, 23, tzinfo=UTC)
VERIFIER = CcaVerifier({})
CPAK, RAK = arm_token.P384Key(), arm_token.P384Key()


def verify(token: bytes, cpak: bytes | None = None, challenge: bytes | None = CHALLENGE) -> Claims:
    endorsements = Endorsements({"cpak": (jwk(CPAK) if cpak is None else cpak,)})
    return VERIFIER.verify(Evidence("cca", {"token": token}), endorsements, challenge=challenge, now=NOW)


def token(platform: Changes = {}, realm: Changes = {}, signer: arm_token.Key = CPAK) -> bytes:  # noqa: B006 - read only
    realm_token = arm_token.sign1(RAK, realm_payload(RAK.point, realm))
    return collection(platform_token(signer, RAK.point, platform), realm_token)


def real(vectors: Path, name: str = "cca_cmw907_legacy") -> tuple[bytes, bytes]:
    cpak = vectors / "evidence/roots/arm-test/cpak_tfa_p384.jwk.json"
    return (vectors / f"evidence/cca/{name}.cbor").read_bytes(), cpak.read_bytes()


def test_all_conformance_cases_pass(conformance: Path) -> None:
    assert run_cases(conformance, "cca", lambda: CcaVerifier({})) == []


def test_claims_name_hardware_signer_measurements_and_every_check() -> None:
    claims = verify(token())
    assert (claims.tee, claims.hardware_id, claims.debug, claims.tcb_status) == ("cca", INSTANCE.hex(), False, None)
    assert claims.challenge_verified
    assert claims.signer is not None
    assert set(claims.endorsements) == {"cpak"}
    assert claims.checks == (
        "token-format",
        "platform-signature",
        "platform-lifecycle",
        "realm-key-binding",
        "realm-signature",
        "challenge",
    )
    assert {name: claims.fields[name] for name in claims.measurements} == claims.measurements
    assert claims.fields["cca-platform-sw-component-1-type"] == "RMM"
    assert claims.fields["cca-platform-sw-component-1-version"] == "1.4.0"


def test_without_a_challenge_the_claims_say_that_none_was_verified() -> None:
    claims = verify(token(), challenge=None)
    assert not claims.challenge_verified
    assert "challenge" not in claims.checks


def test_the_cpak_is_asked_for_by_implementation_and_instance() -> None:
    key = f"{arm_token.IMPLEMENTATION.hex()}/{INSTANCE.hex()}"
    asked = VERIFIER.endorsements_for(Evidence("cca", {"token": token()}))
    assert asked == (EndorsementRef(item="cpak", kind=EndorsementKind.ARM_CPAK, key=key),)


@pytest.mark.parametrize("items", [{}, {"token": b""}])
def test_evidence_without_token_is_empty(items: dict[str, bytes]) -> None:
    assert reason_of(lambda: VERIFIER.endorsements_for(Evidence("cca", items))) is Reason.EMPTY


@pytest.mark.parametrize("documents", [(), (jwk(CPAK), jwk(CPAK))])
def test_a_missing_or_doubled_cpak_is_a_missing_endorsement(documents: tuple[bytes, ...]) -> None:
    evidence, endorsements = Evidence("cca", {"token": token()}), Endorsements({"cpak": documents})
    assert reason_of(lambda: VERIFIER.verify(evidence, endorsements, challenge=None, now=NOW)) is (
        Reason.MISSING_ENDORSEMENT
    )


# ── the chain of trust ────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_platform_token_of_another_machine_does_not_vouch_for_this_realm() -> None:
    other = arm_token.P384Key()
    spliced = collection(platform_token(CPAK, other.point, {}), arm_token.sign1(RAK, realm_payload(RAK.point, {})))
    assert reason_of(lambda: verify(spliced)) is Reason.UNBOUND


def test_a_real_token_whose_signatures_hold_but_are_not_bound_is_unbound(vectors: Path) -> None:
    spliced, cpak = real(vectors, "cca_bug33_unbound")
    assert reason_of(lambda: verify(spliced, cpak, None)) is Reason.UNBOUND


def test_a_realm_token_signed_by_another_key_than_it_names_is_refused() -> None:
    realm = arm_token.sign1(arm_token.P384Key(), realm_payload(RAK.point, {}))
    forged = collection(platform_token(CPAK, RAK.point, {}), realm)
    assert reason_of(lambda: verify(forged)) is Reason.BAD_SIGNATURE


def test_a_platform_token_signed_by_the_realm_itself_is_refused() -> None:
    assert reason_of(lambda: verify(token(signer=RAK))) is Reason.BAD_SIGNATURE


def test_a_proof_under_one_cpak_is_never_an_answer_under_another() -> None:
    genuine = token()
    verify(genuine)
    assert reason_of(lambda: verify(genuine, jwk(arm_token.P384Key()))) is Reason.BAD_SIGNATURE
    assert verify(genuine).challenge_verified


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b'{"kty":"EC","crv":"P-384"}',
        b'{"kty":"EC","crv":"P-224","x":"AA","y":"AA"}',
        b'{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}',
        b'{"kty":"EC","crv":"P-384","x":"!!","y":"AA"}',
        b'{"kty":"RSA","n":"AA","e":"AQAB"}',
        b'{"kty":' + b"[" * 2000,
        b" " * 5000,
        jwk(CPAK).replace(b'"EC"', b'"OKP"'),
        jwk(CPAK).replace(b'"x"', b'"d"'),
    ],
)
def test_a_cpak_that_is_no_jwk_of_an_ec_key_is_a_bad_endorsement(document: bytes) -> None:
    assert reason_of(lambda: verify(token(), document)) is Reason.BAD_ENDORSEMENT


def test_a_real_cpak_off_its_curve_is_a_bad_endorsement(vectors: Path) -> None:
    bad = json.loads((vectors / "evidence/negative/cca/ta-02-bad.json").read_bytes())
    point = json.dumps(bad[0]["pkey"]).encode()
    assert reason_of(lambda: verify(token(), point)) is Reason.BAD_ENDORSEMENT


# ── freshness ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        CHALLENGE[:63],
        CHALLENGE + b"\0",
        bytes(64),
        *(CHALLENGE[:i] + b"\xff" + CHALLENGE[i + 1 :] for i in range(0, 64, 9)),
    ],
)
def test_the_challenge_is_compared_as_a_whole(challenge: bytes) -> None:
    assert reason_of(lambda: verify(token(), challenge=challenge)) is Reason.CHALLENGE_MISMATCH


# ── lifecycle ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("lifecycle", "debug"),
    [
        (0x3000, False),
        (0x30FF, False),
        (0x4000, True),
        (0x50FF, True),
        (0x0000, None),
        (0x1000, None),
        (0x2001, None),
        (0x6000, None),
    ],
)
def test_the_lifecycle_says_whether_the_platform_is_in_debug(lifecycle: int, debug: bool | None) -> None:  # noqa: FBT001 - a column of the table
    claims = verify(token({2395: lifecycle}))
    assert claims.debug is debug
    assert claims.fields["cca-platform-lifecycle"] == lifecycle


@pytest.mark.parametrize("lifecycle", [0x0100, 0x3100, 0x2FFF, 0x7000, 0xFFFF, 0x10000, -1, "3000", True])
def test_a_lifecycle_that_is_not_defined_is_malformed(lifecycle: object) -> None:
    assert reason_of(lambda: verify(token({2395: lifecycle}))) is Reason.MALFORMED


# ── profiles and claims ───────────────────────────────────────────────────────────────────────────────────────────────
def test_a_token_of_an_unknown_profile_is_malformed() -> None:
    assert reason_of(lambda: verify(token({265: "tag:arm.com,2026:cca_platform#2.0.0"}))) is Reason.MALFORMED
    assert reason_of(lambda: verify(token({265: ABSENT}))) is Reason.MALFORMED
    assert reason_of(lambda: verify(token({}, {265: "tag:arm.com,2031:realm#9"}))) is Reason.MALFORMED


def test_a_bare_point_under_a_profile_that_wants_a_cose_key_is_malformed() -> None:
    assert reason_of(lambda: verify(token({}, {265: "tag:arm.com,2023:realm#1.0.0"}))) is Reason.MALFORMED


COMPONENT = {2: bytes(32), 5: bytes(32)}


@pytest.mark.parametrize(
    "platform",
    [
        {10: ABSENT},
        {10: bytes(31)},
        {10: [bytes(32)]},
        {2396: bytes(33)},
        {256: bytes(32)},
        {256: b"\x02" + bytes(32)},
        {2401: ABSENT},
        {2401: bytes(1025)},
        {2402: 1},
        {2402: "none"},
        {2400: ""},
        {2400: b"service"},
        {2399: []},
        {2399: ABSENT},
        {2399: [COMPONENT] * 65},
        {2399: [b"component"]},
        {2399: [{5: bytes(32)}]},
        {2399: [{**COMPONENT, 2: bytes(20)}]},
        {2399: [{**COMPONENT, 5: b""}]},
        {2399: [{**COMPONENT, 4: 1}]},
    ],
)
def test_a_platform_claim_of_the_wrong_type_or_size_is_malformed(platform: Changes) -> None:
    assert reason_of(lambda: verify(token(platform))) is Reason.MALFORMED


@pytest.mark.parametrize(
    "realm",
    [
        {10: bytes(63)},
        {10: [CHALLENGE]},
        {44235: bytes(32)},
        {44236: b"sha-256"},
        {44237: ABSENT},
        {44237: bytes(257)},
        {44238: bytes(20)},
        {44239: [bytes(32)] * 3},
        {44239: [bytes(32)] * 5},
        {44239: [bytes(32)] * 3 + [bytes(31)]},
        {44239: [bytes(32)] * 3 + ["rem"]},
        {44236: "none"},
        {44240: "md5"},
        {44240: ABSENT},
    ],
)
def test_a_realm_claim_of_the_wrong_type_or_size_is_malformed(realm: Changes) -> None:
    assert reason_of(lambda: verify(token({}, realm))) is Reason.MALFORMED


@pytest.mark.parametrize("payload", [b"", b"\x80", b"\xa0\x00", b"\xbf\xff"])
def test_a_payload_that_is_no_claims_set_is_malformed(payload: bytes) -> None:
    forged = collection(platform_token(CPAK, RAK.point, {}), arm_token.sign1(RAK, payload))
    assert reason_of(lambda: verify(forged)) is Reason.MALFORMED


def test_a_collection_without_one_of_its_tokens_is_malformed() -> None:
    platform = platform_token(CPAK, RAK.point, {})
    assert reason_of(lambda: verify(collection(platform, None))) is Reason.MALFORMED
    assert reason_of(lambda: verify(collection(None, arm_token.sign1(RAK, realm_payload(RAK.point, {}))))) is (
        Reason.MALFORMED
    )


def test_a_token_beyond_the_limit_is_too_large() -> None:
    assert reason_of(lambda: verify(bytes(16 * 1024 + 1))) is Reason.TOO_LARGE


def test_other_entries_of_a_collection_prove_nothing_and_change_nothing() -> None:
    entries = cbor2.loads(token()).value
    assert verify(cbor2.dumps(cbor2.CBORTag(399, {**entries, 44300: b"later"}))).fields == verify(token()).fields


# ── RMM 2.0 (simulated: no real token of it is known) ─────────────────────────────────────────────────────────────────
COSE_KEY = cbor2.dumps({1: 2, -1: 2, -2: RAK.point[1:49], -3: RAK.point[49:]})
DEVICE = {2: bytes(48), 3: bytes(32), 4: True, 5: "spdm-1.3.0", 6: bytes(64)}


def token_2(platform: Changes = {}, realm: Changes = {}) -> bytes:  # noqa: B006 - read only
    """Token of profile 2.0 with some claims changed."""
    added = {265: RMM_2.platform, **RMM_2.added_platform, **platform}
    realm_token = arm_token.sign1(RAK, realm_payload(COSE_KEY, {265: RMM_2.realm, **RMM_2.added_realm, **realm}))
    return collection(platform_token(CPAK, COSE_KEY, added), realm_token)


def test_a_token_of_rmm_2_says_what_is_new() -> None:
    fields = verify(token_2({}, {44257: bytes(48)})).fields
    assert fields["cca-platform-profile"] == "tag:arm.com,2024:cca_platform#2.0.0"
    assert fields["cca-platform-manufacturing-config"] == "02"
    assert fields["cca-realm-instance-id"] == RMM_2.added_realm[256].hex()  # type: ignore[attr-defined]
    assert (fields["cca-realm-mec-policy"], fields["cca-realm-lfa-policy"]) == ("private", "disallow")
    assert fields["cca-realm-devices-token-hash"] == bytes(48).hex()


@pytest.mark.parametrize(
    ("policy", "said"), [(0, "shared"), (1, "private"), ("shared", "shared"), ("private", "private")]
)
def test_a_mec_policy_is_a_number_or_veraisons_word(policy: object, said: str) -> None:
    assert verify(token_2({}, {44243: policy})).fields["cca-realm-mec-policy"] == said


def test_what_is_optional_in_rmm_2_may_be_absent() -> None:
    fields = verify(token_2({2403: ABSENT}, {44244: ABSENT})).fields
    assert fields["cca-platform-manufacturing-config"] is None
    assert fields["cca-realm-lfa-policy"] is None
    assert fields["cca-realm-devices-token-hash"] is None
    assert fields["cca-platform-sw-component-0-live-activation"] is None


def test_components_say_whether_they_change_at_run_time_and_who_else_signed_them() -> None:
    component = {**COMPONENT, 6: "sha-512", 7: True, 8: [bytes(48), bytes(32)]}
    fields = verify(token_2({2399: [component]})).fields
    assert fields["cca-platform-sw-component-0-live-activation"] is True
    assert fields["cca-platform-sw-component-0-hash-algo-id"] == "sha-512"
    assert fields["cca-platform-sw-component-0-countersigner-0"] == bytes(48).hex()
    assert fields["cca-platform-sw-component-0-countersigner-1"] == bytes(32).hex()


def test_devices_of_platform_or_realm_are_told_and_marked_as_unproven() -> None:
    fields = verify(token_2({2404: [DEVICE, {**DEVICE, 1: "sha-384", 4: False, 5: "cxl"}]})).fields
    assert fields["cca-platform-extension-0-protocol"] == "spdm-1.3.0"
    assert fields["cca-platform-extension-0-vca-digest"] == bytes(64).hex()
    assert fields["cca-platform-extension-1-vca-digest"] is None
    assert fields["cca-platform-extension-1-encrypted-link"] is False
    assert fields["cca-unproven-devices"] is True
    assert verify(token_2({}, {44257: bytes(32)})).fields["cca-unproven-devices"] is True
    assert verify(token_2()).fields["cca-unproven-devices"] is False
    assert verify(token()).fields["cca-unproven-devices"] is False


def test_devices_under_a_profile_that_knows_none_are_malformed() -> None:
    draft = "tag:arm.com,2023:realm#1.0.0"
    assert verify(token_2({}, {265: draft})).fields["cca-unproven-devices"] is False
    assert reason_of(lambda: verify(token_2({}, {265: draft, 44257: bytes(48)}))) is Reason.MALFORMED
    assert reason_of(lambda: verify(token_2({265: LEGACY, 2404: [DEVICE]}))) is Reason.MALFORMED


def test_a_realm_without_profile_has_that_of_a_platform_of_profile_2() -> None:
    assert verify(token_2({}, {265: ABSENT})).fields["cca-realm-mec-policy"] == "private"
    assert reason_of(lambda: verify(token_2({}, {265: ABSENT, 44243: ABSENT}))) is Reason.MALFORMED


def test_a_realm_of_profile_2_may_run_on_an_older_platform() -> None:
    fields = verify(token_2({265: LEGACY})).fields
    assert fields["cca-realm-mec-policy"] == "private"
    assert "cca-platform-manufacturing-config" not in fields


@pytest.mark.parametrize(
    "platform",
    [
        {2394: ABSENT},
        {2394: 2},
        {2394: True},
        {2403: "02"},
        {2403: bytes(1025)},
        {2404: []},
        {2404: DEVICE},
        {2404: [DEVICE] * 65},
        {2404: [b"device"]},
        *({2404: [{**DEVICE, label: None}]} for label in DEVICE),
        {2404: [{**DEVICE, 1: 7}]},
        {2404: [{**DEVICE, 2: bytes(20)}]},
        {2399: [{**COMPONENT, 6: 1}]},
        {2399: [{**COMPONENT, 7: 1}]},
        {2399: [{**COMPONENT, 8: []}]},
        {2399: [{**COMPONENT, 8: [bytes(31)]}]},
        {2399: [{**COMPONENT, 8: [bytes(32)] * 17}]},
    ],
)
def test_a_new_platform_claim_that_is_incomplete_or_wrong_is_malformed(platform: Changes) -> None:
    assert reason_of(lambda: verify(token_2(platform))) is Reason.MALFORMED


@pytest.mark.parametrize(
    "realm",
    [
        {256: ABSENT},
        {256: bytes(33)},
        {256: b"\x01" + bytes(31)},
        {44243: ABSENT},
        {44243: 2},
        {44243: True},
        {44243: "none"},
        {44244: 2},
        {44244: "allow"},
        {44257: bytes(20)},
        {44257: b""},
    ],
)
def test_a_new_realm_claim_that_is_incomplete_or_wrong_is_malformed(realm: Changes) -> None:
    assert reason_of(lambda: verify(token_2({}, realm))) is Reason.MALFORMED


def test_no_flipped_byte_of_a_token_of_rmm_2_verifies() -> None:
    assert survivors(token_2({2404: [DEVICE]}, {44257: bytes(32)}), jwk(CPAK)) == []


# ── tokens that differ in challenge and signature alone ───────────────────────────────────────────────────────────────
OTHER_CHALLENGE = CHALLENGE[::-1]


def differing(found: Claims, known: Claims) -> set[str]:
    return {name for name, value in known.fields.items() if found.fields[name] != value}


@pytest.mark.parametrize("write", [token, token_2])
def test_a_token_over_another_challenge_is_not_read_anew(
    write: Callable[[Changes, Changes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cbor2.loads(write({}, {})).value
    realm = cbor2.loads(write({}, {10: OTHER_CHALLENGE})).value[arm_token.REALM]
    known, later = verify(collection(*first.values())), collection(first[arm_token.PLATFORM], realm)
    monkeypatch.setattr(cbor, "decode", pytest.fail)
    found = verify(later, challenge=OTHER_CHALLENGE)
    assert differing(found, known) == {"cca-realm-challenge"}
    assert found.fields["cca-realm-challenge"] == OTHER_CHALLENGE.hex()
    assert reason_of(lambda: verify(later)) is Reason.CHALLENGE_MISMATCH


@pytest.mark.parametrize(
    ("platform", "realm", "said"),
    [
        ({256: b"\x01" + bytes(32)}, {}, {"cca-platform-instance-id"}),
        ({2395: 0x4000}, {}, {"cca-platform-lifecycle"}),
        ({2401: b"\x02"}, {}, {"cca-platform-config"}),
        ({2400: "service"}, {}, {"cca-platform-verification-service"}),
        ({}, {44235: bytes(range(64, 128))}, {"cca-realm-personalization-value"}),
        ({}, {44236: "sha-512"}, {"cca-realm-hash-algo-id"}),
        ({}, {44238: bytes(range(32))}, {"cca-realm-initial-measurement"}),
        ({}, {44239: [bytes(range(32)), bytes(32), bytes(32), bytes(32)]},
         {f"cca-realm-extensible-measurement-{register}" for register in range(3)}),
    ],
)  # fmt: skip
def test_what_is_known_of_a_realm_is_said_of_no_other(platform: Changes, realm: Changes, said: set[str]) -> None:
    known = verify(token())
    found = verify(token(platform, realm))
    assert differing(found, known) == said
    assert found.debug is (2395 in platform)
    assert {name: found.fields[name] for name in found.measurements} == found.measurements
    assert found.hardware_id == found.fields["cca-platform-instance-id"]
    assert verify(token()) == known


def test_a_platform_is_told_by_the_document_that_endorses_it() -> None:
    genuine = token()
    known, found = verify(genuine), verify(genuine, jwk(CPAK) + b" ")
    assert found.endorsements != known.endorsements
    assert (found.signer, found.fields) == (known.signer, known.fields)


def test_a_realm_token_without_profile_is_read_by_that_of_its_platform_however_well_it_is_known() -> None:
    for _ in range(2):
        assert verify(token_2({}, {265: ABSENT})).fields["cca-realm-mec-policy"] == "private"
        assert reason_of(lambda: verify(token_2({265: LEGACY}, {265: ABSENT}))) is Reason.MALFORMED


# ── mutation ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("name", ["cca_cmw907_legacy", "cca_draft_ffm_00"])
def test_no_flipped_byte_of_a_real_token_verifies(vectors: Path, name: str) -> None:
    genuine, cpak = real(vectors, name)
    verify(genuine, cpak, None)
    assert survivors(genuine, cpak) == []


def survivors(genuine: bytes, cpak: bytes) -> list[int]:
    """Offsets at which a flipped bit still verifies."""
    return [offset for offset in range(len(genuine)) if _verifies(flipped(genuine, offset), cpak)]


def _verifies(mutant: bytes, cpak: bytes) -> bool:
    try:
        verify(mutant, cpak, None)
    except BadEvidence:
        return False
    return True


def test_no_prefix_of_a_real_token_verifies(vectors: Path) -> None:
    genuine, cpak = real(vectors)
    for size in range(0, len(genuine), 16):
        assert reason_of(partial(verify, genuine[:size], cpak, None)) in {Reason.EMPTY, Reason.MALFORMED}


def test_bytes_behind_a_real_token_are_malformed(vectors: Path) -> None:
    genuine, cpak = real(vectors)
    assert reason_of(lambda: verify(genuine + b"\0", cpak, None)) is Reason.MALFORMED
