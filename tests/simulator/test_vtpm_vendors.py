"""Simulated TPMs and Azure VMs: healthy ones match their baseline, faulty ones fail as announced."""

import json
from datetime import UTC, datetime

import pytest
from azure_lab import CLAIMS, unb64

from attest_pipeline import verifiers
from attest_pipeline.cli.simulated import vendors as simulated_vendors
from attest_pipeline.errors import BadEvidence
from attest_pipeline.matching import ReferenceValues
from attest_pipeline.model import MARK, Claims, Endorsements, Evidence
from attest_pipeline.simulator.azure import AzureVendor
from attest_pipeline.simulator.device import Fault, Vendor
from attest_pipeline.verifiers._shared.x509 import load_certificate

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CHALLENGE = bytes(range(64))
VENDORS = {vendor.tee: vendor for vendor in simulated_vendors(NOW, ("tpm", "az-snp-vtpm", "az-tdx-vtpm", "snp", "tdx"))}
TEES = ("tpm", "az-snp-vtpm", "az-tdx-vtpm")
FAULTS = [(tee, fault) for tee in TEES for fault in VENDORS[tee].faults()]


def proven(vendor: Vendor, evidence: Evidence) -> Claims:
    """Claims by the way of the pipeline: references first, then what the vendor published under them."""
    verifier = verifiers.load([vendor.tee], {anchor.vendor: (anchor.spki,) for anchor in vendor.trust_anchors()})
    published = vendor.endorsements()
    refs = verifier[vendor.tee].endorsements_for(evidence)
    found = {ref.item: documents for ref in refs if (documents := published.get(f"{ref.kind}/{ref.key}", ()))}
    challenge = CHALLENGE[: verifier[vendor.tee].challenge_bytes]
    return verifier[vendor.tee].verify(evidence, Endorsements(found), challenge=challenge, now=NOW)


@pytest.mark.parametrize("tee", TEES)
def test_a_healthy_machine_is_proven_and_matches_the_baseline(tee: str) -> None:
    vendor = VENDORS[tee]
    claims = proven(vendor, vendor.evidence(5, CHALLENGE))
    assert claims.fields["extra_data"] == CHALLENGE[:32].hex()
    assert ReferenceValues((vendor.reference_values(),)).match(claims).matched


@pytest.mark.parametrize(("tee", "fault"), FAULTS)
def test_each_fault_shows_as_the_vendor_says(tee: str, fault: Fault) -> None:
    vendor = VENDORS[tee]
    evidence, expected = vendor.evidence(5, CHALLENGE, fault), vendor.faults()[fault]
    if expected is not None:
        with pytest.raises(BadEvidence) as refused:
            proven(vendor, evidence)
        assert refused.value.reason is expected
        return
    claims = proven(vendor, evidence)
    mismatches = ReferenceValues((vendor.reference_values(),)).match(claims).mismatches
    assert bool(claims.debug) is (fault is Fault.DEBUG)
    assert ("pcr4" in {mismatch.field for mismatch in mismatches}) is (fault is Fault.UNKNOWN_MEASUREMENT)


@pytest.mark.parametrize("tee", TEES)
def test_a_replay_is_refused(tee: str) -> None:
    vendor = VENDORS[tee]
    with pytest.raises(BadEvidence, match="challenge_mismatch"):
        proven(vendor, vendor.evidence(5, bytes(64)))


def keys_of(document: bytes) -> object:
    """The keys of its vTPM that a VM names."""
    report = unb64(json.loads(document)["hcl_report"])
    return json.loads(report[CLAIMS:].rstrip(b"\0"))["keys"]


@pytest.mark.parametrize("tee", TEES)
def test_equal_serials_are_one_machine_and_others_are_not(tee: str) -> None:
    vendor = VENDORS[tee]

    def identity(serial: int, challenge: bytes) -> object:
        items = vendor.evidence(serial, challenge).items
        return items["ak_cert"] if tee == "tpm" else keys_of(items["evidence"])

    assert identity(1, CHALLENGE) == identity(1, bytes(64))
    assert identity(1, CHALLENGE) != identity(2, CHALLENGE)


@pytest.mark.parametrize("tee", ["az-snp-vtpm", "az-tdx-vtpm"])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_the_hardware_of_a_vm_sees_the_challenge_from_version_2_on(tee: str, version: int) -> None:
    vendor = AzureVendor(VENDORS[tee.split("-")[1]], version)
    claims = proven(vendor, vendor.evidence(5, CHALLENGE))
    seen = CHALLENGE[:32] if version == 2 else b""
    assert (claims.fields["evidence_version"], claims.fields["user_data"]) == (version, seen.ljust(64, b"\0").hex())


def test_vms_of_azure_run_on_the_hardware_of_the_other_vendor() -> None:
    for azure, hardware in (("az-snp-vtpm", "snp"), ("az-tdx-vtpm", "tdx")):
        assert VENDORS[azure].endorsements() == VENDORS[hardware].endorsements()
        assert VENDORS[azure].trust_anchors() == VENDORS[hardware].trust_anchors()


def test_every_certificate_of_a_tpm_bears_the_mark_that_production_refuses() -> None:
    vendor = VENDORS["tpm"]
    documents = [vendor.evidence(1, CHALLENGE).items["ak_cert"], *vendor.endorsements()["tpm-ca/authorities"]]
    for document in documents:
        certificate = load_certificate(document)
        assert MARK in certificate.subject.rfc4514_string()
        assert MARK in certificate.issuer.rfc4514_string()
