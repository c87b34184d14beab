"""Measurement logs of a TPM: what they say must be what the quoted PCRs hold."""

from typing import Final, NamedTuple

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import EventLog, Evidence, LogName
from attest_pipeline.verifiers._shared.eventlog.banks import BANKS
from attest_pipeline.verifiers._shared.eventlog.ima import BootAggregate, read_ima
from attest_pipeline.verifiers._shared.eventlog.replay import explain
from attest_pipeline.verifiers._shared.eventlog.tcg2 import read_tcg2
from attest_pipeline.verifiers._tpm.quote import Proof

IMA_PCR: Final = 10
_PCRS: Final = frozenset(range(24))
"""Registers of a TPM (PC Client Platform TPM Profile 1.05, section 4.6)."""
_AGGREGATED: Final = {"sha1": (8,)}
"""Bank → how many PCRs, from PCR 0 on, the kernel may have put into the boot aggregate of that bank."""
_AGGREGATED_ELSE: Final = (8, 10)
"""Since Linux 5.8 PCR 8 and 9 (command line, kernel) belong to it in every bank but SHA-1."""


class Logs(NamedTuple):
    """The logs that explain quoted PCRs, and whether the boot aggregate could be compared with the quoted PCRs."""

    explained: tuple[EventLog, ...]
    boot_aggregate: bool


def check_logs(proof: Proof, evidence: Evidence) -> Logs:
    """Require that `event_log` (TCG2) and `ima_log` explain quoted PCRs, as far as they are given.

    A PCR that a log does not extend is not compared: run-time events never enter it. One that it extends and that is
    not quoted cannot be. A boot aggregate that is that of quoted PCRs is no file and not listed.
    Raises BadEvidence(LOG_MISMATCH | MALFORMED | TOO_LARGE).
    """
    logs, aggregated = [], False
    if (log := evidence.items.get("event_log")) is not None:
        logs.append(explain(LogName.TCG2, log, read_tcg2(log, proof.quote.bank), proof.pcrs.values, _PCRS))
    if (log := evidence.items.get("ima_log")) is not None:
        replay, aggregate = read_ima(log, proof.quote.bank, frozenset({IMA_PCR}))
        aggregated = aggregate is not None and _check_boot_aggregate(proof, aggregate)
        files = replay._replace(events=replay.events[1:]) if aggregated else replay
        logs.append(explain(LogName.IMA, log, files, proof.pcrs.values, _PCRS))
    return Logs(tuple(logs), aggregated)


def _check_boot_aggregate(proof: Proof, aggregate: BootAggregate) -> bool:
    """Whether the PCRs of the boot aggregate are quoted, in its bank; if they are, it must be theirs.

    Source: Linux, security/integrity/ima/ima_crypto.c, ima_calc_boot_aggregate_tfm.
    """
    if aggregate.algorithm != proof.quote.bank:
        return False
    counts = _AGGREGATED.get(proof.quote.bank, _AGGREGATED_ELSE)
    pcrs = proof.pcrs.values
    quoted = [[pcrs[pcr] for pcr in range(count)] for count in counts if pcrs.keys() >= {*range(count)}]
    if any(BANKS[aggregate.algorithm].digest(b"".join(values)) == aggregate.digest for values in quoted):
        return True
    if len(quoted) == len(counts):
        raise BadEvidence(Reason.LOG_MISMATCH, "boot aggregate of the IMA log is not that of the quoted PCRs")
    return False
