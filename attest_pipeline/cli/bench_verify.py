"""What one `Verifier.verify` costs: first Evidence of a device, later ones, and their signatures alone."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from attest_pipeline import verifiers
from attest_pipeline.cli.floor import cost, signature_checks
from attest_pipeline.cli.simulated import vendors
from attest_pipeline.model import Endorsements, Evidence
from attest_pipeline.simulator.device import Vendor

_CHALLENGE: Final = bytes(range(64))


class Cost(Struct, frozen=True):
    """Microseconds of CPU time for one Evidence.

    `cold` is the first of a device, whose certificates are not known yet, `warm` a later one, `signatures` the bare
    check of the signatures inside it. Where a signature repeats from one Evidence to the next (Intel's QE report, Arm's
    platform token) its check is remembered, so `warm` may be less than `signatures`.
    """

    tee: str
    cold: float
    warm: float
    signatures: float


def measure(tee: str, devices: int, seconds: float) -> Cost:
    """Cost of proving Evidence of that many simulated devices. Raises Misconfigured for an unknown TEE."""
    now = datetime.now(UTC)  # noqa: TID251 - the benchmark happens now
    (vendor,) = vendors(now, (tee,))
    evidence = [vendor.evidence(serial, _CHALLENGE) for serial in range(devices + 1)]
    prove = _prover(vendor, now)
    prove(evidence.pop())  # what all devices share is known before the first of them comes
    began = time.process_time()
    for one in evidence:
        prove(one)
    cold = (time.process_time() - began) / devices
    later = [vendor.evidence(serial, _CHALLENGE) for serial in range(devices)]
    warm = cost(lambda: [prove(one) for one in later], seconds) / devices
    checks = signature_checks(tee)
    signatures = cost(lambda: [check() for check in checks], seconds)
    return Cost(tee, *(round(one * 1e6, 1) for one in (cold, warm, signatures)))


def _prover(vendor: Vendor, now: datetime) -> Callable[[Evidence], object]:
    """Proves Evidence of the vendor's devices, with the Endorsements that it has now."""
    anchors: dict[str, tuple[bytes, ...]] = {}
    for anchor in vendor.trust_anchors():
        anchors[anchor.vendor] = (*anchors.get(anchor.vendor, ()), anchor.spki)
    verifier = verifiers.load((vendor.tee,), anchors)[vendor.tee]
    known = vendor.endorsements()

    def prove(evidence: Evidence) -> object:
        refs = verifier.endorsements_for(evidence)
        items = {ref.item: known[name] for ref in refs if (name := f"{ref.kind}/{ref.key}") in known}
        return verifier.verify(evidence, Endorsements(items), challenge=_CHALLENGE[: verifier.challenge_bytes], now=now)

    return prove
