"""Simulated PSA devices: healthy ones match their baseline, faulty ones fail as announced."""

from datetime import UTC, datetime

import pytest

from attest_pipeline.errors import BadEvidence
from attest_pipeline.model import MARK, Claims, Endorsements, Evidence
from attest_pipeline.simulator.device import Fault
from attest_pipeline.simulator.psa import PsaVendor
from attest_pipeline.verifiers.psa import PsaVerifier

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CHALLENGE = bytes(range(64))
VENDOR = PsaVendor()


def prove(evidence: Evidence) -> Claims:
    verifier, published = PsaVerifier({}), VENDOR.endorsements()
    items = {ref.item: published.get(f"{ref.kind}/{ref.key}", ()) for ref in verifier.endorsements_for(evidence)}
    return verifier.verify(evidence, Endorsements(items), challenge=CHALLENGE, now=NOW)


def mismatches(claims: Claims) -> list[str]:
    return [name for name, allowed in VENDOR.reference_values().values.items() if claims.fields[name] not in allowed]


@pytest.mark.parametrize(("serial", "profile"), [(0, "tag:psacertified.org,2023:psa#tfm"), (1, "PSA_IOT_PROFILE_1")])
def test_a_healthy_device_is_proven_and_matches_the_baseline(serial: int, profile: str) -> None:
    claims = prove(VENDOR.evidence(serial, CHALLENGE))
    assert (claims.debug, claims.challenge_verified, claims.fields["eat-profile"]) == (False, True, profile)
    assert mismatches(claims) == []


@pytest.mark.parametrize("fault", VENDOR.faults())
@pytest.mark.parametrize("serial", [2, 3])
def test_a_faulty_device_fails_as_its_vendor_says(fault: Fault, serial: int) -> None:
    expected, evidence = VENDOR.faults()[fault], VENDOR.evidence(serial, CHALLENGE, fault)
    if expected is None:
        claims = prove(evidence)
        assert claims.debug is (fault is Fault.DEBUG)
        assert bool(mismatches(claims)) is (fault is not Fault.DEBUG)
    else:
        with pytest.raises(BadEvidence) as caught:
            prove(evidence)
        assert caught.value.reason is expected


def test_a_serial_number_is_one_device_with_a_key_of_its_own() -> None:
    first, again, other = (prove(VENDOR.evidence(serial, CHALLENGE)) for serial in (4, 4, 6))
    assert first == again
    assert (first.hardware_id, first.signer) != (other.hardware_id, other.signer)


def test_a_device_of_another_vendor_object_is_a_stranger() -> None:
    with pytest.raises(BadEvidence, match="missing_endorsement"):
        prove(PsaVendor().evidence(0, CHALLENGE))


def test_every_endorsement_is_marked_so_that_production_refuses_it() -> None:
    VENDOR.evidence(0, CHALLENGE)
    assert all(MARK.encode() in document for documents in VENDOR.endorsements().values() for document in documents)
    assert VENDOR.trust_anchors() == ()
