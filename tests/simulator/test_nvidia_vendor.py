"""Simulated GPUs and switches: healthy ones match their RIMs and baseline, faulty ones fail as announced."""

from datetime import UTC, datetime

import pytest

from attest_pipeline import verifiers
from attest_pipeline.errors import BadEvidence
from attest_pipeline.model import MARK, Claims, Endorsements, Evidence
from attest_pipeline.simulator.device import Fault
from attest_pipeline.simulator.nvidia import KINDS, NvidiaVendor

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CHALLENGE = bytes(range(64))
VENDORS = {tee: NvidiaVendor(tee, NOW) for tee in KINDS}
CASES = [(tee, fault) for tee, vendor in VENDORS.items() for fault in vendor.faults()]


def prove(vendor: NvidiaVendor, evidence: Evidence) -> Claims:
    anchors = {anchor.vendor: (anchor.spki,) for anchor in vendor.trust_anchors()}
    verifier = verifiers.load([vendor.tee], anchors)[vendor.tee]
    published = vendor.endorsements()
    items = {ref.item: published.get(f"{ref.kind}/{ref.key}", ()) for ref in verifier.endorsements_for(evidence)}
    return verifier.verify(evidence, Endorsements(items), challenge=CHALLENGE[:32], now=NOW)


def mismatches(vendor: NvidiaVendor, claims: Claims) -> list[str]:
    return [name for name, allowed in vendor.reference_values().values.items() if claims.fields[name] not in allowed]


@pytest.mark.parametrize("tee", KINDS)
def test_a_healthy_device_is_proven_and_matches_its_rims_and_baseline(tee: str) -> None:
    claims = prove(VENDORS[tee], VENDORS[tee].evidence(1, CHALLENGE))
    assert claims.challenge_verified
    assert claims.fields["rim_vbios"] is claims.fields["revocation_checked"] is True
    assert mismatches(VENDORS[tee], claims) == []


@pytest.mark.parametrize(("tee", "fault"), CASES)
def test_a_faulty_device_fails_as_its_vendor_says(tee: str, fault: Fault) -> None:
    vendor = VENDORS[tee]
    expected = vendor.faults()[fault]
    evidence = vendor.evidence(2, CHALLENGE, fault)
    if expected is None:
        assert mismatches(vendor, prove(vendor, evidence)) != []
    else:
        with pytest.raises(BadEvidence) as caught:
            prove(vendor, evidence)
        assert caught.value.reason is expected


@pytest.mark.parametrize("tee", KINDS)
def test_a_serial_number_is_one_device(tee: str) -> None:
    vendor = VENDORS[tee]
    first, again, other = (prove(vendor, vendor.evidence(serial, CHALLENGE)) for serial in (5, 5, 6))
    assert (first.hardware_id, first.signer) == (again.hardware_id, again.signer)
    assert first.hardware_id != other.hardware_id


@pytest.mark.parametrize("tee", KINDS)
def test_devices_of_another_vendor_object_are_strangers(tee: str) -> None:
    stranger = NvidiaVendor(tee, NOW)
    with pytest.raises(BadEvidence, match="is not pinned"):
        prove(VENDORS[tee], stranger.evidence(1, CHALLENGE))


@pytest.mark.parametrize("tee", KINDS)
def test_every_endorsement_is_marked_so_that_production_refuses_it(tee: str) -> None:
    VENDORS[tee].evidence(1, CHALLENGE)
    documents = [document for documents in VENDORS[tee].endorsements().values() for document in documents]
    assert documents
    assert all(MARK.encode() in document for document in documents)
