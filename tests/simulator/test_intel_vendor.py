"""The simulated vendor: healthy devices hold, each fault shows what it says, and production refuses its marks."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, Endorsements
from attest_pipeline.simulator.device import MARK, Fault, Vendor
from attest_pipeline.simulator.intel import IntelVendor
from attest_pipeline.verifiers.sgx import SgxVerifier
from attest_pipeline.verifiers.tdx import TdxVerifier

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CHALLENGE = bytes(range(64))


@dataclass
class Site:
    """A vendor and the verifier that was told of it."""

    vendor: Vendor
    verifier: TdxVerifier | SgxVerifier

    def prove(self, serial: int = 1, fault: Fault | None = None, now: datetime = NOW) -> Claims:
        evidence = self.vendor.evidence(serial, CHALLENGE, fault)
        if fault is Fault.TRUNCATED:
            endorsements = Endorsements({})
        else:
            (wanted,) = self.verifier.endorsements_for(evidence)
            endorsements = Endorsements({wanted.item: self.vendor.endorsements()[f"{wanted.kind}/{wanted.key}"]})
        return self.verifier.verify(evidence, endorsements, challenge=CHALLENGE, now=now)


@pytest.fixture(params=["tdx", "sgx"], scope="module")
def site(request: pytest.FixtureRequest) -> Site:
    vendor = IntelVendor(request.param, NOW)
    anchors = {anchor.vendor: (anchor.spki,) for anchor in vendor.trust_anchors()}
    return Site(vendor, TdxVerifier(anchors) if request.param == "tdx" else SgxVerifier(anchors))


def test_a_healthy_device_matches_the_baseline_of_its_vendor(site: Site) -> None:
    claims = site.prove()
    assert (claims.tcb_status, claims.debug, claims.challenge_verified) == ("UpToDate", False, True)
    for name, allowed in site.vendor.reference_values().values.items():
        assert claims.fields[name] in allowed


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in {Fault.REPLAY, Fault.WRONG_CHALLENGE}])
def test_every_fault_gets_the_rejection_it_announces(site: Site, fault: Fault) -> None:
    announced = site.vendor.faults()[fault]
    if announced is None:
        assert site.prove(fault=fault).challenge_verified
    else:
        with pytest.raises(BadEvidence) as caught:
            site.prove(fault=fault)
        assert caught.value.reason is announced


def test_faults_left_to_policy_show_in_the_claims(site: Site) -> None:
    baseline = site.vendor.reference_values().values
    assert site.prove(fault=Fault.DEBUG).debug is True
    assert site.prove(fault=Fault.OUTDATED_TCB).tcb_status == "OutOfDate"
    unknown = site.prove(fault=Fault.UNKNOWN_MEASUREMENT)
    assert any(unknown.fields[name] not in allowed for name, allowed in baseline.items())


def test_equal_serials_are_one_device_and_64_of_them_share_a_platform(site: Site) -> None:
    assert site.prove(1).hardware_id == site.prove(1).hardware_id == site.prove(63).hardware_id
    assert site.prove(64).hardware_id != site.prove(63).hardware_id


def test_evidence_holds_from_a_day_before_to_30_days_after(site: Site) -> None:
    assert site.prove(now=NOW - timedelta(days=1)).tcb_status == "UpToDate"
    assert site.prove(now=NOW + timedelta(days=30)).tcb_status == "UpToDate"
    for now, reason in ((timedelta(days=-1, seconds=-1), Reason.NOT_YET_VALID), (timedelta(31), Reason.EXPIRED)):
        with pytest.raises(BadEvidence) as caught:
            site.prove(now=NOW + now)
        assert caught.value.reason is reason


def test_nothing_of_it_holds_for_a_verifier_that_was_not_told(site: Site) -> None:
    strict = Site(site.vendor, TdxVerifier({}) if site.vendor.tee == "tdx" else SgxVerifier({}))
    with pytest.raises(BadEvidence):
        strict.prove()


def test_every_certificate_bears_the_mark(site: Site) -> None:
    ((document,),) = site.vendor.endorsements().values()
    for name, text in json.loads(document).items():
        if name.endswith("chain"):
            for certificate in x509.load_pem_x509_certificates(text.encode()):
                assert MARK in certificate.subject.rfc4514_string()
