"""NVIDIA GPUs and NVSwitches: real reports, and reports of simulated devices with any part changed."""

import hashlib
from functools import cache
from pathlib import Path

import pytest
from arm_tokens import reason_of
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nvidia_lab import CHALLENGE, FWID, GPU, NONCE, NOW, REAL_NOW, SWITCH, Lab, real, real_rims, real_switch
from verifiers_conformance import run_cases

from attest_pipeline import verifiers
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, EndorsementKind, Endorsements, Evidence
from attest_pipeline.ports import Verifier
from attest_pipeline.simulator.nvidia import NvidiaVendor
from attest_pipeline.simulator.nvidia_pki import NvidiaPki
from attest_pipeline.simulator.pki import Pki
from attest_pipeline.verifiers._nvidia import roots
from attest_pipeline.verifiers._shared.x509 import load_certificate

lab = cache(Lab)
SIGNATURE = 96


@cache
def production(tee: str) -> Verifier:
    return verifiers.load([tee], {})[tee]


def verify_real(evidence: Evidence, documents: dict[str, tuple[bytes, ...]] | None = None) -> Claims:
    return production(evidence.tee).verify(evidence, Endorsements(documents or {}), challenge=None, now=REAL_NOW)


@pytest.mark.parametrize("tee", [GPU, SWITCH])
def test_all_conformance_cases_pass(conformance: Path, tee: str) -> None:
    assert run_cases(conformance, tee, lambda: verifiers.load([tee], {})[tee]) == []


@pytest.mark.parametrize(
    ("name", "key", "digest"),
    [
        ("NVIDIA_Device_Identity_CA", roots.NVIDIA_DEVICE_IDENTITY_CA, "102bf659d5419614"),
        ("NVIDIA_CoRIM_signing_Root_CA", roots.NVIDIA_CORIM_SIGNING_ROOT_CA, "12977b5115acb038"),
    ],
)
def test_the_pinned_keys_are_those_of_the_published_roots(vectors: Path, name: str, key: bytes, digest: str) -> None:
    root = load_certificate((vectors / f"evidence/roots/nvidia/{name}.pem").read_bytes())
    assert root.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == key
    assert root.fingerprint(hashes.SHA256()).hex().startswith(digest)


# ── claims ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_claims_of_a_gpu_name_hardware_signer_versions_and_every_check() -> None:
    claims = lab(GPU).verify(documents=lab(GPU).found())
    assert (claims.tee, claims.debug, claims.tcb_status) == (GPU, None, None)
    assert claims.hardware_id == "410000000000000001"
    assert claims.signer == hashlib.sha256(lab(GPU).device.firmware.spki).hexdigest()
    assert claims.checks == (
        "report_format",
        "device_chain_to_pinned_root",
        "device_chain_current",
        "report_signature",
        "fwid_of_device",
        "challenge",
        "rim_driver",
        "rim_vbios",
        "chain_not_revoked",
    )
    fields = claims.fields
    assert (fields["driver_version"], fields["vbios_version"]) == ("580.95.05", "96.00.74.00.01")
    assert (fields["project"], fields["project_sku"], fields["chip_sku"]) == ("1010", "0200", "882")
    assert (fields["mode"], fields["nvdec0"], fields["protected_pcie"]) == ("spt", "disabled", "disabled")
    assert (fields["board_id"], fields["nonce"], fields["chip"]) == (945, NONCE.hex(), "gh100")
    assert set(claims.endorsements) == {"rim_driver", "rim_vbios", *(f"ocsp/{number}" for number in range(5))}


def test_claims_of_a_switch_name_its_physical_id_and_one_rim() -> None:
    claims = lab(SWITCH).verify(documents=lab(SWITCH).found())
    assert claims.fields["pdi"] == "203eb31ad9ed0008"
    assert claims.fields["vbios_version"] == "96.10.55.00.01"
    assert claims.checks[4:] == ("challenge", "rim_vbios", "chain_not_revoked")
    assert "rim_driver" not in claims.fields


def test_fields_have_every_measurement_and_the_token_those_that_are_used() -> None:
    claims = lab(GPU).verify()
    assert claims.fields["measurement_2"] == lab(GPU).vendor.measurement(1).hex()
    assert claims.fields["measurement_64"] == bytes(48).hex()
    assert "measurement_65" not in claims.fields
    assert claims.measurements == {
        name: value
        for name, value in claims.fields.items()
        if name.startswith("measurement_") and value != bytes(48).hex()
    }


def test_without_endorsements_the_claims_say_that_nothing_was_compared() -> None:
    claims = lab(GPU).verify()
    assert (claims.fields["rim_driver"], claims.fields["rim_vbios"]) == (False, False)
    assert claims.fields["revocation_checked"] is False
    assert claims.endorsements == {}
    assert claims.checks[-1] == "challenge"


def test_without_a_challenge_the_claims_say_that_none_was_verified() -> None:
    claims = lab(GPU).verify(challenge=None)
    assert not claims.challenge_verified
    assert "challenge" not in claims.checks


def test_a_gpu_needs_rims_of_its_versions_and_the_answers_about_its_chip(vectors: Path) -> None:
    wanted = production(GPU).endorsements_for(real(vectors, "hopper_550.90.07"))
    assert [(ref.item, ref.kind, ref.key, ref.required) for ref in wanted] == [
        ("rim_driver", EndorsementKind.NVIDIA_RIM, "driver/550.90.07/gh100", False),
        ("rim_vbios", EndorsementKind.NVIDIA_RIM, "vbios/96.00.9f.00.01/1010_0200_882", False),
        ("ocsp", EndorsementKind.NVIDIA_OCSP, "41431d480fe5e87274", False),
    ]


def test_a_switch_needs_one_rim(vectors: Path) -> None:
    wanted = production(SWITCH).endorsements_for(real_switch(vectors))
    assert [(ref.item, ref.key) for ref in wanted] == [
        ("rim_vbios", "switch/96.10.55.00.01/ls_10"),
        ("ocsp", "50203eb31ad9ed0008"),
    ]


def test_the_firmware_id_of_blackwell_is_that_of_its_other_extension(vectors: Path) -> None:
    assert "fwid_of_device" in verify_real(real(vectors, "blackwell_575.32")).checks
    assert "fwid_of_device" not in verify_real(real(vectors, "hopper_535.86.09_nofwid")).checks


# ── freshness ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "challenge", [b"", NONCE[:31], NONCE + b"\0", bytes(32), CHALLENGE, NONCE[:-1] + b"\xff", b"\xff" + NONCE[1:]]
)
def test_the_nonce_is_compared_as_a_whole(challenge: bytes) -> None:
    assert reason_of(lambda: lab(GPU).verify(challenge=challenge)) is Reason.CHALLENGE_MISMATCH


# ── the chain ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_root_of_ones_own_is_not_trusted() -> None:
    evidence = lab(GPU).evidence(lab(GPU).signed(lab(GPU).body()))
    refused = reason_of(lambda: production(GPU).verify(evidence, Endorsements({}), challenge=None, now=NOW))
    assert refused is Reason.UNTRUSTED_ROOT


def test_the_root_of_rims_vouches_for_no_device() -> None:
    vendor = lab(GPU).vendor
    verifier = verifiers.load([GPU], {"nvidia": (vendor.pki.rim_root.spki,)})[GPU]
    evidence = lab(GPU).evidence(lab(GPU).signed(lab(GPU).body()))
    refused = reason_of(lambda: verifier.verify(evidence, Endorsements({}), challenge=None, now=NOW))
    assert refused is Reason.UNTRUSTED_ROOT


def test_a_report_signed_by_another_device_is_refused() -> None:
    other = lab(GPU).vendor._chip(2, None)
    assert reason_of(lambda: lab(GPU).verify(chain=other.chain)) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("gap", [1, 2, 3])
def test_a_chain_with_a_gap_is_no_chain(gap: int) -> None:
    certificates = lab(GPU).device.chain.split(b"-----END CERTIFICATE-----\n")
    del certificates[gap]
    chain = b"-----END CERTIFICATE-----\n".join(certificates)
    assert reason_of(lambda: lab(GPU).verify(chain=chain)) is Reason.BAD_CHAIN


@pytest.mark.parametrize("days", [-2, 31])
def test_the_chain_is_judged_at_the_given_time_even_if_its_proof_is_remembered(days: int) -> None:
    moment = NOW.fromtimestamp(NOW.timestamp() + days * 86400, tz=NOW.tzinfo)
    assert lab(GPU).verify().challenge_verified
    reason = Reason.EXPIRED if days > 0 else Reason.NOT_YET_VALID
    assert reason_of(lambda: lab(GPU).verify(now=moment)) is reason


def test_a_device_on_another_curve_is_refused_even_if_nvidia_vouches_for_it() -> None:
    pki = Pki(NOW, ec.SECP256R1(), hashes.SHA384())
    root = pki.issue("root", None, authority=True)
    leaf = pki.issue("GH100 A01 GSP FMC LF", root)
    verifier = verifiers.load([GPU], {"nvidia": (root.spki,)})[GPU]
    evidence = lab(GPU).evidence(lab(GPU).signed(lab(GPU).body()), leaf.encoded(Encoding.PEM))
    refused = reason_of(lambda: verifier.verify(evidence, Endorsements({}), challenge=None, now=NOW))
    assert refused is Reason.BAD_CHAIN


def test_a_chip_without_a_serial_number_has_no_name() -> None:
    pki = Pki(NOW, ec.SECP384R1(), hashes.SHA384())
    root = pki.issue("root", None, authority=True)
    leaf = pki.issue("GH100 A01 GSP FMC LF", root)
    chain = leaf.encoded(Encoding.PEM) + root.encoded(Encoding.PEM)
    opaque = {kind: value for kind, value in lab(GPU).opaque.items() if kind != 20}
    body = lab(GPU).body(opaque)
    evidence = lab(GPU).evidence(body + leaf.sign_raw(body, hashes.SHA384()), chain)
    verifier = verifiers.load([GPU], {"nvidia": (root.spki,)})[GPU]
    assert verifier.verify(evidence, Endorsements({}), challenge=NONCE, now=NOW).hardware_id is None
    assert [ref.item for ref in verifier.endorsements_for(evidence)] == ["rim_driver", "rim_vbios"]


def test_a_stranger_in_the_chain_gives_a_device_no_other_name() -> None:
    leaf, *issuers = lab(GPU).device.chain.split(b"-----BEGIN CERTIFICATE")[1:]
    genuine, forged = lab(GPU).vendor._chip(3, None), NvidiaPki(NOW).chip("GH100", "41ffffffffffffffff", FWID)
    for stranger in (genuine.chip, forged.chip):
        parts = [leaf, stranger.encoded(Encoding.PEM).removeprefix(b"-----BEGIN CERTIFICATE"), *issuers]
        chain = b"".join(b"-----BEGIN CERTIFICATE" + part for part in parts)
        assert lab(GPU).verify(chain=chain).hardware_id == "410000000000000001"
        refs = lab(GPU).verifier.endorsements_for(lab(GPU).evidence(lab(GPU).signed(lab(GPU).body()), chain))
        assert [ref.key for ref in refs if ref.item == "ocsp"] == ["410000000000000001"]


def test_a_certificate_that_names_no_chip_is_malformed() -> None:
    leaf = Pki(NOW, ec.SECP384R1(), hashes.SHA384()).issue("../../etc", None)
    assert reason_of(lambda: lab(GPU).verify(chain=leaf.encoded(Encoding.PEM))) is Reason.MALFORMED


# ── the firmware id ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_firmware_id_of_another_device_is_refused() -> None:
    body = lab(GPU).body(lab(GPU).opaque | {20: FWID[::-1]})
    assert reason_of(lambda: lab(GPU).verify(lab(GPU).signed(body))) is Reason.IDENTITY_MISMATCH


@pytest.mark.parametrize("fwid", [b"", FWID[:47]])
def test_a_firmware_id_that_the_certificate_does_not_have_is_refused(fwid: bytes) -> None:
    vendor = NvidiaVendor(GPU, NOW)
    chip = vendor.pki.chip("GH100", "7", fwid)
    verifier = verifiers.load([GPU], {anchor.vendor: (anchor.spki,) for anchor in vendor.trust_anchors()})[GPU]
    body = lab(GPU).body(lab(GPU).opaque | {20: fwid})
    evidence = Evidence(GPU, {"report": body + chip.firmware.sign_raw(body, hashes.SHA384()), "cert_chain": chip.chain})
    refused = reason_of(lambda: verifier.verify(evidence, Endorsements({}), challenge=NONCE, now=NOW))
    assert refused is Reason.IDENTITY_MISMATCH


# ── the format ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("missing", ["report", "cert_chain"])
def test_evidence_without_one_of_its_items_is_empty(missing: str) -> None:
    whole = lab(GPU).evidence(lab(GPU).signed(lab(GPU).body())).items
    for items in ({name: whole[name] for name in whole if name != missing}, whole | {missing: b""}):
        evidence = Evidence(GPU, items)
        for call in (lab(GPU).verifier.endorsements_for, _without_challenge):
            assert reason_of(lambda call=call, evidence=evidence: call(evidence)) is Reason.EMPTY  # type: ignore[misc]


def _without_challenge(evidence: Evidence) -> Claims:
    return lab(GPU).verifier.verify(evidence, Endorsements({}), challenge=None, now=NOW)


def test_a_report_beyond_the_limit_is_too_large() -> None:
    assert reason_of(lambda: lab(GPU).verify(bytes(16 * 1024 + 1))) is Reason.TOO_LARGE


def test_the_report_of_one_kind_of_device_is_not_that_of_the_other() -> None:
    gpu, switch = (lab(tee).signed(lab(tee).body()) for tee in (GPU, SWITCH))
    assert reason_of(lambda: lab(SWITCH).verify(gpu, chain=lab(GPU).device.chain)) is Reason.MALFORMED
    assert reason_of(lambda: lab(GPU).verify(switch, chain=lab(SWITCH).device.chain)) is Reason.MALFORMED


def _patched(offset: int, value: int) -> bytes:
    body = bytearray(lab(GPU).body())
    body[offset] = value
    return lab(GPU).signed(bytes(body))


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (1, 0xE1),  # another request
        (2, 0x00),  # no signature asked for
        (3, 0x01),  # not all measurements
        (37, 0x12),  # response of another version
        (38, 0x7F),  # SPDM error
        (41, 0),  # no blocks
        (41, 63),  # fewer blocks than the record has
        (42, 0xC1),  # a longer record
        (45, 2),  # first block is not number 1
        (46, 2),  # not a DMTF measurement
        (47, 50),  # size of the block
        (49, 0x81),  # a raw value instead of a digest
        (50, 32),  # size of the value
    ],
)
def test_a_response_of_another_layout_is_malformed(offset: int, value: int) -> None:
    assert reason_of(lambda: lab(GPU).verify(_patched(offset, value))) is Reason.MALFORMED


def test_another_version_of_spdm_is_malformed() -> None:
    assert reason_of(lambda: lab(GPU).verify(_patched(0, 0x12))) is Reason.MALFORMED


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (3, None),
        (3, b""),
        (3, b"550/../x\0"),
        (3, b"5" * 65),
        (3, b"580.95\0x"),
        (6, None),
        (6, bytes(7)),
        (6, b"\0\x74\0\x96\1\0\0\1"),
        (15, b"\xff"),
    ],
)
def test_opaque_data_of_a_gpu_that_cannot_be_is_malformed(kind: int, value: bytes | None) -> None:
    changed = {**lab(GPU).opaque, kind: value}
    body = lab(GPU).body({kind: value for kind, value in changed.items() if value is not None})
    assert reason_of(lambda: lab(GPU).verify(lab(GPU).signed(body))) is Reason.MALFORMED


@pytest.mark.parametrize(("kind", "value"), [(22, None), (22, bytes(144)), (6, None), (6, b"\x96\x10"), (3, b"1.2\0")])
def test_opaque_data_of_a_switch_that_cannot_be_is_malformed(kind: int, value: bytes | None) -> None:
    changed = {**lab(SWITCH).opaque, kind: value}
    body = lab(SWITCH).body({kind: value for kind, value in changed.items() if value is not None})
    assert reason_of(lambda: lab(SWITCH).verify(lab(SWITCH).signed(body))) is Reason.MALFORMED


def test_opaque_data_may_leave_out_what_older_drivers_do_and_say_what_nobody_knows_yet() -> None:
    bare = {3: b"535.86.09\0", 6: lab(GPU).opaque[6], 36: b"\7\0", 99: b"later"}
    fields = lab(GPU).verify(lab(GPU).signed(lab(GPU).body(bare))).fields
    assert (fields["project"], fields["board_id"], fields["nvdec0"]) == (None, None, None)
    assert fields["mode"] == "unknown 0x7"


def test_opaque_data_that_stands_twice_is_malformed() -> None:
    body = lab(GPU).body()
    field = b"\x0b\0\1\0\xaa"
    size = len(body) - 45 - 64 * 55 - 34
    at = 45 + 64 * 55 + 32
    assert int.from_bytes(body[at : at + 2], "little") == size
    doubled = body[:at] + (size + len(field)).to_bytes(2, "little") + body[at + 2 :] + field
    assert reason_of(lambda: lab(GPU).verify(lab(GPU).signed(doubled))) is Reason.MALFORMED


def test_one_byte_behind_the_signature_occurs_in_the_field_and_two_do_not() -> None:
    report = lab(GPU).signed(lab(GPU).body())
    assert lab(GPU).verify(report + b"\0").challenge_verified
    assert reason_of(lambda: lab(GPU).verify(report + b"\0\0")) is Reason.MALFORMED


# ── mutation ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("tee", [GPU, SWITCH])
def test_no_flipped_byte_of_a_real_report_verifies(vectors: Path, tee: str) -> None:
    genuine = real(vectors, "blackwell_575.32") if tee == GPU else real_switch(vectors)
    verify_real(genuine)
    report, survivors = genuine.items["report"], []
    for offset in range(len(report)):
        mutant = report[:offset] + bytes([report[offset] ^ (1 << offset % 8)]) + report[offset + 1 :]
        try:
            verify_real(Evidence(tee, genuine.items | {"report": mutant}))
        except BadEvidence:
            continue
        survivors.append(offset)
    assert survivors == []


def test_no_flipped_byte_of_a_real_chain_proves_another_device(vectors: Path) -> None:
    genuine = real(vectors, "hopper_550.90.07")
    claims = verify_real(genuine)
    chain = genuine.items["cert_chain"]
    for offset in range(0, len(chain), 7):
        mutant = chain[:offset] + bytes([chain[offset] ^ (1 << offset % 8)]) + chain[offset + 1 :]
        try:
            found = verify_real(Evidence(GPU, genuine.items | {"cert_chain": mutant}))
        except BadEvidence:
            continue
        assert found == claims  # between the certificates, or inside the root's, whose key is pinned


def test_no_prefix_of_a_real_report_verifies(vectors: Path) -> None:
    genuine = real(vectors, "hopper_580.159.03")
    for size in range(1, len(genuine.items["report"]), 32):
        cut = Evidence(GPU, genuine.items | {"report": genuine.items["report"][:size]})
        with pytest.raises(BadEvidence) as caught:
            verify_real(cut)
        assert caught.value.reason is Reason.MALFORMED


def test_a_real_gpu_equals_both_of_its_rims(vectors: Path) -> None:
    claims = verify_real(real(vectors, "hopper_550.90.07"), real_rims(vectors))
    assert claims.checks[-2:] == ("rim_driver", "rim_vbios")


def test_another_simulated_nvidia_is_a_forger() -> None:
    forged = NvidiaPki(NOW).chip("GH100", "1", FWID)
    body = lab(GPU).body()
    report = body + forged.firmware.sign_raw(body, hashes.SHA384())
    assert reason_of(lambda: lab(GPU).verify(report, chain=forged.chain)) is Reason.UNTRUSTED_ROOT
