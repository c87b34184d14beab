"""One Evidence in front of its verifier: what was proven, or why not, as a value."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.ports import Verifier


class Outcome(StrEnum):
    """How a proof ended; `error` is our own fault."""

    VERIFIED = "verified"
    REJECTED = "rejected"
    UNSUPPORTED = "unsupported"
    ERROR = "error"


class Proof(Struct, frozen=True):
    """`claims` are there if, and only if, the outcome is `verified`."""

    tee: str
    outcome: Outcome
    reason: str
    detail: str = ""
    claims: Claims | None = None


def prove(
    verifiers: Mapping[str, Verifier],
    evidence: Evidence,
    endorsements: Endorsements,
    *,
    challenge: bytes | None,
    now: datetime,
) -> Proof:
    """Let the verifier of that TEE prove the Evidence; nothing is raised."""
    verifier = verifiers.get(evidence.tee)
    if verifier is None:
        return Proof(evidence.tee, Outcome.UNSUPPORTED, Reason.UNKNOWN_TEE, "no verifier of that TEE is loaded")
    try:
        claims = verifier.verify(evidence, endorsements, challenge=challenge, now=now)
    except BadEvidence as error:
        outcome = Outcome.UNSUPPORTED if error.reason == Reason.UNSUPPORTED_FORMAT else Outcome.REJECTED
        return Proof(evidence.tee, outcome, error.reason, error.detail)
    except Exception as error:  # noqa: BLE001 - contained in one Evidence, and said
        return Proof(evidence.tee, Outcome.ERROR, Reason.INTERNAL, f"{type(error).__name__}: {error}"[:200])
    return Proof(evidence.tee, Outcome.VERIFIED, "ok", claims=claims)
