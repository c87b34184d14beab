"""Verifiers remember what devices send again; what they remember is never worth more than a proof made anew."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

import pytest
from fuzz.memory import memories

from attest_pipeline import verifiers
from attest_pipeline.cli.floor import SIGNATURES
from attest_pipeline.cli.simulated import vendors
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.ports import Verifier
from attest_pipeline.simulator.device import Fault, Vendor

NOW = datetime(2026, 11, 29, tzinfo=UTC)
CHALLENGE = bytes(range(64))
ENDLESS = ("cca", "psa", "csv")
"""Their keys are endorsed without an end."""
OTHER_CHALLENGE = CHALLENGE[::-1]
CRL = ("snp", "virtcca", "itrustee", "tpm", "az-snp-vtpm")


STRIDES: Final[Mapping[str, int]] = {
    "snp": 1,
    "tdx": 1,
    "sgx": 1,
    "cca": 1,
    "nitro": 1,
    "itrustee": 5,
    "virtcca": 5,
    "az-snp-vtpm": 7,
    "az-tdx-vtpm": 5,
    "nvidia-gpu": 3,
    "nvidia-switch": 3,
}
"""Every so many bytes are altered, else every 29th: what is not remembered is costly."""


@cache
def vendor_of(tee: str) -> Vendor:
    (vendor,) = vendors(NOW, (tee,))
    return vendor


@cache
def verifier_of(tee: str) -> Verifier:
    anchors: dict[str, tuple[bytes, ...]] = {}
    for anchor in vendor_of(tee).trust_anchors():
        anchors[anchor.vendor] = (*anchors.get(anchor.vendor, ()), anchor.spki)
    return verifiers.load((tee,), anchors)[tee]


def prove(
    vendor: Vendor,
    evidence: Evidence,
    now: datetime = NOW,
    *,
    challenge: bytes = CHALLENGE,
    crl: bool = True,
    published: Mapping[str, tuple[bytes, ...]] | None = None,
) -> Claims:
    verifier, known = verifier_of(vendor.tee), vendor.endorsements() if published is None else published
    items = {ref.item: known.get(f"{ref.kind}/{ref.key}") for ref in verifier.endorsements_for(evidence)}
    given = {item: documents for item, documents in items.items() if documents and (crl or item != "crl")}
    return verifier.verify(evidence, Endorsements(given), challenge=challenge[: verifier.challenge_bytes], now=now)


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


def outcome(
    vendor: Vendor, evidence: Evidence, published: Mapping[str, tuple[bytes, ...]]
) -> Claims | tuple[Reason, str]:
    """Claims, or how the Evidence was refused."""
    try:
        return prove(vendor, evidence, published=published)
    except BadEvidence as error:
        return error.reason, error.detail


def altered(evidence: Evidence, stride: int) -> list[Evidence]:
    """The Evidence with one bit of one byte turned, now this bit and now that."""
    return [
        Evidence(evidence.tee, {**evidence.items, item: data[:at] + bytes([data[at] ^ 1 << at % 7]) + data[at + 1 :]})
        for item, data in evidence.items.items()
        for at in range(0, len(data), stride)
    ]


@pytest.mark.parametrize("tee", SIGNATURES)
def test_altered_evidence_of_a_known_device_is_judged_as_if_nothing_were_known(tee: str) -> None:
    vendor = vendor_of(tee)
    prove(vendor, vendor.evidence(1, OTHER_CHALLENGE), challenge=OTHER_CHALLENGE)
    every, published = altered(vendor.evidence(1, CHALLENGE), STRIDES.get(tee, 29)), vendor.endorsements()
    warm = [outcome(vendor, evidence, published) for evidence in every]
    forgetting = memories()
    for evidence, expected in zip(every, warm, strict=True):
        for forget in forgetting:
            forget()
        assert outcome(vendor, evidence, published) == expected
