"""Claims of a Nitro Enclave."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final

from attest_pipeline.model import Claims, FieldValue
from attest_pipeline.verifiers._shared.recurring import renewed_claims
from attest_pipeline.verifiers.nitro.abi import DIGEST, PCR_BYTES, Document, Enclave

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
    changing = {
        "timestamp": document.timestamp,
        "document_current": _is_current(document, now),
        **_given("nonce", document.nonce),
    }
    return renewed_claims(_lasting(document.enclave, signer, bound), changing)


@lru_cache(maxsize=8192)
def _lasting(enclave: Enclave, signer: str, bound: bool) -> Claims:  # noqa: FBT001 - lru_cache is slow with keywords
    """Claims that an enclave makes time and again: all but the time and the nonce."""
    instance = enclave.module_id.partition(_ENCLAVE)[0]
    measurements = _measured(enclave.pcrs)
    return Claims(
        tee="nitro",
        hardware_id=instance,
        debug=enclave.pcrs[0] == _DEBUG,
        tcb_status=None,
        measurements=dict(measurements),
        signer=signer,
        challenge_verified=bound,
        endorsements={},
        fields={
            **measurements,
            "module_id": enclave.module_id,
            "instance_id": instance,
            "digest": DIGEST,
            **_given("public_key", enclave.public_key),
            **_given("user_data", enclave.user_data),
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


def _given(name: str, value: bytes | None) -> Mapping[str, FieldValue]:
    """What the enclave's own program put into the document, if it did."""
    return {} if value is None else {name: value.hex()}
