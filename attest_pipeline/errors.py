"""The one error family: whatever goes wrong leaves the library as one of these three.

`BadEvidence` is the Attester's fault and ends as a signed Rejection; `Unavailable` is nobody's and is tried again;
`Misconfigured` is the operator's and stops a start-up. Everything else that escapes is a bug and ends as a Malfunction.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Closed list of reason codes: why Evidence was rejected, or why it could not be judged.

    UNSUPPORTED_FORMAT is said of what a specification defines and this library lacks; any other unknown is MALFORMED.
    """

    # the bytes
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    UNSUPPORTED_FORMAT = "unsupported_format"
    UNKNOWN_TEE = "unknown_tee"
    # the proof
    BAD_SIGNATURE = "bad_signature"
    BAD_CHAIN = "bad_chain"
    UNTRUSTED_ROOT = "untrusted_root"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    REVOKED = "revoked"
    UNBOUND = "unbound"
    IDENTITY_MISMATCH = "identity_mismatch"
    LOG_MISMATCH = "log_mismatch"
    MEASUREMENT_MISMATCH = "measurement_mismatch"
    # the endorsements
    MISSING_ENDORSEMENT = "missing_endorsement"
    BAD_ENDORSEMENT = "bad_endorsement"
    TCB_NOT_FOUND = "tcb_not_found"
    # freshness
    CHALLENGE_MISSING = "challenge_missing"
    CHALLENGE_MISMATCH = "challenge_mismatch"
    CHALLENGE_EXPIRED = "challenge_expired"
    CHALLENGE_REUSED = "challenge_reused"
    # the envelope
    WRONG_AGENT = "wrong_agent"
    WRONG_REPLY = "wrong_reply"
    NOT_ALLOWED = "not_allowed"
    # our side (Malfunction)
    DELIVERIES_EXHAUSTED = "deliveries_exhausted"
    INTERNAL = "internal"


class AttestationError(Exception):
    """Base of every error the library raises on purpose."""


class BadEvidence(AttestationError):
    """Evidence, or an Endorsement of it, does not hold. Raised for anything the Attester controls, and only for that.

    `reason` is for machines; `detail` is one sentence for people and never repeats secret or attacker-sized input.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Unavailable(AttestationError):
    """Something outside did not answer; the same call may succeed after `retry_after` seconds."""

    def __init__(self, what: str, retry_after: float = 1.0) -> None:
        super().__init__(what)
        self.retry_after = retry_after


class NotFound(Unavailable):
    """Whoever was asked answered that there is no such thing (yet)."""


class Misconfigured(AttestationError):
    """The operator's configuration cannot be used; the message says what to change."""
