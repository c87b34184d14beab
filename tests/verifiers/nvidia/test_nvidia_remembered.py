"""What is remembered of an NVIDIA device is never taken for anything else: report, chain, RIMs and OCSP responses."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fuzz.memory import memories
from nvidia_lab import CHALLENGE, FWID, GPU, NONCE, NOW, SWITCH, Documents, Lab
from ocsp_lab import DAY, REVOKED, UNKNOWN, about

from attest_pipeline import verifiers
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, EndorsementRef, Endorsements, Evidence
from attest_pipeline.ports import Verifier
from attest_pipeline.simulator.device import Fault
from attest_pipeline.simulator.nvidia_rim import sign_rim
from attest_pipeline.simulator.pki import Pki
from attest_pipeline.verifiers._nvidia import spdm

TEES = (GPU, SWITCH)
OTHER = CHALLENGE[::-1]
FAULTS = (
    Fault.UNKNOWN_MEASUREMENT,
    Fault.OUTDATED_TCB,
    Fault.BAD_SIGNATURE,
    Fault.TRUNCATED,
    Fault.FOREIGN_CHAIN,
    Fault.REVOKED,
)
RECORD, BLOCK = 45, 55
"""Where the measurement blocks begin, behind the request and the head of the response, and the bytes of each."""
Outcome = tuple[tuple[EndorsementRef, ...], Claims] | tuple[Reason, str]


class Case(NamedTuple):
    """One proof, for the challenge and at the time of the lab unless said otherwise."""

    evidence: Evidence
    documents: Documents
    challenge: bytes | None = NONCE
    after: timedelta = timedelta()


@cache
def lab(tee: str) -> Lab:
    return Lab(tee)


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Nothing is known from other tests, nor in them what these have filled the memory with."""
    forget()
    yield
    forget()


@cache
def forgetting() -> list[Callable[[], None]]:
    """What empties each memory, found when the verifiers are loaded: not before do their modules have one."""
    for tee in TEES:
        lab(tee)
    return memories()


def forget() -> None:
    for one in forgetting():
        one()


def outcome(verifier: Verifier, case: Case) -> Outcome:
    """What is asked for and claimed, or how the Evidence was refused."""
    try:
        refs = verifier.endorsements_for(case.evidence)
        given = Endorsements(dict(case.documents))
        return refs, verifier.verify(case.evidence, given, challenge=case.challenge, now=NOW + case.after)
    except BadEvidence as error:
        return error.reason, error.detail


def reports(site: Lab) -> list[bytes]:
    """Reports of one device, each signed, that differ from the healthy one in a part."""
    body, own = site.body(), RECORD + BLOCK * site.kind.blocks
    healthy = site.signed(body)
    return [
        *(healthy + rest for rest in (b"", b"\0", b"\1", b"\0\0")),
        *(site.signed(body[:own] + nonce + body[own + 32 :]) for nonce in (bytes(32), NONCE, OTHER[:32])),
        *(site.signed(site.body({**site.opaque, kind: b"\7" * 48})) for kind in (20, 99)),
        site.signed(site.body(measurements=site.measurements[::-1])),
        site.signed(site.body(measurements=site.measurements[:-1])),
    ]


def endorsed(site: Lab) -> list[Documents]:
    """Endorsements that differ from those of the healthy device in one document."""
    found, vendor, chip = site.found(), site.vendor, site.device
    item, *_ = rims = [name for name in found if name != "ocsp"]
    (rim,), ocsp = found[item], found["ocsp"]
    golden = site.golden() | {site.kind.rims[0].indexes[1]: (b"\1" * 48,)}
    later = site.tag().replace(site.kind.rims[0].version, "999.99.99")
    signer = Pki(NOW - 25 * DAY, ec.SECP384R1(), hashes.SHA384()).issue("signer", vendor.pki._reference)
    brief = sign_rim(site.tag(), signer.key, [signer.certificate, *vendor.pki.rim_chain()[1:]])
    vendor.evidence(2, CHALLENGE)
    other = vendor.endorsements()[f"nvidia-ocsp/{vendor._name(2, None)}"]
    answers = [
        ocsp[::-1],
        ocsp[:-1],
        other,
        (*ocsp[:2], *ocsp[4:]),
        (*ocsp[:-1], about(vendor, chip, NOW)),
        *((*ocsp, about(vendor, chip, NOW, status=status)) for status in (REVOKED, UNKNOWN)),
        *((*ocsp, about(vendor, chip, NOW + days * DAY)) for days in (-3, 3)),
        (*ocsp, b"no response"),
        ocsp * 4,
    ]
    return [
        {},
        found,
        *({one: found[one] for one in found if one != left_out} for left_out in found),
        *(found | dict(site.rim(tag)) for tag in (site.tag(), site.tag(golden), later)),
        *(found | {item: documents} for documents in ((rim, rim), (rim[:-9],), (brief,), found[rims[-1]])),
        {"ocsp": (*ocsp[:2], *ocsp[4:])},
        *(found | {"ocsp": documents} for documents in answers),
    ]


def cases(site: Lab) -> list[Case]:
    """Proofs each of which differs from the first in one thing."""
    found, vendor = site.found(), site.vendor
    healthy = vendor.evidence(1, CHALLENGE)
    body, successor = site.body(), vendor.pki.chip("GB100", "42", FWID)
    return [
        Case(healthy, found),
        *(Case(healthy, found, challenge) for challenge in (None, OTHER[:32])),
        *(Case(vendor.evidence(1, nonce), found, nonce[:32]) for nonce in (OTHER, bytes(64))),
        Case(vendor.evidence(2, CHALLENGE), found),
        Case(site.evidence(healthy.items["report"], vendor._chip(2, None).chain), found),
        Case(site.evidence(body + successor.firmware.sign_raw(body, hashes.SHA384()), successor.chain), found),
        *(Case(vendor.evidence(1, CHALLENGE, fault), found) for fault in FAULTS),
        *(Case(site.evidence(report), found) for report in reports(site)),
        *(Case(healthy, given, NONCE, days * DAY) for given in endorsed(site) for days in (0, 10, -40, 40)),
    ]


@pytest.mark.parametrize("tee", TEES)
def test_whatever_a_proof_depends_on_is_looked_at_when_all_else_is_known(tee: str) -> None:
    every, verifier, cold = cases(lab(tee)), lab(tee).verifier, list[Outcome]()
    for case in every:
        forget()
        cold.append(outcome(verifier, case))
    assert {what for what, _ in cold if isinstance(what, Reason)} == {
        Reason.BAD_ENDORSEMENT,
        Reason.BAD_SIGNATURE,
        Reason.CHALLENGE_MISMATCH,
        Reason.EXPIRED,
        Reason.IDENTITY_MISMATCH,
        Reason.MALFORMED,
        Reason.MEASUREMENT_MISMATCH,
        Reason.NOT_YET_VALID,
        Reason.REVOKED,
        Reason.TOO_LARGE,
        Reason.UNTRUSTED_ROOT,
    }
    outcome(verifier, every[0])
    assert [outcome(verifier, case) for case in every] == cold
    assert [outcome(verifier, case) for case in reversed(every)] == cold[::-1]


@pytest.mark.parametrize("tee", TEES)
def test_what_was_proven_under_some_roots_is_not_proven_under_others(tee: str) -> None:
    site = lab(tee)
    case = Case(site.vendor.evidence(1, CHALLENGE), site.found())
    assert isinstance(outcome(site.verifier, case)[1], Claims)
    device_alone = verifiers.load([tee], {"nvidia": (site.vendor.pki.root.spki,)})[tee]
    for verifier in (verifiers.load([tee], {})[tee], device_alone):
        assert outcome(verifier, case)[0] is Reason.UNTRUSTED_ROOT


def said(read: Callable[[bytes], spdm.Report], data: bytes) -> tuple[object, ...]:
    """What that reader makes of a report."""
    try:
        report = read(data)
    except BadEvidence as error:
        return error.reason, error.detail
    state = report.state
    return report.nonce, report.device_nonce, report.signature, state.measurements, dict(state.opaque), state.signed


@pytest.mark.parametrize("tee", TEES)
def test_a_report_is_read_as_if_it_were_the_first_whatever_byte_is_another(tee: str) -> None:
    known, data = (lab(tee).vendor.evidence(1, nonce).items["report"] for nonce in (OTHER, CHALLENGE))
    for at in range(len(data)):
        spdm.parse(known)
        for changed in (data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :], data[:at], data + data[:at]):
            assert said(spdm.parse, changed) == said(spdm._read_report, changed)


def test_reports_that_differ_in_nonces_and_signature_alone_have_one_state() -> None:
    states = {spdm.parse(lab(GPU).vendor.evidence(1, nonce).items["report"]).state for nonce in (OTHER, CHALLENGE)}
    assert len(states) == 1
