"""Simulated Nitro Enclaves: healthy ones match their baseline, faulty ones fail as announced."""

from datetime import UTC, datetime, timedelta

import pytest

from attest_pipeline.errors import BadEvidence
from attest_pipeline.model import MARK, Claims, Endorsements, Evidence
from attest_pipeline.simulator.aws import AwsVendor
from attest_pipeline.simulator.device import Fault
from attest_pipeline.verifiers.nitro import NitroVerifier

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CHALLENGE = bytes(range(64))
VENDOR = AwsVendor(NOW)


def prove(evidence: Evidence, vendor: AwsVendor = VENDOR, now: datetime = NOW) -> Claims:
    verifier = NitroVerifier({anchor.vendor: (anchor.spki,) for anchor in vendor.trust_anchors()})
    return verifier.verify(evidence, Endorsements({}), challenge=CHALLENGE, now=now)


def mismatches(claims: Claims) -> list[str]:
    return [name for name, allowed in VENDOR.reference_values().values.items() if claims.fields[name] not in allowed]


def test_a_healthy_enclave_is_proven_and_matches_the_baseline() -> None:
    claims = prove(VENDOR.evidence(1, CHALLENGE))
    assert claims.debug is False
    assert claims.challenge_verified
    assert mismatches(claims) == []


@pytest.mark.parametrize("fault", VENDOR.faults())
def test_a_faulty_enclave_fails_as_its_vendor_says(fault: Fault) -> None:
    expected = VENDOR.faults()[fault]
    evidence = VENDOR.evidence(2, CHALLENGE, fault)
    if expected is None:
        claims = prove(evidence)
        assert mismatches(claims) == ["pcr0", "pcr1", "pcr2"]
        assert claims.debug is (fault is Fault.DEBUG)
    else:
        with pytest.raises(BadEvidence) as caught:
            prove(evidence)
        assert caught.value.reason is expected


def test_a_serial_number_is_one_enclave() -> None:
    first, again, other = (prove(VENDOR.evidence(serial, CHALLENGE)) for serial in (5, 5, 6))
    assert (first.signer, first.hardware_id) == (again.signer, again.hardware_id)
    assert first.hardware_id != other.hardware_id
    assert first.signer != other.signer


def test_a_document_is_of_the_time_of_its_vendor() -> None:
    evidence = VENDOR.evidence(1, CHALLENGE)
    assert prove(evidence).fields["document_current"] is True
    assert prove(evidence, now=NOW + timedelta(hours=1)).fields["document_current"] is False


def test_enclaves_of_another_vendor_object_are_strangers() -> None:
    with pytest.raises(BadEvidence, match="is not pinned"):
        prove(AwsVendor(NOW).evidence(1, CHALLENGE))


def test_every_certificate_is_marked_so_that_production_refuses_it() -> None:
    assert VENDOR.evidence(1, CHALLENGE).items["document"].count(MARK.encode()) >= 4
