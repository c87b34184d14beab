"""Simulated iTrustee applications: healthy ones match their baseline, faulty ones fail as announced."""

from datetime import UTC, datetime

import pytest

from attest_pipeline.errors import BadEvidence
from attest_pipeline.model import MARK, Claims, Endorsements, Evidence
from attest_pipeline.simulator.device import Fault
from attest_pipeline.simulator.itrustee import ItrusteeVendor
from attest_pipeline.verifiers.itrustee import ItrusteeVerifier

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CHALLENGE = bytes(range(64))
VENDOR = ItrusteeVendor(NOW)


def prove(evidence: Evidence) -> Claims:
    verifier = ItrusteeVerifier({anchor.vendor: (anchor.spki,) for anchor in VENDOR.trust_anchors()})
    published = VENDOR.endorsements()
    named = {ref.item: f"{ref.kind}/{ref.key}" for ref in verifier.endorsements_for(evidence)}
    endorsements = Endorsements({item: published[name] for item, name in named.items()})
    return verifier.verify(evidence, endorsements, challenge=CHALLENGE[: verifier.challenge_bytes], now=NOW)


def mismatches(claims: Claims) -> list[str]:
    return [name for name, allowed in VENDOR.reference_values().values.items() if claims.fields[name] not in allowed]


@pytest.mark.parametrize("serial", [0, 63, 64])
def test_a_healthy_application_is_proven_and_matches_the_baseline(serial: int) -> None:
    claims = prove(VENDOR.evidence(serial, CHALLENGE))
    assert claims.challenge_verified
    assert mismatches(claims) == []


@pytest.mark.parametrize("fault", VENDOR.faults())
def test_a_faulty_application_fails_as_its_vendor_says(fault: Fault) -> None:
    expected, evidence = VENDOR.faults()[fault], VENDOR.evidence(2, CHALLENGE, fault)
    if expected is None:
        assert mismatches(prove(evidence)) == [{"unknown measurement": "ta_img"}.get(fault, "qta_img")]
    else:
        with pytest.raises(BadEvidence) as caught:
            prove(evidence)
        assert caught.value.reason is expected


def test_a_report_says_nothing_of_debug() -> None:
    assert Fault.DEBUG not in VENDOR.faults()
    assert prove(VENDOR.evidence(0, CHALLENGE)).debug is None


def test_a_machine_runs_64_applications() -> None:
    first, neighbour, other = (prove(VENDOR.evidence(serial, CHALLENGE)) for serial in (5, 6, 69))
    assert first.hardware_id == neighbour.hardware_id != other.hardware_id


def test_applications_of_another_vendor_object_are_strangers() -> None:
    with pytest.raises(BadEvidence):
        prove(ItrusteeVendor(NOW).evidence(0, CHALLENGE))


def test_every_endorsement_is_marked_so_that_production_refuses_it() -> None:
    documents = [document for documents in VENDOR.endorsements().values() for document in documents]
    assert len(documents) == 3
    assert all(MARK.encode() in document for document in documents)
