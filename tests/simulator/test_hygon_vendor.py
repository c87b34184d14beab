"""Simulated CSV guests: healthy ones match their baseline, faulty ones fail as announced."""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import hashes, hmac

from attest_pipeline.errors import BadEvidence
from attest_pipeline.model import MARK, Claims, Endorsements, Evidence
from attest_pipeline.simulator.device import Fault
from attest_pipeline.simulator.hygon import CsvVendor
from attest_pipeline.verifiers.csv import CsvVerifier

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CHALLENGE = bytes(range(64))
VENDORS = {version: CsvVendor(version) for version in (1, 2)}
CASES = [(version, fault) for version, vendor in VENDORS.items() for fault in vendor.faults()]


def prove(vendor: CsvVendor, evidence: Evidence) -> Claims:
    verifier = CsvVerifier({anchor.vendor: (anchor.spki,) for anchor in vendor.trust_anchors()})
    assert verifier.endorsements_for(evidence) == ()
    return verifier.verify(evidence, Endorsements({}), challenge=CHALLENGE, now=NOW)


def mismatches(vendor: CsvVendor, claims: Claims) -> list[str]:
    return [name for name, allowed in vendor.reference_values().values.items() if claims.fields[name] not in allowed]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("serial", [0, 63, 64])
def test_a_healthy_guest_is_proven_and_matches_the_baseline(version: int, serial: int) -> None:
    vendor = VENDORS[version]
    claims = prove(vendor, vendor.evidence(serial, CHALLENGE))
    assert (claims.debug, claims.challenge_verified, claims.fields["report_version"]) == (False, True, version)
    assert mismatches(vendor, claims) == []


@pytest.mark.parametrize(("version", "fault"), CASES)
def test_a_faulty_guest_fails_as_its_vendor_says(version: int, fault: Fault) -> None:
    vendor = VENDORS[version]
    expected, evidence = vendor.faults()[fault], vendor.evidence(2, CHALLENGE, fault)
    if expected is None:
        claims = prove(vendor, evidence)
        assert claims.debug is (fault is Fault.DEBUG)
        assert bool(mismatches(vendor, claims)) is (fault is not Fault.DEBUG)
    else:
        with pytest.raises(BadEvidence) as caught:
            prove(vendor, evidence)
        assert caught.value.reason is expected


def test_an_outdated_build_shows_in_version_2_alone() -> None:
    assert set(VENDORS[2].faults()) - set(VENDORS[1].faults()) == {Fault.OUTDATED_TCB}


def test_a_serial_number_is_one_guest_and_a_chip_hosts_64() -> None:
    vendor = VENDORS[2]
    first, again, neighbour, other = (prove(vendor, vendor.evidence(serial, CHALLENGE)) for serial in (5, 5, 6, 69))
    assert first == again
    assert first.hardware_id == neighbour.hardware_id != other.hardware_id


def test_guests_of_another_vendor_object_are_strangers() -> None:
    with pytest.raises(BadEvidence):
        prove(VENDORS[2], CsvVendor().evidence(0, CHALLENGE))


def test_what_rides_with_the_evidence_is_marked_as_simulated() -> None:
    assert VENDORS[2].endorsements() == {}
    assert MARK.encode() in VENDORS[2].evidence(0, CHALLENGE).items["hsk_cek"]


def test_the_mac_is_what_a_guest_checks_with_its_nonce() -> None:
    report = VENDORS[2].evidence(0, CHALLENGE).items["report"][20:]
    state = hmac.HMAC(report[128:144], hashes.SM3())
    state.update(report[1168 : 1168 + 2084 + 64 + 32])
    state.verify(report[3348:3380])
