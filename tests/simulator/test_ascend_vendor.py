"""Simulated hosts with Ascend NPUs: healthy ones match their baseline, faulty ones fail as announced."""

from datetime import UTC, datetime

import pytest

from attest_pipeline.cli.simulated import vendors as simulated_vendors
from attest_pipeline.errors import BadEvidence
from attest_pipeline.matching import ReferenceValues
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.simulator.ascend import FILES, AscendVendor
from attest_pipeline.simulator.device import Fault
from attest_pipeline.simulator.itrustee import ItrusteeVendor
from attest_pipeline.simulator.tpm import TpmVendor
from attest_pipeline.verifiers.ascend_npu import AscendNpuVerifier

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CHALLENGE = bytes(range(64))
VENDORS = {"tpm": AscendVendor(TpmVendor(NOW)), "itrustee": AscendVendor(ItrusteeVendor(NOW))}
FAULTS = [(binding, fault) for binding, vendor in VENDORS.items() for fault in vendor.faults()]
LAST = f"firmware:{FILES[-1][0]}"


def prove(vendor: AscendVendor, evidence: Evidence) -> Claims:
    verifier = AscendNpuVerifier({anchor.vendor: (anchor.spki,) for anchor in vendor.trust_anchors()})
    published = vendor.endorsements()
    refs = verifier.endorsements_for(evidence)
    found = {ref.item: documents for ref in refs if (documents := published.get(f"{ref.kind}/{ref.key}", ()))}
    return verifier.verify(evidence, Endorsements(found), challenge=CHALLENGE[: verifier.challenge_bytes], now=NOW)


def mismatches(vendor: AscendVendor, claims: Claims) -> set[str]:
    found = {mismatch.field for mismatch in ReferenceValues((vendor.reference_values(),)).match(claims).mismatches}
    return found - {"ima_events_not_allowed", "ima_event"}  # of a host with a TPM, whose list an allow-list knows


@pytest.mark.parametrize("binding", VENDORS)
def test_a_healthy_host_is_proven_and_matches_the_baseline(binding: str) -> None:
    vendor = VENDORS[binding]
    claims = prove(vendor, vendor.evidence(5, CHALLENGE))
    assert ReferenceValues((vendor.reference_values(),)).match(claims).matched
    assert claims.fields["binding"] == binding


@pytest.mark.parametrize(("binding", "fault"), FAULTS)
def test_each_fault_shows_as_the_vendor_says(binding: str, fault: Fault) -> None:
    vendor = VENDORS[binding]
    evidence, expected = vendor.evidence(5, CHALLENGE, fault), vendor.faults()[fault]
    if expected is None:
        differs = LAST if fault is Fault.UNKNOWN_MEASUREMENT else "qta_img"
        assert mismatches(vendor, prove(vendor, evidence)) == {differs}
        return
    with pytest.raises(BadEvidence) as refused:
        prove(vendor, evidence)
    assert refused.value.reason is expected


@pytest.mark.parametrize("binding", VENDORS)
def test_a_list_of_another_machine_is_refused(binding: str) -> None:
    vendor = VENDORS[binding]
    items = vendor.evidence(5, CHALLENGE).items
    other = vendor.evidence(5, CHALLENGE, Fault.UNKNOWN_MEASUREMENT).items["firmware_log"]
    with pytest.raises(BadEvidence, match="log_mismatch"):
        prove(vendor, Evidence("ascend-npu", items | {"firmware_log": other}))


def test_the_npus_of_a_stack_are_in_the_machines_of_its_tpm_vendor() -> None:
    tpm, npu = simulated_vendors(NOW, ("tpm", "ascend-npu"))
    assert npu.endorsements().keys() == tpm.endorsements().keys()
    assert npu.trust_anchors() == tpm.trust_anchors()
    assert npu.evidence(3, CHALLENGE).items["ak_cert"] == tpm.evidence(3, CHALLENGE).items["ak_cert"]
