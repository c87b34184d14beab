"""Azure's vTPM: every link from the hardware's root to the quote, cut one at a time."""

import hashlib
import json
import struct
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from azure_lab import CHALLENGE, CLAIMS, HARDWARE, NOW, Lab, b64, rebuilt, runtime_of
from cryptography.hazmat.primitives.serialization import Encoding
from tpm_lab import attest, flipped, values

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import EndorsementKind, Endorsements, Evidence
from attest_pipeline.simulator.amd import GUEST_POLICY, MEASUREMENT, AmdVendor, make_report, sign_report
from attest_pipeline.simulator.amd_pki import SILICON
from attest_pipeline.simulator.azure import make_hcl
from attest_pipeline.simulator.device import Fault
from attest_pipeline.verifiers._azure.document import MAX_DOCUMENT
from attest_pipeline.verifiers._azure.hcl import MAX_REPORT, RUNTIME, SNP, TDX, parse_hcl
from attest_pipeline.verifiers._shared.x509 import load_certificate
from attest_pipeline.verifiers.az_snp_vtpm import AzSnpVerifier
from attest_pipeline.verifiers.az_tdx_vtpm import AzTdxVerifier

TEES = ("az-snp-vtpm", "az-tdx-vtpm")


@cache
def lab(tee: str) -> Lab:
    return Lab(tee)


@pytest.fixture(params=TEES)
def site(request: pytest.FixtureRequest) -> Lab:
    return lab(request.param)


def refusal(site: Lab, evidence: Evidence, **options: Any) -> Reason:
    with pytest.raises(BadEvidence) as refused:
        site.verify(evidence, **options)
    return refused.value.reason


# ── what holds ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_healthy_vm_is_proven_through_all_links(site: Lab) -> None:
    claims = site.verify(site.evidence())
    assert (claims.tee, claims.debug, claims.challenge_verified) == (site.tee, False, True)
    assert {"runtime_data_of_hardware_report", "ak_of_runtime_data", "quote_signature", "challenge"} <= set(
        claims.checks
    )
    expected = {
        "extra_data": CHALLENGE.hex(),
        "pcr_bank": "sha256",
        "secure_boot": True,
        "console_enabled": True,
        "tpm_persisted": None,
        "vm_unique_id": "00000000-0000-0000-0000-000000000001",
        "user_data": CHALLENGE.hex() + "00" * 32,
        "evidence_version": 2,
    }
    assert {name: claims.fields[name] for name in expected} == expected
    assert claims.measurements["pcr4"] == claims.fields["pcr4"] == site.parts.pcrs[4].hex()
    assert claims.hardware_id is not None


def test_without_a_challenge_the_answer_says_so(site: Lab) -> None:
    claims = site.verify(site.evidence(), challenge=None)
    assert not claims.challenge_verified
    assert "challenge" not in claims.checks


def test_the_hardware_tells_its_own_claims() -> None:
    snp, tdx = (lab(tee).verify(lab(tee).evidence()) for tee in TEES)
    assert (snp.fields["vmpl"], snp.fields["product"], snp.tcb_status) == (0, "Milan", None)
    assert {"report_of_paravisor", "chain_not_revoked", "product_of_leaf"} <= set(snp.checks)
    assert (tdx.fields["migratable"], tdx.tcb_status) == (False, "UpToDate")
    assert {"tdx_module_identity", "stored_report_is_quoted", "pck_chain_not_revoked"} <= set(tdx.checks)


def test_the_first_version_of_the_json_is_read_too(site: Lab) -> None:
    parts = site.parts
    quote = {
        "message": list(parts.message),
        "signature": list(parts.signature),
        "pcrs": [list(value) for value in parts.pcrs],
    }
    if site.tee == "az-snp-vtpm":
        pem = load_certificate(parts.hardware).public_bytes(Encoding.PEM).decode()
        document: dict[str, Any] = {"quote": quote, "report": list(parts.hcl_report), "vcek": pem}
    else:
        document = {"tpm_quote": quote, "hcl_report": list(parts.hcl_report), "td_quote": list(parts.hardware)}
    claims = site.verify(site.evidence(document))
    assert (claims.fields["extra_data"], claims.fields["evidence_version"]) == (CHALLENGE.hex(), 0)


@pytest.mark.parametrize("padding", ["", "="])
def test_base64url_may_be_padded(site: Lab, padding: str) -> None:
    document = site.document() | {"hcl_report": b64(site.parts.hcl_report) + padding}
    assert site.verify(site.evidence(document)).challenge_verified


def test_from_version_2_on_the_hardware_has_seen_the_challenge_too(site: Lab) -> None:
    assert site.verify(site.evidence()).checks[-2:] == ("user_data", "challenge")
    runtime = json.dumps(runtime_of(site) | {"user-data": "00" * 64}).encode()
    document = site.document(**rebuilt(site, runtime))
    old = site.verify(site.evidence(document | {"version": 1}))
    assert (old.fields["evidence_version"], old.fields["user_data"]) == (1, "00" * 64)
    assert old.challenge_verified
    assert "user_data" not in old.checks
    relabelled = site.evidence(document)
    assert refusal(site, relabelled) is Reason.CHALLENGE_MISMATCH
    assert "user_data" not in site.verify(relabelled, challenge=None).checks


# ── each link ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_each_flipped_byte_of_quote_signature_and_pcrs_is_refused(site: Lab) -> None:
    parts = site.parts
    for offset in range(len(parts.message)):
        assert refusal(site, site.evidence(message=flipped(parts.message, offset)), challenge=None)
    for offset in range(0, len(parts.signature), 5):
        assert refusal(site, site.evidence(signature=flipped(parts.signature, offset))) is Reason.BAD_SIGNATURE
    for number in range(24):
        pcrs = [flipped(value, 31) if place == number else value for place, value in enumerate(parts.pcrs)]
        assert refusal(site, site.evidence(pcrs=pcrs)) is Reason.UNBOUND


def test_each_flipped_byte_of_the_hcl_report_is_refused(site: Lab) -> None:
    """Hardware report, run-time data, sizes and the zeros between: nothing is free; a TDREPORT's MAC and SVNs are."""
    report = site.parts.hcl_report
    repeated = {*range(0x20 + 128, 0x20 + 192), *range(0x20 + 512, 0x20 + 912), 0x20}
    for offset in range(len(report)):
        inside_td_report = site.tee == "az-tdx-vtpm" and 0x20 <= offset < 0x20 + 1024
        if inside_td_report and offset not in repeated:
            continue
        assert refusal(site, site.evidence(hcl_report=flipped(report, offset)))


@pytest.mark.parametrize("challenge", [b"", CHALLENGE[:-1], CHALLENGE + b"\0", flipped(CHALLENGE, 0)])
def test_all_of_extra_data_is_compared(site: Lab, challenge: bytes) -> None:
    assert refusal(site, site.evidence(), challenge=challenge) is Reason.CHALLENGE_MISMATCH


def test_a_quote_of_another_vm_is_refused(site: Lab) -> None:
    other = site.split(site.vendor.evidence(2, CHALLENGE))
    evidence = site.evidence(message=other.message, signature=other.signature, pcrs=other.pcrs)
    assert refusal(site, evidence) is Reason.BAD_SIGNATURE


def test_an_hcl_report_of_another_vm_is_refused(site: Lab) -> None:
    other = site.split(site.vendor.evidence(2, CHALLENGE))
    assert refusal(site, site.evidence(hcl_report=other.hcl_report)) in {
        Reason.BAD_SIGNATURE,
        Reason.UNBOUND,
        Reason.IDENTITY_MISMATCH,
    }


def test_run_time_data_that_the_hardware_does_not_vouch_for_is_unbound(site: Lab) -> None:
    """An attacker's own AK in well-formed run-time data, around a genuine hardware report."""
    runtime = json.dumps(runtime_of(site) | {"user-data": "11" * 64}).encode()
    stored = site.parts.hcl_report[0x20:RUNTIME]
    kind = SNP if site.tee == "az-snp-vtpm" else TDX
    assert refusal(site, site.evidence(hcl_report=make_hcl(kind, stored, runtime))) is Reason.UNBOUND


def test_bytes_behind_the_hash_in_report_data_are_unbound(site: Lab) -> None:
    runtime = json.dumps(runtime_of(site)).encode()
    longer = hashlib.sha256(runtime).digest().ljust(64, b"\1")
    assert refusal(site, site.evidence(**rebuilt(site, runtime, longer))) is Reason.UNBOUND


@pytest.mark.parametrize(("number", "name"), [(2, "sha384"), (3, "sha512")])
def test_the_hash_that_the_report_names_binds_the_run_time_data(site: Lab, number: int, name: str) -> None:
    runtime = json.dumps(runtime_of(site)).encode()
    parts = rebuilt(site, runtime, hashlib.new(name, runtime).digest().ljust(64, b"\0"))
    report = bytearray(parts["hcl_report"])
    struct.pack_into("<I", report, RUNTIME + 12, number)
    assert site.verify(site.evidence(hcl_report=bytes(report), hardware=parts["hardware"])).challenge_verified


def test_a_selection_of_pcrs_cannot_pass_for_the_first_ones(site: Lab) -> None:
    pcrs = values(numbers=tuple(range(12, 24)))
    quote = attest(pcrs)
    evidence = site.evidence(pcrs=list(pcrs.values()), **site.signed(quote))
    assert refusal(site, evidence) is Reason.UNBOUND
    everything = values(numbers=tuple(range(24)))
    full = site.evidence(pcrs=list(everything.values()), **site.signed(attest(everything)))
    assert site.verify(full).fields["pcr23"] == everything[23].hex()


def test_hardware_of_a_vendor_without_a_pinned_root_is_refused() -> None:
    for tee, factory in (("az-snp-vtpm", AzSnpVerifier), ("az-tdx-vtpm", AzTdxVerifier)):
        site = lab(tee)
        documents = site.documents(site.evidence())
        with pytest.raises(BadEvidence):
            factory({}).verify(site.evidence(), documents, challenge=CHALLENGE, now=NOW)


@pytest.mark.parametrize("days", [-2, 400])
def test_time_is_judged_though_the_proof_is_remembered(site: Lab, days: int) -> None:
    assert site.verify(site.evidence()).challenge_verified
    assert refusal(site, site.evidence(), now=NOW + timedelta(days=days)) in {Reason.EXPIRED, Reason.NOT_YET_VALID}


def test_missing_endorsements_are_missing(site: Lab) -> None:
    evidence = site.evidence()
    with pytest.raises(BadEvidence) as refused:
        site.verifier.verify(evidence, Endorsements({}), challenge=CHALLENGE, now=NOW)
    assert refused.value.reason is Reason.MISSING_ENDORSEMENT


# ── SEV-SNP ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_report_that_the_guest_could_have_asked_for_is_unbound() -> None:
    site = lab("az-snp-vtpm")
    runtime = json.dumps(runtime_of(site)).encode()
    hardware = site.vendor._hardware
    assert isinstance(hardware, AmdVendor)
    chip = hardware.chip(1)
    body = bytearray(
        make_report(
            SILICON["Milan"],
            chip,
            report_data=hashlib.sha256(runtime).digest().ljust(64, b"\0"),
            measurement=MEASUREMENT,
            policy=GUEST_POLICY,
            vlek=False,
        )
    )
    for vmpl, refused in ((0, False), (1, True), (2, True)):
        body[0x30] = vmpl
        evidence = site.evidence(hcl_report=make_hcl(SNP, sign_report(chip.key, bytes(body)), runtime))
        if refused:
            assert refusal(site, evidence) is Reason.UNBOUND
        else:
            assert site.verify(evidence).challenge_verified


def test_the_chain_and_crl_of_the_product_are_asked_for() -> None:
    site = lab("az-snp-vtpm")
    refs = site.verifier.endorsements_for(site.evidence())
    assert [(ref.item, ref.kind, ref.key) for ref in refs] == [
        ("ask", EndorsementKind.AMD_CHAIN, "milan/ask"),
        ("ark", EndorsementKind.AMD_CHAIN, "milan/ark"),
        ("crl", EndorsementKind.AMD_CRL, "milan"),
    ]


def test_a_revoked_chain_is_refused_though_its_proof_is_remembered() -> None:
    site = lab("az-snp-vtpm")
    evidence = site.vendor.evidence(9, CHALLENGE, Fault.REVOKED)
    unchecked = {name: found for name, found in site.documents(evidence).items.items() if name != "crl"}
    documents = Endorsements(unchecked)
    claims = site.verifier.verify(evidence, documents, challenge=CHALLENGE, now=NOW)
    assert (claims.fields["revocation_checked"], "chain_not_revoked" in claims.checks) == (False, False)
    assert refusal(site, evidence) is Reason.REVOKED


# ── TDX ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_collateral_of_the_platform_is_asked_for_under_the_name_of_tdx() -> None:
    site = lab("az-tdx-vtpm")
    (ref,) = site.verifier.endorsements_for(site.evidence())
    assert (ref.item, ref.kind) == ("collateral", EndorsementKind.INTEL_DCAP)
    assert ref.key.startswith("tdx/")


def test_a_stored_report_that_was_not_quoted_is_refused() -> None:
    site = lab("az-tdx-vtpm")
    runtime = site.parts.hcl_report[CLAIMS:].rstrip(b"\0")
    genuine = site.parts.hcl_report[0x20 : 0x20 + 1024]
    for offset, reason in ((0, Reason.MALFORMED), (130, Reason.UNBOUND), (528, Reason.UNBOUND), (911, Reason.UNBOUND)):
        evidence = site.evidence(hcl_report=make_hcl(TDX, flipped(genuine, offset), runtime))
        assert refusal(site, evidence) is reason
    overlong = site.evidence(hcl_report=make_hcl(TDX, genuine + b"\1", runtime))
    assert refusal(site, overlong) is Reason.MALFORMED


# ── the JSON ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_nothing_and_too_much_are_told_apart(site: Lab) -> None:
    assert refusal(site, site.evidence(b"")) is refusal(site, Evidence(site.tee, {})) is Reason.EMPTY
    assert refusal(site, site.evidence(b" " * (MAX_DOCUMENT + 1))) is Reason.TOO_LARGE
    assert refusal(site, site.evidence(hcl_report=bytes(MAX_REPORT + 1))) is Reason.TOO_LARGE


def test_a_member_that_stands_twice_is_malformed(site: Lab) -> None:
    text = json.dumps(site.document())
    name = HARDWARE[site.tee]
    for twice in (f'{{"version": 1, {text[1:]}', text.replace(f'"{name}"', f'"{name}": "", "{name}"')):
        assert refusal(site, site.evidence(twice.encode())) is Reason.MALFORMED


@pytest.mark.parametrize(
    "change",
    [
        {"version": 3},
        {"version": 0},
        {"version": "1"},
        {"version": None},
        {"extra": 1},
        {"hcl_report": "AB="},
        {"hcl_report": "A B"},
        {"hcl_report": "A+/B"},
        {"hcl_report": "AB"},
        {"hcl_report": "\u00e4"},
        {"hcl_report": [1]},
        {"tpm_quote": {}},
        {"tpm_quote": {"message": "zz", "signature": "", "pcrs": []}},
        {"tpm_quote": {"message": "a b", "signature": "", "pcrs": []}},
        {"tpm_quote": {"message": [1], "signature": "", "pcrs": []}},
    ],
)
def test_a_document_of_another_form_is_malformed(site: Lab, change: dict[str, Any]) -> None:
    assert refusal(site, site.evidence(site.document() | change)) is Reason.MALFORMED


@pytest.mark.parametrize("document", [b"[]", b'"text"', b"1"])
def test_json_that_is_no_object_is_malformed(site: Lab, document: bytes) -> None:
    assert refusal(site, site.evidence(document)) is Reason.MALFORMED


@pytest.mark.parametrize("number", [-1, 256, 1.5, "1"])
def test_numbers_that_are_no_bytes_are_malformed(number: object) -> None:
    quote = {"message": [number], "signature": [], "pcrs": []}
    snp, tdx = lab("az-snp-vtpm"), lab("az-tdx-vtpm")
    assert refusal(snp, snp.evidence({"quote": quote, "report": [], "vcek": ""})) is Reason.MALFORMED
    document = {"tpm_quote": quote, "hcl_report": [], "td_quote": []}
    assert refusal(tdx, tdx.evidence(document)) is Reason.MALFORMED


def test_a_certificate_that_is_no_ascii_is_malformed() -> None:
    site = lab("az-snp-vtpm")
    quote: dict[str, list[int]] = {"message": [], "signature": [], "pcrs": []}
    for text in ("-----BEGIN\u00e4", "\ud800"):
        document = json.dumps({"quote": quote, "report": [], "vcek": text}).encode()
        assert refusal(site, site.evidence(document)) is Reason.MALFORMED


# ── run-time data ─────────────────────────────────────────────────────────────────────────────────────────────────────
def hcl_reason(site: Lab, runtime: bytes) -> Reason:
    return refusal(site, site.evidence(**rebuilt(site, runtime)))


def test_run_time_data_must_name_one_rsa_key_as_the_ak(site: Lab) -> None:
    genuine = runtime_of(site)
    ak = genuine["keys"][0]
    wrong: tuple[object, ...] = (
        [],
        [ak, ak],
        [ak | {"kid": "HCLEkPub"}],
        [ak | {"kty": "EC"}],
        [ak | {"n": ""}],
        [ak | {"e": b64(b"\2")}],
        [ak | {"n": b64(b"\xff" * 64)}],
        [ak | {"n": "A+/B"}],
        [7],
        {},
    )
    for keys in wrong:
        assert hcl_reason(site, json.dumps(genuine | {"keys": keys}).encode()) is Reason.MALFORMED


def test_run_time_data_that_is_ambiguous_is_malformed(site: Lab) -> None:
    text = json.dumps(runtime_of(site))
    assert hcl_reason(site, text.replace('"keys"', '"keys": [], "keys"').encode()) is Reason.MALFORMED
    assert hcl_reason(site, b"\xff") is hcl_reason(site, b"") is Reason.MALFORMED


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0, b"HCLB"),
        (4, b"\3"),
        (8, b"\0\0"),
        (12, b"\1"),
        (16, b"\1"),
        (20, b"\1"),
        (RUNTIME, b"\0"),
        (RUNTIME + 4, b"\2"),
        (RUNTIME + 8, b"\1"),
        (RUNTIME + 12, b"\4"),
        (RUNTIME + 16, b"\xff\xff"),
        (2599, b"\1"),
    ],
)
def test_an_hcl_report_whose_head_does_not_agree_is_malformed(site: Lab, offset: int, value: bytes) -> None:
    report = bytearray(site.parts.hcl_report)
    report[offset : offset + len(value)] = value
    assert refusal(site, site.evidence(hcl_report=bytes(report))) is Reason.MALFORMED


def test_an_hcl_report_that_is_cut_is_malformed(site: Lab) -> None:
    report = site.parts.hcl_report
    for end in (0, 31, RUNTIME, CLAIMS - 1, CLAIMS, len(report.rstrip(b"\0")) - 1):
        assert refusal(site, site.evidence(hcl_report=report[:end])) is Reason.MALFORMED


def test_an_hcl_report_over_other_hardware_is_malformed() -> None:
    for tee, kind in (("az-snp-vtpm", TDX), ("az-tdx-vtpm", SNP)):
        with pytest.raises(BadEvidence, match="run-time claims"):
            parse_hcl(lab(tee).parts.hcl_report, kind)
