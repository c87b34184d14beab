"""What one `Verifier.verify` costs: first Evidence of a device, later ones, and their signatures alone."""

import gc
import hashlib
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from statistics import median
from typing import NamedTuple, TypeVar

from msgspec import Struct

from attest_pipeline import verifiers
from attest_pipeline.cli.floor import signature_checks
from attest_pipeline.cli.simulated import vendors
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.simulator.device import Vendor

_T = TypeVar("_T")


class Cost(Struct, frozen=True):
    """Microseconds of CPU time for one Evidence, its Endorsements being asked for and its proof.

    `cold` is the first of a device, whose certificates are not known yet, `warm` a later one. `signatures` is the bare
    check of the signatures in an Evidence but those of certificates, and `ratio` warm by that. `new` leaves out those
    that the device sent before, which a verifier need not check again; `new_ratio` is warm by that.
    """

    tee: str
    cold: float
    warm: float
    signatures: float
    ratio: float
    new: float
    new_ratio: float


class Sample(NamedTuple):
    """Evidence of a device, and the challenge that it was made for."""

    serial: int
    evidence: Evidence
    challenge: bytes


class _Round(NamedTuple):
    """Seconds for the proofs of all devices, and for bare checks of their signatures, new ones and others."""

    proofs: float
    new: float
    again: float


def measure(tee: str, devices: int, seconds: float) -> Cost:
    """Cost of proving Evidence of that many simulated devices, measured for that long. Raises Misconfigured.

    Every Evidence is new: it is made while the clock stands still, and proven once. The bare checks are by as many keys
    as there are devices, for a key that was just used is checked faster. Rounds of proofs and of bare checks take
    turns, so that whatever else the machine does falls on both, and the medians of the rounds count.
    """
    now = datetime.now(UTC)  # noqa: TID251 - the benchmark happens now
    (vendor,) = vendors(now, (tee,))
    first = samples(vendor, devices + 1, 0)
    prove = prover(vendor, now)
    prove(first.pop())  # what all devices share is known before the first of them comes
    cold = _spent(prove, first)
    new = [check for _ in range(devices) for check in signature_checks(tee, again=False)]
    again = [check for _ in range(devices) for check in signature_checks(tee, again=True)]
    rounds: list[_Round] = []
    while not rounds or sum(map(sum, rounds)) < seconds:
        later = samples(vendor, devices, len(rounds) + 1)
        rounds.append(_Round(_spent(prove, later), _spent(_call, new), _spent(_call, again)))
    each = 1e6 / devices
    return Cost(
        tee=tee,
        cold=round(cold * each, 1),
        warm=round(median(one.proofs for one in rounds) * each, 1),
        signatures=round(median(one.new + one.again for one in rounds) * each, 1),
        ratio=round(median(one.proofs / (one.new + one.again) for one in rounds), 2),
        new=round(median(one.new for one in rounds) * each, 1),
        new_ratio=round(median(one.proofs / one.new for one in rounds), 2),
    )


def samples(vendor: Vendor, devices: int, number: int) -> list[Sample]:
    """Evidence of each device over the challenge of that number, of which any part is new."""
    challenge = hashlib.sha512(number.to_bytes(8)).digest()
    return [Sample(serial, vendor.evidence(serial, challenge), challenge) for serial in range(devices)]


def prover(vendor: Vendor, now: datetime) -> Callable[[Sample], Claims]:
    """Proves Evidence of the vendor's devices, with the Endorsements that it has now.

    They are looked up for a device's first Evidence only: what a look-up costs is the host's affair.
    """
    anchors: dict[str, tuple[bytes, ...]] = {}
    for anchor in vendor.trust_anchors():
        anchors[anchor.vendor] = (*anchors.get(anchor.vendor, ()), anchor.spki)
    verifier = verifiers.load((vendor.tee,), anchors)[vendor.tee]
    known = vendor.endorsements()
    given: dict[int, Endorsements] = {}

    def prove(sample: Sample) -> Claims:
        serial, evidence, challenge = sample
        refs = verifier.endorsements_for(evidence)
        if serial not in given:
            items = {ref.item: known[name] for ref in refs if (name := f"{ref.kind}/{ref.key}") in known}
            given[serial] = Endorsements(items)
        return verifier.verify(evidence, given[serial], challenge=challenge[: verifier.challenge_bytes], now=now)

    return prove


def _call(check: Callable[[], object]) -> None:
    check()


def _spent(work: Callable[[_T], object], things: Iterable[_T]) -> float:
    """Seconds of CPU time that the work takes for all of them.

    Nobody looks for garbage meanwhile: workers do so seldom, and not among the devices of a benchmark.
    """
    gc.disable()
    try:
        began = time.process_time()
        for thing in things:
            work(thing)
        return time.process_time() - began
    finally:
        gc.enable()
