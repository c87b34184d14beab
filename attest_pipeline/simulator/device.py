"""The contract of a simulated vendor, and the faults its devices can have."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Protocol

from attest_pipeline.errors import Reason
from attest_pipeline.model import MARK, Evidence, ReferenceValueSet, TrustAnchor

__all__ = ["COMMON_FAULTS", "MARK", "Fault", "Vendor"]


class Fault(StrEnum):
    """What can be wrong with a simulated device, a different way each."""

    BAD_SIGNATURE = "bad signature"
    WRONG_CHALLENGE = "wrong challenge"
    REPLAY = "replay"
    DEBUG = "debug on"
    UNKNOWN_MEASUREMENT = "unknown measurement"
    REVOKED = "revoked certificate"
    OUTDATED_TCB = "out-of-date TCB"
    TRUNCATED = "truncated"
    FOREIGN_CHAIN = "foreign chain"


COMMON_FAULTS: Final[Mapping[Fault, Reason | None]] = {
    Fault.BAD_SIGNATURE: Reason.BAD_SIGNATURE,
    Fault.DEBUG: None,
    Fault.UNKNOWN_MEASUREMENT: None,
    Fault.REVOKED: Reason.REVOKED,
    Fault.OUTDATED_TCB: None,
    Fault.TRUNCATED: Reason.MALFORMED,
    Fault.FOREIGN_CHAIN: Reason.BAD_SIGNATURE,
}
"""What most TEEs show: a forged chain bears the right names, so that its signature is what fails."""


class Vendor(Protocol):
    """A test vendor: its own root keys, made afresh for each object, and any number of devices by serial number."""

    tee: str

    def trust_anchors(self) -> tuple[TrustAnchor, ...]:
        """Root keys that the Verifier must be told of (vendor name as the verifier knows it)."""
        ...

    def endorsements(self) -> Mapping[str, tuple[bytes, ...]]:
        """All Endorsements of all devices made so far: `<kind>/<key>` → documents."""
        ...

    def reference_values(self) -> ReferenceValueSet:
        """The baseline that healthy devices match."""
        ...

    def faults(self) -> Mapping[Fault, Reason | None]:
        """Faults this TEE can show → the Rejection reason, or None where the proof holds and the policy must object.

        REPLAY and WRONG_CHALLENGE are made by the caller with another challenge and not listed.
        """
        ...

    def evidence(self, serial: int, challenge: bytes, fault: Fault | None = None) -> Evidence:
        """Evidence of device `serial` over the 64-byte challenge, or its beginning where the TEE's field is smaller.

        Equal serials are one device (keys are kept).
        """
        ...
