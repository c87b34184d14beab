"""The proof of a quote: each link from its signature to the root is cut once, and the quote is refused."""

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from intel_lab import (
    CHALLENGE,
    KEY,
    NOW,
    collateral,
    enclave_body,
    pki,
    platform,
    prove,
    quote,
    refusal,
    td_body,
)
from verifiers_conformance import cases, inputs, load_runner

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Evidence
from attest_pipeline.simulator.intel_pki import QE_MRSIGNER, IntelPki, sign_raw
from attest_pipeline.simulator.intel_quote import assemble, certify
from attest_pipeline.verifiers._intel.abi import Certification, parse_certification, parse_quote
from attest_pipeline.verifiers._intel.documents import read_enclave_identity
from attest_pipeline.verifiers._intel.quote import prove_attestation_key
from attest_pipeline.verifiers._intel.roots import INTEL_SGX_ROOT_CA
from attest_pipeline.verifiers.sgx import SgxVerifier
from attest_pipeline.verifiers.tdx import TdxVerifier


def parts() -> Certification:
    return parse_certification(certify("tdx", 4, platform(), KEY), 4)


def recertified(**changes: bytes) -> bytes:
    """A quote whose certification has these parts replaced; a new QE report is signed by the PCK."""
    old = parts()._replace(**changes)
    signature = old.qe_signature if "qe_signature" in changes else sign_raw(platform().pck.key, old.qe_report)
    data = assemble(4, old.attestation_key, old.qe_report, signature, old.qe_auth, old.pck_chain)
    return quote("tdx", certification=data)


def with_qe(offset: int, value: bytes) -> bytes:
    report = parts().qe_report
    return recertified(qe_report=report[:offset] + value + report[offset + len(value) :])


def test_the_pinned_key_is_that_of_intels_root_certificate(vectors: Path) -> None:
    document = json.loads(next((vectors / "evidence/dcap-collateral").glob("90c06f*.json")).read_text())
    root = x509.load_pem_x509_certificates(document["pck_crl_issuer_chain"].encode())[-1]
    assert root.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == INTEL_SGX_ROOT_CA


def test_a_good_quote_is_proven_and_every_check_is_named() -> None:
    claims = prove("tdx")
    assert set(claims.checks) == {
        "collateral_signatures", "collateral_current", "collateral_signers_not_revoked", "pck_chain_to_pinned_root",
        "pck_chain_current", "pck_chain_not_revoked", "qe_report_signature", "attestation_key_bound_to_qe",
        "qe_identity", "qe_not_debug", "collateral_of_this_platform", "quote_signature", "tcb_level",
        "tdx_module_identity", "challenge",
    }  # fmt: skip
    assert (claims.tcb_status, claims.debug, claims.challenge_verified) == ("UpToDate", False, True)
    assert claims.hardware_id == bytes(range(16)).hex()


def test_a_quote_signed_by_another_key_is_refused() -> None:
    whole = quote("tdx")
    other = sign_raw(ec.generate_private_key(ec.SECP256R1()), parse_quote(whole).signed)
    assert refusal("tdx", whole[:636] + other + whole[700:]) is Reason.BAD_SIGNATURE


def test_an_attestation_key_that_the_qe_did_not_make_is_unbound() -> None:
    whole = quote("tdx")
    stranger = certify("tdx", 4, platform(), ec.generate_private_key(ec.SECP256R1()))
    assert refusal("tdx", recertified(attestation_key=stranger[:64])) is Reason.UNBOUND
    assert refusal("tdx", recertified(qe_auth=b"other")) is Reason.UNBOUND
    assert whole[700:764] != stranger[:64]


def test_only_half_of_the_qe_report_data_is_a_hash_and_the_other_half_is_zero() -> None:
    assert refusal("tdx", with_qe(383, b"\1")) is Reason.UNBOUND


def test_an_attestation_key_off_the_curve_is_malformed() -> None:
    bound = hashlib.sha256(b"\1" * 64 + parts().qe_auth).digest()
    report = parts().qe_report[:320] + bound + bytes(32)
    assert refusal("tdx", recertified(attestation_key=b"\1" * 64, qe_report=report)) is Reason.MALFORMED


def test_a_qe_report_signed_by_another_pck_is_refused() -> None:
    other = pki().platform(bytes(16))
    signature = sign_raw(other.pck.key, parts().qe_report)
    assert refusal("tdx", recertified(qe_signature=signature)) is Reason.BAD_SIGNATURE


def test_a_qe_under_a_debugger_is_refused_even_if_its_identity_would_allow_it() -> None:
    loose = collateral("tdx", None, {"attributes": "00" * 16, "attributesMask": "00" * 16})
    assert prove("tdx", quote("tdx"), loose).tcb_status == "UpToDate"
    assert refusal("tdx", with_qe(48, bytes([0x13])), loose) is Reason.IDENTITY_MISMATCH


@pytest.mark.parametrize(
    ("offset", "value"),
    [(16, b"\1"), (48, b"\x10"), (49, b"\1"), (128, bytes(32)), (256, b"\1"), (257, b"\1")],
    ids=["miscselect", "attributes", "attributes-high", "mrsigner", "isvprodid", "isvprodid-high"],
)
def test_an_enclave_that_is_not_intels_qe_is_refused(offset: int, value: bytes) -> None:
    assert refusal("tdx", with_qe(offset, value)) is Reason.IDENTITY_MISMATCH


def test_qe_bits_outside_the_masks_do_not_matter() -> None:
    assert prove("tdx", with_qe(48, bytes([0x15]))).tcb_status == "UpToDate"


@pytest.mark.parametrize("mask", ["ff", "ff" * 8])
def test_a_mask_of_another_size_than_what_it_masks_admits_no_qe(mask: str) -> None:
    assert refusal("tdx", quote("tdx"), collateral("tdx", None, {"miscselectMask": mask})) is Reason.IDENTITY_MISMATCH


def test_miscselect_stands_in_the_identity_as_it_stands_in_the_report() -> None:
    data = with_qe(16, bytes.fromhex("13370000"))
    good = collateral("tdx", None, {"miscselect": "13370000"})
    assert prove("tdx", data, good).tcb_status == "UpToDate"
    assert refusal("tdx", data, collateral("tdx", None, {"miscselect": "00003713"})) is Reason.IDENTITY_MISMATCH


@pytest.mark.parametrize("svn", [3, 0])
def test_an_old_qe_is_out_of_date_and_one_without_level_is_not_endorsed(svn: int) -> None:
    data = quote("tdx", certification=certify("tdx", 4, platform(), KEY, svn=svn))
    if svn:
        claims = prove("tdx", data)
        assert (claims.tcb_status, claims.fields["qe_tcb_status"]) == ("OutOfDate", "OutOfDate")
        assert claims.fields["advisories"] == "INTEL-SA-00001"
    else:
        assert refusal("tdx", data) is Reason.TCB_NOT_FOUND


def test_a_platform_below_every_level_is_not_endorsed() -> None:
    levels = pki().tcb_info("tdx")["tcbLevels"]
    assert isinstance(levels, list)
    old = pki().platform(bytes(16), svn=4)
    assert prove("tdx", quote("tdx", machine=old)).tcb_status == "OutOfDate"
    assert (
        refusal("tdx", quote("tdx", machine=old), collateral("tdx", {"tcbLevels": levels[:1]})) is Reason.TCB_NOT_FOUND
    )


def test_one_low_component_counts_however_high_the_others() -> None:
    low = td_body(svn=bytes([9, 1, 9, 9, 9, 4]).ljust(16, b"\x09"))
    assert prove("tdx", quote("tdx", low)).tcb_status == "OutOfDate"


def test_a_pck_with_a_key_of_another_kind_is_refused() -> None:
    strange = IntelPki(NOW)
    strange.root, strange.authority = pki().root, pki().authority
    machine = strange.platform(bytes(16))
    old = machine.pck.certificate
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        builder = x509.CertificateBuilder(old.issuer, old.subject, key.public_key(), 5, pki().start, pki().end)
        for extension in old.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        leaf = builder.sign(pki().authority.key, hashes.SHA256()).public_bytes(Encoding.PEM)
        chain = leaf + platform().chain.partition(b"-----END CERTIFICATE-----\n")[2]
        assert refusal("tdx", recertified(pck_chain=chain)) is Reason.BAD_SIGNATURE


def test_a_pck_outside_its_time_is_refused_whatever_was_proven_before() -> None:
    late = IntelPki(NOW + timedelta(days=5))
    late.root, late.authority = pki().root, pki().authority
    data = quote("tdx", machine=late.platform(bytes(16)))
    assert prove("tdx", data, now=NOW + timedelta(days=6)).tcb_status == "UpToDate"
    assert refusal("tdx", data, now=NOW) is Reason.NOT_YET_VALID


def test_a_pck_that_the_root_itself_issued_has_no_crl_and_is_refused() -> None:
    direct = IntelPki(NOW)
    direct.root = pki().root
    direct.authority = direct.issue("Simulated SGX PCK Platform CA", direct.root, authority=True)
    direct.authority = direct.authority._replace(key=pki().root.key)  # the name of a CA over the root's signature
    leaf = direct.platform(bytes(16)).pck
    signature = sign_raw(leaf.key, parts().qe_report)
    chain = leaf.certificate.public_bytes(Encoding.PEM)
    assert refusal("tdx", recertified(pck_chain=chain, qe_signature=signature)) is Reason.BAD_ENDORSEMENT


# ── challenge ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_all_64_bytes_of_the_challenge_count(tee: str) -> None:
    data, document = quote(tee), collateral(tee)
    for index in range(64):
        wrong = CHALLENGE[:index] + bytes([CHALLENGE[index] ^ 1]) + CHALLENGE[index + 1 :]
        assert refusal(tee, data, document, challenge=wrong) is Reason.CHALLENGE_MISMATCH


@pytest.mark.parametrize("challenge", [b"", CHALLENGE[:63], CHALLENGE[:32], CHALLENGE + b"\0", bytes(64)])
def test_a_challenge_of_another_length_or_of_zeros_is_no_match(challenge: bytes) -> None:
    assert refusal("tdx", challenge=challenge) is Reason.CHALLENGE_MISMATCH


@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_without_a_challenge_the_claims_say_that_none_was_verified(tee: str) -> None:
    claims = prove(tee, challenge=None)
    assert not claims.challenge_verified
    assert "challenge" not in claims.checks


# ── debug, levels of trust: reported, not refused ─────────────────────────────────────────────────────────────────────
def test_a_debug_enclave_is_proven_and_reported() -> None:
    claims = prove("sgx", quote("sgx", enclave_body(debug=True)))
    assert (claims.debug, claims.tcb_status) == (True, "UpToDate")
    assert prove("sgx").debug is False


def test_sgx_claims_are_those_of_the_enclave() -> None:
    fields = prove("sgx").fields
    assert (fields["isvprodid"], fields["isvsvn"], fields["mrenclave"]) == (7, 8, "22" * 32)
    assert (fields["mrsigner"], fields["report_data"]) == ("33" * 32, CHALLENGE.hex())
    assert QE_MRSIGNER.hex() not in fields.values()


def test_each_field_of_an_sgx_report_is_read_from_its_own_place() -> None:
    """Offsets of sgx_report_body_t in Intel's sgx_report.h."""
    offsets = {"isvextprodid": 32, "configid": 192, "configsvn": 260, "isvfamilyid": 304, "cpusvn": 0, "miscselect": 16}
    for name, offset in offsets.items():
        body = enclave_body()
        fields = prove("sgx", quote("sgx", body[:offset] + b"\x5a" + body[offset + 1 :])).fields
        changed = {field for field in offsets if fields[field] != prove("sgx").fields[field]}
        assert changed == {name}


# ── mutations ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def real_quotes(conformance: Path) -> Iterator[tuple[str, Any]]:
    runner = load_runner(conformance)
    for tee in ("tdx", "sgx"):
        found = [case for case in cases(conformance, tee) if case["expect"]["outcome"] == "verified"]
        for case in found[:: len(found) // 3]:
            yield tee, inputs(runner.request(case, str(conformance.parent / "vectors")))


def test_no_byte_of_what_is_signed_can_change_in_a_real_quote(conformance: Path) -> None:
    """Body, signature, attestation key, QE report and its signature, authentication data: each byte, one bit."""
    mutations = 0
    for tee, (evidence, endorsements, challenge, now) in real_quotes(conformance):
        verifier = TdxVerifier({}) if tee == "tdx" else SgxVerifier({})
        whole = evidence.items["quote"]
        chain = whole.index(b"-----BEGIN")
        verifier.verify(evidence, endorsements, challenge=challenge, now=now)
        for index in range(chain):
            forged = whole[:index] + bytes([whole[index] ^ (1 << index % 8)]) + whole[index + 1 :]
            with pytest.raises(BadEvidence):
                verifier.verify(Evidence(tee, {"quote": forged}), endorsements, challenge=None, now=now)
            mutations += 1
    assert mutations > 5000


def test_a_byte_changed_in_the_pck_chain_is_refused_or_means_the_same(conformance: Path) -> None:
    tee, (evidence, endorsements, challenge, now) = next(real_quotes(conformance))
    verifier, whole = TdxVerifier({}), evidence.items["quote"]
    claims = verifier.verify(evidence, endorsements, challenge=challenge, now=now)
    refused = 0
    for index in range(whole.index(b"-----BEGIN"), whole.rindex(b"-----END"), 7):
        forged = whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :]
        try:
            again = verifier.verify(Evidence(tee, {"quote": forged}), endorsements, challenge=challenge, now=now)
        except BadEvidence:
            refused += 1
        else:
            assert again == claims  # a line break, or the certificate of the root, of which only the key counts
    assert refused > 200


def test_a_quote_that_was_refused_once_is_refused_again_and_the_good_one_still_holds() -> None:
    good = quote("tdx")
    bad = good[:600] + b"\xff" + good[601:]
    document = json.dumps(collateral("tdx")).encode()
    for _ in range(2):
        assert refusal("tdx", bad, document) is Reason.BAD_SIGNATURE
        assert prove("tdx", good, document).tcb_status == "UpToDate"


def test_intels_sample_holds_up_to_its_test_root_and_no_further(vectors: Path) -> None:
    """Its chain is in DER and its QE has a MISCSELECT; MRSIGNER and SVNs of its collateral are made up."""
    folder = vectors / "evidence/intel-qvl-sample/tdx_v4_intel_sample"
    root = x509.load_pem_x509_certificate((folder / "trustedRootCaCert.pem").read_bytes())
    anchor = root.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    sample = parse_quote((folder / "quote.dat").read_bytes())
    attestation = prove_attestation_key(sample.state.certification, sample.state.version, anchor)
    assert attestation.key.verify_raw(sample.signature, sample.signed, "sha256")
    signed = (folder / "qeIdentity.json").read_bytes()
    text = msgspec.json.decode(signed, type=dict[str, msgspec.Raw])["enclaveIdentity"]
    identity, qe = read_enclave_identity(bytes(text)), attestation.qe
    assert (qe.miscselect, qe.attributes, qe.isvprodid) == (
        identity.miscselect,
        identity.attributes,
        identity.isvprodid,
    )
    with pytest.raises(BadEvidence) as caught:
        prove_attestation_key(sample.state.certification, sample.state.version, INTEL_SGX_ROOT_CA)
    assert caught.value.reason is Reason.UNTRUSTED_ROOT
