"""A simulated fleet: agents over all vendors, one in ten of them wrong in a different way, and what each must get."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Final, NamedTuple

from attest_pipeline.ear import Status
from attest_pipeline.errors import Reason
from attest_pipeline.freshness import Tick, epoch_challenge
from attest_pipeline.model import EpochChallenge, EvidenceCollection
from attest_pipeline.simulator.device import Fault, Vendor

FAULTY_EVERY: Final = 10
_STALE_EPOCHS: Final = 50

_CALLERS_FAULTS: Final[Mapping[Fault, Reason]] = {
    Fault.WRONG_CHALLENGE: Reason.CHALLENGE_MISMATCH,
    Fault.REPLAY: Reason.CHALLENGE_EXPIRED,
}
"""Faults that lie in how Evidence is used, so that every TEE can show them."""


class Member(NamedTuple):
    """One agent: its device, its fault, and the Rejection it must get; None leaves the verdict to the policy."""

    agent: str
    vendor: Vendor
    serial: int
    fault: Fault | None
    rejection: Reason | None

    def expects(self, status: str, outcome: str, reason: str) -> bool:
        """Whether a result is the one that this member must get."""
        if self.fault is None:
            return status == Status.AFFIRMING
        if self.rejection is not None:
            return outcome == "rejected" and reason == self.rejection
        return outcome == "verified" and status in {Status.WARNING, Status.CONTRAINDICATED}

    def collection(self, tick: Tick) -> EvidenceCollection:
        """What this agent publishes in the epoch of the tick."""
        epoch = tick.epoch - _STALE_EPOCHS if self.fault is Fault.REPLAY else tick.epoch
        challenge = epoch_challenge(self.agent, self.vendor.tee, tick, "", None)
        if self.fault is Fault.WRONG_CHALLENGE:
            challenge = bytes(reversed(challenge))
        device_fault = None if self.fault in _CALLERS_FAULTS else self.fault
        evidence = self.vendor.evidence(self.serial, challenge, device_fault)
        return EvidenceCollection(evidence=(evidence,), challenge=EpochChallenge(epoch))


def members(vendors: Sequence[Vendor], size: int) -> list[Member]:
    """A fleet of that size, the vendors in turn; every tenth round shows the next fault of each TEE."""
    faults = [cycle({**vendor.faults(), **_CALLERS_FAULTS}.items()) for vendor in vendors]
    fleet = []
    for number in range(size):
        turn, index = divmod(number, len(vendors))
        faulty = turn % FAULTY_EVERY == FAULTY_EVERY - 1
        fault, rejection = next(faults[index]) if faulty else (None, None)
        vendor = vendors[index]
        fleet.append(Member(f"{vendor.tee}-{number:05d}", vendor, number, fault, rejection))
    return fleet
