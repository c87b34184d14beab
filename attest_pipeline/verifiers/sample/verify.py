"""Evidence without any proof, to try the pipeline on a machine that has no TEE."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, EndorsementRef, Endorsements, Evidence

_LIMIT: Final = 1024
_Hex = Annotated[str, Meta(pattern=r"\A([0-9a-f]{2}){1,64}\Z")]


class SampleReport(Struct, frozen=True, forbid_unknown_fields=True):
    """Item `report` as JSON: both members are lower-case hexadecimal, 1 to 64 bytes."""

    challenge: _Hex
    measurement: _Hex


class SampleVerifier:
    """Believes whatever the item `report` says. For development only: anyone can write such Evidence.

    It is off unless the operator names it, production refuses its name (`owner.tenant`), and its claims
    can never be affirming: `debug` is true, no hardware and no signer are named, and the only check is `none`.
    """

    tee = "sample"
    media_types = frozenset({"application/vnd.attest-pipeline.sample+json"})
    challenge_bytes = 64

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        """Take the anchors that every verifier takes; nothing here has a signature that they could check."""

    def endorsements_for(self, evidence: Evidence) -> tuple[EndorsementRef, ...]:  # noqa: ARG002 - the contract
        """None: nobody endorses a sample."""
        return ()

    def verify(
        self,
        evidence: Evidence,
        endorsements: Endorsements,  # noqa: ARG002 - the contract
        *,
        challenge: bytes | None,
        now: datetime,  # noqa: ARG002 - the contract
    ) -> Claims:
        """Read the report and compare the challenge, if there is one. Raises BadEvidence."""
        report = _read(evidence.items.get("report", b""))
        if challenge is not None and report.challenge != challenge.hex():
            raise BadEvidence(Reason.CHALLENGE_MISMATCH, "sample report carries another challenge")
        return Claims(
            tee="sample",
            hardware_id=None,
            debug=True,
            tcb_status=None,
            measurements={"measurement": report.measurement},
            signer=None,
            challenge_verified=challenge is not None,
            endorsements={},
            fields={"measurement": report.measurement, "challenge": report.challenge},
            checks=("none",),
        )


def _read(data: bytes) -> SampleReport:
    if not data:
        raise BadEvidence(Reason.EMPTY, "no sample report")
    if len(data) > _LIMIT:
        raise BadEvidence(Reason.TOO_LARGE, f"sample report of {len(data)} bytes")
    try:
        return msgspec.json.decode(data, type=SampleReport)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadEvidence(Reason.MALFORMED, f"no sample report: {str(error)[:120]}") from None
