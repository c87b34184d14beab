"""Huawei virtCCA: a real device, tokens that nothing binds, and a simulated authority for the rest."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cbor2
import pytest
from arm_tokens import CHALLENGE, Changes, collection, platform_token, realm_payload, reason_of
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from verifiers_conformance import run_cases

from attest_pipeline.crypto import load_point
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.simulator import arm_token
from attest_pipeline.simulator.pki import Identity, Pki
from attest_pipeline.verifiers._huawei.roots import HUAWEI_ECC_ATTESTATION_ROOT_CA_1, HUAWEI_EQUIPMENT_CA
from attest_pipeline.verifiers._shared import cbor
from attest_pipeline.verifiers._shared.x509 import load_certificate, prove_path, public_key
from attest_pipeline.verifiers.virtcca import VirtccaVerifier

NOW = datetime(2026, 11, 23, tzinfo=UTC)
REAL_NOW = datetime(2025, 9, 1, tzinfo=UTC)
PKI = Pki(NOW, ec.SECP521R1(), hashes.SHA512())
ROOT = PKI.issue("Root", None, authority=True)
PRODUCT = PKI.issue("Product", ROOT, authority=True)
DEVICE = PKI.issue("device", PRODUCT)
DEVICE_KEY = arm_token.P521Key(DEVICE.key)
CVM_KEY = arm_token.P521Key(ec.generate_private_key(ec.SECP521R1()))
CA = tuple(identity.encoded(Encoding.DER) for identity in (PRODUCT, ROOT))
VERIFIER = VirtccaVerifier({"huawei": (ROOT.spki,)})
NOTHING: Changes = {}


def cvm_token(key: arm_token.Key, changes: Changes = NOTHING, *, names: bytes | None = None) -> bytes:
    payload = realm_payload(key.point if names is None else names, changes)
    return arm_token.sign1(key, cbor2.dumps(payload))


def bound_by_platform(platform: Changes = NOTHING, realm: Changes = NOTHING) -> bytes:
    return collection(platform_token(DEVICE_KEY, CVM_KEY.point, platform), cvm_token(CVM_KEY, realm))


def items(token: bytes, device: Identity = DEVICE) -> dict[str, bytes]:
    return {"token": token, "dev_cert": device.encoded(Encoding.PEM)}


def verify(
    evidence: dict[str, bytes],
    *,
    challenge: bytes | None = CHALLENGE,
    now: datetime = NOW,
    ca: tuple[bytes, ...] = CA,
    crl: tuple[bytes, ...] | None = None,
) -> Claims:
    endorsements = Endorsements({"ca": ca} if crl is None else {"ca": ca, "crl": crl})
    return VERIFIER.verify(Evidence("virtcca", evidence), endorsements, challenge=challenge, now=now)


@pytest.fixture(name="real")
def real_device(vectors: Path) -> dict[str, bytes]:
    directory = vectors / "secgear/virtcca"
    return {
        "token": (directory / "gta_token.cbor").read_bytes(),
        "dev_cert": (directory / "gta_dev_cert.der").read_bytes(),
    }


@pytest.fixture(name="real_ca")
def real_authorities(vectors: Path) -> tuple[bytes, ...]:
    directory = vectors / "evidence/roots/huawei"
    names = ("Huawei_IT_Product_CA.pem", "Huawei_Equipment_Root_CA.pem")
    return tuple((directory / name).read_bytes() for name in names)


def test_all_conformance_cases_pass(conformance: Path) -> None:
    assert run_cases(conformance, "virtcca", lambda: VirtccaVerifier({})) == []


@pytest.mark.parametrize(
    ("name", "pinned"),
    [
        ("Huawei Equipment Root CA.pem", HUAWEI_EQUIPMENT_CA),
        ("eccp521_root_cert.pem", HUAWEI_ECC_ATTESTATION_ROOT_CA_1),
    ],
)
def test_the_pinned_keys_are_those_of_the_published_root_certificates(vectors: Path, name: str, pinned: bytes) -> None:
    certificate = load_certificate((vectors / "secgear/certs" / name).read_bytes())
    assert public_key(certificate).spki == pinned


def test_the_published_p521_intermediate_leads_to_its_pinned_root(vectors: Path) -> None:
    certificate = load_certificate((vectors / "secgear/certs/eccp521_sub_cert.pem").read_bytes())
    path = prove_path(certificate, (), frozenset({HUAWEI_ECC_ATTESTATION_ROOT_CA_1}), now=REAL_NOW)
    assert path.root == HUAWEI_ECC_ATTESTATION_ROOT_CA_1


# ── what binds a token ────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_token_of_the_device_key_itself_verifies_without_platform_token() -> None:
    claims = verify(items(collection(None, cvm_token(DEVICE_KEY))))
    assert claims.debug is None
    assert claims.fields["platform-token"] is False
    assert claims.checks == ("device-certificate", "cvm-key-binding", "cvm-signature", "challenge")


def test_a_token_that_the_platform_vouches_for_verifies_and_tells_of_the_platform() -> None:
    claims = verify(items(bound_by_platform()))
    assert claims.debug is False
    assert claims.fields["platform-token"] is True
    assert claims.hardware_id == claims.signer == hashlib.sha256(DEVICE.spki).hexdigest()
    assert set(claims.measurements) == {
        "rim", "rem0", "rem1", "rem2", "rem3",
        "platform-sw-component-0-measurement", "platform-sw-component-1-measurement",
    }  # fmt: skip
    assert {name: claims.fields[name] for name in claims.measurements} == claims.measurements
    assert "platform-signature" in claims.checks
    assert set(claims.endorsements) == {"ca/0", "ca/1"}


def test_a_platform_in_debug_is_reported() -> None:
    assert verify(items(bound_by_platform({2395: 0x4000}))).debug is True


def test_firmware_may_leave_the_signer_of_a_component_empty() -> None:
    claims = verify(items(bound_by_platform({2399: [{2: bytes(32), 5: b""}]})))
    assert claims.fields["platform-sw-component-0-signer-id"] == ""


def test_a_token_whose_key_is_only_its_own_word_is_unbound() -> None:
    assert reason_of(lambda: verify(items(collection(None, cvm_token(CVM_KEY))))) is Reason.UNBOUND


def test_a_real_token_with_the_certificate_of_another_device_is_unbound(
    vectors: Path, real: dict[str, bytes], real_ca: tuple[bytes, ...]
) -> None:
    other = (vectors / "secgear/virtcca/virtcca_aik_cert.der").read_bytes()
    stolen = {**real, "dev_cert": other}
    assert reason_of(lambda: verify(stolen, challenge=None, now=REAL_NOW, ca=real_ca)) is Reason.UNBOUND


def test_taking_the_platform_token_away_unbinds_the_token() -> None:
    stripped = collection(None, cbor2.loads(bound_by_platform()).value[arm_token.REALM])
    assert reason_of(lambda: verify(items(stripped))) is Reason.UNBOUND


def test_a_platform_token_that_vouches_for_another_key_leaves_the_token_unbound() -> None:
    spliced = collection(platform_token(DEVICE_KEY, DEVICE_KEY.point, NOTHING), cvm_token(CVM_KEY))
    assert reason_of(lambda: verify(items(spliced))) is Reason.UNBOUND


def test_a_platform_token_does_not_replace_the_device_keys_signature() -> None:
    forged = collection(platform_token(CVM_KEY, CVM_KEY.point, NOTHING), cvm_token(CVM_KEY))
    assert reason_of(lambda: verify(items(forged))) is Reason.BAD_SIGNATURE


def test_a_token_that_names_the_device_key_but_is_signed_by_another_is_refused() -> None:
    forged = collection(None, cvm_token(CVM_KEY, names=DEVICE_KEY.point))
    assert reason_of(lambda: verify(items(forged))) is Reason.BAD_SIGNATURE


def test_evidence_without_device_certificate_is_unbound() -> None:
    assert reason_of(lambda: verify({"token": collection(None, cvm_token(DEVICE_KEY))})) is Reason.UNBOUND


# ── the device certificate ────────────────────────────────────────────────────────────────────────────────────────────
def test_without_the_authorities_certificates_an_endorsement_is_missing() -> None:
    evidence = Evidence("virtcca", items(bound_by_platform()))
    endorsements = Endorsements({})
    assert reason_of(lambda: VERIFIER.verify(evidence, endorsements, challenge=None, now=NOW)) is (
        Reason.MISSING_ENDORSEMENT
    )


def test_the_endorsements_are_the_same_for_all_and_only_the_crl_is_optional() -> None:
    asked = VERIFIER.endorsements_for(Evidence("virtcca", {}))
    assert [(ref.item, ref.key, ref.required) for ref in asked] == [
        ("ca", "virtcca", True),
        ("crl", "virtcca/crl", False),
    ]


def test_a_root_that_is_not_pinned_is_not_trusted_even_if_endorsed() -> None:
    strict = VirtccaVerifier({})
    evidence, endorsements = Evidence("virtcca", items(bound_by_platform())), Endorsements({"ca": CA})
    assert reason_of(lambda: strict.verify(evidence, endorsements, challenge=None, now=NOW)) is Reason.UNTRUSTED_ROOT


def test_the_chain_is_judged_at_the_given_time_even_when_its_proof_is_remembered() -> None:
    evidence = items(bound_by_platform())
    verify(evidence)
    assert reason_of(lambda: verify(evidence, now=NOW - timedelta(days=2))) is Reason.NOT_YET_VALID
    assert reason_of(lambda: verify(evidence, now=NOW + timedelta(days=31))) is Reason.EXPIRED


def test_more_authorities_than_a_path_can_have_are_too_large() -> None:
    assert reason_of(lambda: verify(items(bound_by_platform()), ca=CA * 5)) is Reason.TOO_LARGE


def test_a_crl_that_is_given_must_hold_and_is_named() -> None:
    claims = verify(items(bound_by_platform()), crl=(PKI.crl(PRODUCT, []),))
    assert "revocation" in claims.checks
    assert "crl" in claims.endorsements
    assert "revocation" not in verify(items(bound_by_platform())).checks


def test_a_revoked_device_is_refused() -> None:
    assert reason_of(lambda: verify(items(bound_by_platform()), crl=(PKI.crl(PRODUCT, [DEVICE]),))) is Reason.REVOKED


@pytest.mark.parametrize("documents", [(), (b"",), (PKI.crl(ROOT, []),), (PKI.crl(PRODUCT, []),) * 2])
def test_a_crl_that_is_absent_doubled_or_of_another_authority_is_a_bad_endorsement(
    documents: tuple[bytes, ...],
) -> None:
    assert reason_of(lambda: verify(items(bound_by_platform()), crl=documents)) is Reason.BAD_ENDORSEMENT


def test_a_crl_cannot_be_checked_for_a_device_right_under_the_root() -> None:
    direct = PKI.issue("direct", ROOT)
    key = arm_token.P521Key(direct.key)
    evidence = items(collection(None, cvm_token(key)), direct)
    assert verify(evidence).hardware_id == hashlib.sha256(direct.spki).hexdigest()
    assert reason_of(lambda: verify(evidence, crl=(PKI.crl(ROOT, []),))) is Reason.BAD_ENDORSEMENT


# ── the token ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("challenge", [b"", CHALLENGE[:32], CHALLENGE[:63], CHALLENGE + b"\0", bytes(64)])
def test_the_challenge_is_compared_as_a_whole_not_as_a_prefix(challenge: bytes) -> None:
    assert reason_of(lambda: verify(items(bound_by_platform()), challenge=challenge)) is Reason.CHALLENGE_MISMATCH


def test_without_a_challenge_the_claims_say_that_none_was_verified() -> None:
    assert not verify(items(bound_by_platform()), challenge=None).challenge_verified


def test_a_payload_that_is_not_wrapped_twice_is_malformed() -> None:
    bare = arm_token.sign1(DEVICE_KEY, realm_payload(DEVICE_KEY.point, NOTHING))
    assert reason_of(lambda: verify(items(collection(None, bare)))) is Reason.MALFORMED


@pytest.mark.parametrize(
    "key",
    [
        b"",
        DEVICE_KEY.point[:-1],
        b"\x04" + bytes(132),
        b"\x02" + DEVICE_KEY.point[1:],
        bytes(550),
        DEVICE.spki.ljust(550, b"\0"),
    ],
)
def test_a_key_claim_that_is_no_key_of_the_profile_is_malformed(key: bytes) -> None:
    forged = collection(None, cvm_token(DEVICE_KEY, names=key))
    assert reason_of(lambda: verify(items(forged))) is Reason.MALFORMED


def test_an_rsa_key_of_its_own_is_unbound_like_any_other() -> None:
    key = rsa.generate_private_key(65537, 4096).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert reason_of(lambda: verify(items(collection(None, cvm_token(DEVICE_KEY, names=spki))))) is Reason.UNBOUND


def test_an_unknown_hash_for_the_platforms_word_is_malformed() -> None:
    assert reason_of(lambda: verify(items(bound_by_platform({}, {44240: "sha-1"})))) is Reason.MALFORMED


def test_a_device_key_on_the_wire_is_that_of_its_certificate() -> None:
    assert load_point("P-521", DEVICE_KEY.point).spki == DEVICE.spki


def test_no_flipped_byte_of_a_real_token_verifies(real: dict[str, bytes], real_ca: tuple[bytes, ...]) -> None:
    verify(real, challenge=None, now=REAL_NOW, ca=real_ca)
    genuine, survivors = real["token"], []
    for offset in range(len(genuine)):
        mutant = genuine[:offset] + bytes([genuine[offset] ^ (1 << offset % 8)]) + genuine[offset + 1 :]
        try:
            verify({**real, "token": mutant}, challenge=None, now=REAL_NOW, ca=real_ca)
        except BadEvidence:
            continue
        survivors.append(offset)
    assert survivors == []


# ── tokens that differ in challenge and signature alone ───────────────────────────────────────────────────────────────
PLATFORM_TOKEN = platform_token(DEVICE_KEY, CVM_KEY.point, NOTHING)
OTHER_CHALLENGE = CHALLENGE[::-1]


def test_a_token_over_another_challenge_is_not_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    known, later = (
        items(collection(PLATFORM_TOKEN, cvm_token(CVM_KEY, {10: challenge})))
        for challenge in (CHALLENGE, OTHER_CHALLENGE)
    )
    first = verify(known)
    monkeypatch.setattr(cbor, "decode", pytest.fail)
    found = verify(later, challenge=OTHER_CHALLENGE)
    assert found.fields == {**first.fields, "challenge": OTHER_CHALLENGE.hex()}
    assert reason_of(lambda: verify(later)) is Reason.CHALLENGE_MISMATCH


@pytest.mark.parametrize(
    ("realm", "said"),
    [({44235: bytes(range(64, 128))}, "rpv"), ({44238: bytes(range(32))}, "rim"), ({44236: "sha-512"}, "hash_alg")],
)
def test_what_is_known_of_a_vm_is_said_of_no_other(realm: Changes, said: str) -> None:
    known = verify(items(bound_by_platform()))
    found = verify(items(bound_by_platform({}, realm)))
    assert {name for name, value in known.fields.items() if found.fields[name] != value} == {said}
    assert verify(items(bound_by_platform())) == known


def test_what_is_known_with_a_platform_a_crl_or_a_log_is_not_said_without() -> None:
    realm = {44239: [bytes(32)] * 3 + [IMA_DIGEST]}
    token = cvm_token(DEVICE_KEY, realm)
    alone = items(collection(None, token))
    vouched = items(collection(platform_token(DEVICE_KEY, DEVICE_KEY.point, NOTHING), token))
    logged = {**alone, "ima_log": IMA_LINE.encode()}
    for _ in range(2):
        assert (verify(vouched).debug, verify(alone).debug) == (False, None)
        assert (verify(logged).fields["ima-log"], verify(alone).fields["ima-log"]) == (True, False)
        assert "ima_digest" in verify(logged).fields.keys() - verify(alone).fields.keys()
        assert (len(verify(logged).logs), verify(alone).logs) == (1, ())
        assert verify(alone, crl=(PKI.crl(PRODUCT, []),)).endorsements.keys() - verify(alone).endorsements.keys()


# ── the logs ──────────────────────────────────────────────────────────────────────────────────────────────────────────
IMA_LINE = (
    "4 3cfbcaa5b0d1b69bf26c81fcdcc6bb6383eed765 ima-ng "
    "sha256:8d3ad2a3bb1ea533f8c563aace8d40cab8d9bc4e9e9208f14a3beafd9f1aa313 /root/test.sh\n"
)
IMA_DIGEST = bytes.fromhex("894f884af1ee5ce4f8d1cc400f60c75aa1cd927f7524c7c34a204ed503403bea")


def test_a_real_event_log_explains_the_registers_of_its_token(
    vectors: Path, real: dict[str, bytes], real_ca: tuple[bytes, ...]
) -> None:
    log = (vectors / "secgear/ima_uefi/gta_ccel.bin").read_bytes()
    claims = verify({**real, "event_log": log}, challenge=None, now=REAL_NOW, ca=real_ca)
    assert "event-log" in claims.checks
    assert (claims.fields["event-log"], claims.fields["ima-log"]) == (True, False)
    assert claims.measurements["rem0"].startswith("e3579705")
    (listed,) = claims.logs
    assert (listed.name, listed.registers, claims.fields["ccel_registers"]) == ("ccel", (1, 2, 3), "1,2,3")
    assert claims.fields["ccel_events"] == len(listed.events) > 80


def test_a_log_that_leaves_a_boot_register_unexplained_is_a_mismatch(vectors: Path) -> None:
    log = (vectors / "secgear/ima_uefi/gta_ccel.bin").read_bytes()
    registers = [bytes.fromhex(text) for text in ("00" * 32,) * 4]
    evidence = {**items(bound_by_platform({}, {44239: registers})), "event_log": log}
    assert reason_of(lambda: verify(evidence)) is Reason.LOG_MISMATCH


def test_a_log_of_a_register_that_no_virtcca_machine_has_is_a_mismatch(vectors: Path) -> None:
    log = (vectors / "secgear/tpm_gta/binary_bios_measurements").read_bytes()
    evidence = {**items(bound_by_platform()), "event_log": log}
    assert reason_of(lambda: verify(evidence)) is Reason.LOG_MISMATCH


def test_an_event_log_without_events_explains_nothing(vectors: Path) -> None:
    header = (vectors / "secgear/ima_uefi/gta_ccel.bin").read_bytes()[:65]
    evidence = {**items(bound_by_platform()), "event_log": header}
    assert reason_of(lambda: verify(evidence)) is Reason.LOG_MISMATCH


def test_an_ima_log_explains_rem3() -> None:
    registers = [bytes(32)] * 3 + [IMA_DIGEST]
    evidence = {**items(bound_by_platform({}, {44239: registers})), "ima_log": IMA_LINE.encode()}
    claims = verify(evidence)
    assert "ima-log" in claims.checks
    ((event,),) = (log.events for log in claims.logs)
    assert (event.register, event.text, event.text_authenticated) == (4, "/root/test.sh", True)


@pytest.mark.parametrize(
    "log", [IMA_LINE + IMA_LINE, IMA_LINE.replace("4 ", "3 ", 1), IMA_LINE.replace("4 ", "10 ", 1)]
)
def test_an_ima_log_that_rem3_does_not_bear_out_is_a_mismatch(log: str) -> None:
    registers = [bytes(32)] * 3 + [IMA_DIGEST]
    evidence = {**items(bound_by_platform({}, {44239: registers})), "ima_log": log.encode()}
    assert reason_of(lambda: verify(evidence)) is Reason.LOG_MISMATCH


def test_an_ima_log_that_leaves_rem3_unexplained_is_a_mismatch() -> None:
    registers = [bytes(32)] * 3 + [IMA_DIGEST]
    aggregate = (
        "10 0adefe762c149c7cec19da62f0da1297fcfbffff ima-ng "
        "sha256:0000000000000000000000000000000000000000000000000000000000000000 boot_aggregate\n"
    )
    evidence = {**items(bound_by_platform({}, {44239: registers})), "ima_log": aggregate.encode()}
    assert reason_of(lambda: verify(evidence)) is Reason.LOG_MISMATCH
