import pytest
from amd_lab import CHALLENGE, KINDS, NOW, Lab, lab, lab_of

from attest_pipeline.errors import BadEvidence
from attest_pipeline.matching import ReferenceValues
from attest_pipeline.model import MARK, Claims, Evidence
from attest_pipeline.simulator.amd import AmdVendor
from attest_pipeline.simulator.device import Fault, Vendor
from attest_pipeline.verifiers._shared.x509 import load_certificate


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest) -> Lab:
    return lab_of(request.param)


def proven(site: Lab, evidence: Evidence) -> Claims:
    """Claims by the way of the pipeline: references first, then what the vendor published under them."""
    refs = site.verifier.endorsements_for(evidence)
    return site.verifier.verify(evidence, site.found(refs), challenge=CHALLENGE, now=NOW)


def test_the_vendor_keeps_the_contract() -> None:
    vendor: Vendor = lab("Milan").vendor
    assert vendor.tee == "snp"
    assert [anchor.vendor for anchor in vendor.trust_anchors()] == ["amd"]


def test_a_healthy_device_is_proven_and_matches_the_baseline(site: Lab) -> None:
    claims = proven(site, site.vendor.evidence(5, CHALLENGE))
    assert ReferenceValues((site.vendor.reference_values(),)).match(claims).matched


@pytest.mark.parametrize("fault", list(lab("Milan").vendor.faults()))
def test_each_fault_shows_as_the_vendor_says(site: Lab, fault: Fault) -> None:
    evidence = site.vendor.evidence(5, CHALLENGE, fault)
    expected = site.vendor.faults()[fault]
    if expected is not None:
        with pytest.raises(BadEvidence) as refused:
            proven(site, evidence)
        assert refused.value.reason is expected
        return
    claims = proven(site, evidence)
    matched = ReferenceValues((site.vendor.reference_values(),)).match(claims)
    assert claims.debug is (fault is Fault.DEBUG)
    assert [mismatch.field for mismatch in matched.mismatches] == {
        Fault.DEBUG: [],
        Fault.UNKNOWN_MEASUREMENT: ["measurement"],
        Fault.OUTDATED_TCB: ["reported_tcb"],
    }[fault]


def test_equal_serials_are_one_device_and_others_are_not() -> None:
    vendor = lab("Milan").vendor
    assert vendor.evidence(1, CHALLENGE).items["leaf"] == vendor.evidence(1, bytes(64)).items["leaf"]
    assert vendor.chip(1).chip_id != vendor.chip(2).chip_id


def test_what_is_published_does_not_change_when_devices_are_made() -> None:
    vendor = lab("Genoa").vendor
    before = vendor.endorsements()
    vendor.evidence(77, CHALLENGE, Fault.REVOKED)
    assert vendor.endorsements() == before


def test_every_certificate_bears_the_mark_that_production_refuses(site: Lab) -> None:
    for document in (site.vendor.pki.ark, site.vendor.pki.ask, site.chip().leaf):
        certificate = load_certificate(document)
        assert MARK in certificate.subject.rfc4514_string()
        assert MARK in certificate.issuer.rfc4514_string()


def test_each_vendor_has_a_root_of_its_own() -> None:
    other = AmdVendor(NOW, "Milan")
    assert other.trust_anchors() != lab("Milan").vendor.trust_anchors()


def test_a_leaf_is_made_for_an_elliptic_key_only() -> None:
    pki = lab("Milan").vendor.pki
    with pytest.raises(TypeError):
        pki.leaf(pki.root_spki, {})
