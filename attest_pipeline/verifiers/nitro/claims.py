"""Claims of a Nitro Enclave."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final

from attest_pipeline.model import Claims, FieldValue
from attest_pipeline.verifiers.nitro.abi import PCR_BYTES, Document

CHECKS: Final = ("document_format", "chain_to_pinned_root", "chain_current", "document_signature")
"""What always holds; `challenge` may follow."""

MAX_AGE: Final = 600
"""Seconds before the time of judgement that a document may have been made to be current: the life of an epoch."""
MAX_AHEAD: Final = 60
"""Seconds after it: clocks differ."""

_DEBUG: Final = bytes(PCR_BYTES)
"""PCR 0 of an enclave in debug mode: nothing is measured."""
_ENCLAVE: Final = "-enc"


def make_claims(document: Document, signer: str, now: datetime, *, bound: bool) -> Claims:
    """Claims of a proven document at `now`; `bound` says whether its nonce was equal to a challenge.

    The hardware is named by the EC2 instance: an enclave's own name changes whenever it starts.
    """
    instance = document.module_id.partition(_ENCLAVE)[0]
    measurements = _measured(document.pcrs)
    return Claims(
        tee="nitro",
        hardware_id=instance,
        debug=document.pcrs[0] == _DEBUG,
        tcb_status=None,
        measurements=dict(measurements),
        signer=signer,
        challenge_verified=bound,
        endorsements={},
        fields={
            **measurements,
            "module_id": document.module_id,
            "instance_id": instance,
            "digest": document.digest,
            "timestamp": document.timestamp,
            "document_current": _is_current(document, now),
            **_given(document),
        },
        checks=(*CHECKS, "challenge") if bound else CHECKS,
    )


def _is_current(document: Document, now: datetime) -> bool:
    """Whether it was made just before `now`. Not the age itself, by which policies would judge each document anew."""
    return -MAX_AHEAD <= now.timestamp() - document.timestamp / 1000 <= MAX_AGE


@lru_cache(maxsize=1024)
def _measured(pcrs: Mapping[int, bytes]) -> Mapping[str, str]:
    """PCRs by name: an enclave has the same ones as long as it runs, and so have all of its image."""
    return {f"pcr{number}": value.hex() for number, value in sorted(pcrs.items())}


def _given(document: Document) -> dict[str, FieldValue]:
    """What the enclave's own program put into the document."""
    given = {"public_key": document.public_key, "user_data": document.user_data, "nonce": document.nonce}
    return {name: value.hex() for name, value in given.items() if value is not None}
