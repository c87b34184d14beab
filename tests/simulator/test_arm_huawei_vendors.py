"""Simulated CCA and virtCCA devices: healthy ones match their baseline, faulty ones fail as announced."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from attest_pipeline.errors import BadEvidence
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.ports import Verifier
from attest_pipeline.simulator.arm import CcaVendor
from attest_pipeline.simulator.device import MARK, Fault, Vendor
from attest_pipeline.simulator.huawei import VirtccaVendor
from attest_pipeline.verifiers.cca import CcaVerifier
from attest_pipeline.verifiers.virtcca import VirtccaVerifier

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CHALLENGE = bytes(range(64))
VENDORS: dict[str, Vendor] = {"cca": CcaVendor(NOW), "virtcca": VirtccaVendor(NOW)}
VERIFIERS: dict[str, Callable[[dict[str, tuple[bytes, ...]]], Verifier]] = {
    "cca": CcaVerifier,
    "virtcca": VirtccaVerifier,
}
CASES = [(tee, fault) for tee, vendor in VENDORS.items() for fault in vendor.faults()]


def prove(vendor: Vendor, evidence: Evidence, challenge: bytes = CHALLENGE) -> Claims:
    verifier = VERIFIERS[vendor.tee]({anchor.vendor: (anchor.spki,) for anchor in vendor.trust_anchors()})
    published = vendor.endorsements()
    named = {ref.item: f"{ref.kind}/{ref.key}" for ref in verifier.endorsements_for(evidence)}
    endorsements = Endorsements({item: published[name] for item, name in named.items()})
    return verifier.verify(evidence, endorsements, challenge=challenge, now=NOW)


def mismatches(vendor: Vendor, claims: Claims) -> list[str]:
    return [name for name, allowed in vendor.reference_values().values.items() if claims.fields[name] not in allowed]


@pytest.mark.parametrize("tee", VENDORS)
@pytest.mark.parametrize("serial", [0, 1, 2, 64, 127])
def test_a_healthy_device_is_proven_and_matches_the_baseline(tee: str, serial: int) -> None:
    vendor = VENDORS[tee]
    claims = prove(vendor, vendor.evidence(serial, CHALLENGE))
    assert claims.debug is False
    assert claims.challenge_verified
    assert mismatches(vendor, claims) == []


@pytest.mark.parametrize(("tee", "fault"), CASES)
@pytest.mark.parametrize("serial", [2, 3, 4])
def test_a_faulty_device_fails_as_its_vendor_says(tee: str, fault: Fault, serial: int) -> None:
    vendor = VENDORS[tee]
    expected = vendor.faults()[fault]
    evidence = vendor.evidence(serial, CHALLENGE, fault)
    if expected is not None:
        with pytest.raises(BadEvidence) as caught:
            prove(vendor, evidence)
        assert caught.value.reason is expected
    else:
        claims = prove(vendor, evidence)
        assert bool(mismatches(vendor, claims)) is (fault is not Fault.DEBUG)
        assert claims.debug is (fault is Fault.DEBUG)


@pytest.mark.parametrize("tee", VENDORS)
def test_a_serial_number_is_one_device_and_a_machine_hosts_64(tee: str) -> None:
    vendor = VENDORS[tee]
    first, again, neighbour, other = (prove(vendor, vendor.evidence(serial, CHALLENGE)) for serial in (5, 5, 6, 69))
    assert first.fields == again.fields
    assert first.hardware_id == neighbour.hardware_id != other.hardware_id


@pytest.mark.parametrize("tee", VENDORS)
def test_evidence_answers_only_its_own_challenge(tee: str) -> None:
    vendor = VENDORS[tee]
    with pytest.raises(BadEvidence, match="challenge"):
        prove(vendor, vendor.evidence(7, bytes(64)))


@pytest.mark.parametrize("tee", VENDORS)
def test_devices_of_another_vendor_object_are_strangers(tee: str) -> None:
    vendor, stranger = VENDORS[tee], type(VENDORS[tee])(NOW)  # type: ignore[call-arg]
    vendor.evidence(0, CHALLENGE)
    with pytest.raises(BadEvidence):
        prove(vendor, stranger.evidence(0, CHALLENGE))


@pytest.mark.parametrize("tee", VENDORS)
def test_every_endorsement_is_marked_so_that_production_refuses_it(tee: str) -> None:
    vendor = VENDORS[tee]
    vendor.evidence(0, CHALLENGE)
    documents = [document for documents in vendor.endorsements().values() for document in documents]
    assert documents
    assert all(MARK.encode() in document for document in documents)
