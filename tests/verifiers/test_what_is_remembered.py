"""Verifiers remember what devices send again; what they remember is never worth more than a proof made anew."""

from datetime import UTC, datetime, timedelta
from functools import cache

import pytest

from attest_pipeline import verifiers
from attest_pipeline.cli.floor import SIGNATURES
from attest_pipeline.cli.simulated import vendors
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.simulator.device import Fault, Vendor

NOW = datetime(2026, 11, 29, tzinfo=UTC)
CHALLENGE = bytes(range(64))
ENDLESS = ("cca", "psa", "csv")
"""Their keys are endorsed without an end."""
CRL = ("snp", "virtcca", "itrustee", "tpm", "az-snp-vtpm")


@cache
def vendor_of(tee: str) -> Vendor:
    (vendor,) = vendors(NOW, (tee,))
    return vendor


def prove(vendor: Vendor, evidence: Evidence, now: datetime = NOW, *, crl: bool = True) -> Claims:
    anchors: dict[str, tuple[bytes, ...]] = {}
    for anchor in vendor.trust_anchors():
        anchors[anchor.vendor] = (*anchors.get(anchor.vendor, ()), anchor.spki)
    verifier = verifiers.load((vendor.tee,), anchors)[vendor.tee]
    known = vendor.endorsements()
    items = {ref.item: known.get(f"{ref.kind}/{ref.key}") for ref in verifier.endorsements_for(evidence)}
    given = {item: documents for item, documents in items.items() if documents and (crl or item != "crl")}
    return verifier.verify(evidence, Endorsements(given), challenge=CHALLENGE[: verifier.challenge_bytes], now=now)


def refusal(vendor: Vendor, evidence: Evidence, now: datetime = NOW) -> Reason:
    with pytest.raises(BadEvidence) as refused:
        prove(vendor, evidence, now)
    return refused.value.reason


@pytest.mark.parametrize("tee", [tee for tee in SIGNATURES if tee not in ENDLESS])
def test_a_device_that_was_proven_is_not_after_its_certificates_have_ended(tee: str) -> None:
    vendor = vendor_of(tee)
    evidence = vendor.evidence(1, CHALLENGE)
    claims = prove(vendor, evidence)
    assert refusal(vendor, evidence, NOW + timedelta(days=400)) is Reason.EXPIRED
    assert refusal(vendor, evidence, NOW - timedelta(days=400)) is Reason.NOT_YET_VALID
    assert prove(vendor, evidence).fields == claims.fields


@pytest.mark.parametrize("tee", SIGNATURES)
def test_a_signature_that_does_not_hold_is_refused_however_well_its_device_is_known(tee: str) -> None:
    vendor = vendor_of(tee)
    prove(vendor, vendor.evidence(1, CHALLENGE))
    spoilt = vendor.evidence(1, CHALLENGE, Fault.BAD_SIGNATURE)
    assert [refusal(vendor, spoilt) for _ in range(2)] == [Reason.BAD_SIGNATURE] * 2


@pytest.mark.parametrize("tee", CRL)
def test_a_proof_without_a_crl_does_not_stand_for_one_with_it(tee: str) -> None:
    vendor = vendor_of(tee)
    revoked = vendor.evidence(1, CHALLENGE, Fault.REVOKED)
    claims = prove(vendor, revoked, crl=False)
    assert refusal(vendor, revoked) is Reason.REVOKED
    assert prove(vendor, revoked, crl=False) == claims
    assert set(prove(vendor, vendor.evidence(1, CHALLENGE)).checks) > set(claims.checks)


def test_claims_belong_to_who_asked_and_changing_them_changes_no_later_ones() -> None:
    for tee in SIGNATURES:
        vendor = vendor_of(tee)
        evidence = vendor.evidence(1, CHALLENGE)
        first = prove(vendor, evidence)
        for given in (first.measurements, first.fields, first.endorsements):
            given.clear()
        later = prove(vendor, evidence)
        assert later.measurements
        assert later.fields
