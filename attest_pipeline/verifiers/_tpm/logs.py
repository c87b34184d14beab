"""Measurement logs of a TPM: what they say must be what the quoted PCRs hold."""

from collections.abc import Mapping
from typing import Final

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared.eventlog import replay_ima_ascii, replay_tcg2
from attest_pipeline.verifiers._tpm.quote import Proof

IMA_PCR: Final = 10


def check_event_log(proof: Proof, log: bytes) -> tuple[int, ...]:
    """Numbers of the quoted PCRs that a TCG2 log explains, in the bank of the quote.

    A PCR that the log does not extend is not compared: run-time events never enter it. One that it extends and that is
    not quoted cannot be. Raises BadEvidence(LOG_MISMATCH | MALFORMED | TOO_LARGE).
    """
    return _explained(proof, replay_tcg2(log, proof.quote.bank), "event log")


def check_ima_log(proof: Proof, log: bytes) -> None:
    """Require that an ASCII IMA log explains PCR 10. Raises BadEvidence(LOG_MISMATCH | MALFORMED | TOO_LARGE)."""
    _explained(proof, replay_ima_ascii(log, proof.quote.bank, frozenset({IMA_PCR})), "IMA log")


def _explained(proof: Proof, replayed: Mapping[int, bytes], what: str) -> tuple[int, ...]:
    explained = tuple(number for number in proof.quote.selection if number in replayed)
    if not explained:
        raise BadEvidence(Reason.LOG_MISMATCH, f"{what} extends no PCR of the quote")
    for number in explained:
        if replayed[number] != proof.pcrs[number]:
            raise BadEvidence(Reason.LOG_MISMATCH, f"{what} does not replay to PCR{number}")
    return explained
