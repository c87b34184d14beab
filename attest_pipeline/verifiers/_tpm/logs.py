"""Measurement logs of a TPM: what they say must be what the quoted PCRs hold."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import EventLog, FieldValue, LogName
from attest_pipeline.verifiers._shared.eventlog.banks import BANKS
from attest_pipeline.verifiers._shared.eventlog.ima import BootAggregate, read_ima
from attest_pipeline.verifiers._shared.eventlog.replay import explain, log_fields
from attest_pipeline.verifiers._shared.eventlog.tcg2 import read_tcg2
from attest_pipeline.verifiers._tpm.quote import Pcrs

IMA_PCR: Final = 10
_PCRS: Final = frozenset(range(24))
"""Registers of a TPM (PC Client Platform TPM Profile 1.05, section 4.6)."""
_AGGREGATED: Final = {"sha1": (8,)}
"""Bank → how many PCRs, from PCR 0 on, the kernel may have put into the boot aggregate of that bank."""
_AGGREGATED_ELSE: Final = (8, 10)
"""Since Linux 5.8 PCR 8 and 9 (command line, kernel) belong to it in every bank but SHA-1."""


class Summary(Struct, frozen=True, eq=False):
    """What logs say in short: claims, measurements beside the PCRs, and the checks that held."""

    fields: Mapping[str, FieldValue]
    checks: tuple[str, ...]
    measurements: Mapping[str, str] = {}


class Explained(Struct, frozen=True, eq=False):
    """The logs that explain quoted PCRs."""

    logs: tuple[EventLog, ...]
    summary: Summary


def check_logs(bank: str, pcrs: Pcrs, tcg2: bytes | None, ima: bytes | None) -> Explained:
    """Require that the logs of UEFI (TCG2) and of IMA explain quoted PCRs, as far as they are given.

    A PCR that a log does not extend is not compared: run-time events never enter it. One that it extends and that is
    not quoted cannot be. A boot aggregate that is that of quoted PCRs is no file and not listed.
    Raises BadEvidence(LOG_MISMATCH | MALFORMED | TOO_LARGE).
    """
    logs, checks, explained, aggregated = [], [], "", False
    if tcg2 is not None:
        log = explain(LogName.TCG2, tcg2, read_tcg2(tcg2, bank), pcrs.values, _PCRS)
        logs.append(log)
        checks += [f"event_log_pcr{number}" for number in log.registers]
        explained = ",".join(map(str, log.registers))
    if ima is not None:
        replay, aggregate = read_ima(ima, bank, frozenset({IMA_PCR}))
        aggregated = aggregate is not None and _check_boot_aggregate(bank, pcrs.values, aggregate)
        files = replay._replace(events=replay.events[1:]) if aggregated else replay
        logs.append(explain(LogName.IMA, ima, files, pcrs.values, _PCRS))
        checks += ["ima_log", "ima_boot_aggregate"] if aggregated else ["ima_log"]
    fields: dict[str, FieldValue] = {
        "event_log_pcrs": explained,
        "ima_log": ima is not None,
        "ima_boot_aggregate": aggregated,
        **log_fields(logs),
    }
    return Explained(tuple(logs), Summary(fields, tuple(checks)))


def _check_boot_aggregate(bank: str, pcrs: Mapping[int, bytes], aggregate: BootAggregate) -> bool:
    """Whether the PCRs of the boot aggregate are quoted, in its bank; if they are, it must be theirs.

    Source: Linux, security/integrity/ima/ima_crypto.c, ima_calc_boot_aggregate_tfm.
    """
    if aggregate.algorithm != bank:
        return False
    counts = _AGGREGATED.get(bank, _AGGREGATED_ELSE)
    quoted = [[pcrs[pcr] for pcr in range(count)] for count in counts if pcrs.keys() >= {*range(count)}]
    if any(BANKS[aggregate.algorithm].digest(b"".join(values)) == aggregate.digest for values in quoted):
        return True
    if len(quoted) == len(counts):
        raise BadEvidence(Reason.LOG_MISMATCH, "boot aggregate of the IMA log is not that of the quoted PCRs")
    return False
