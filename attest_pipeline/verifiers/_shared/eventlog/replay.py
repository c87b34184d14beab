"""What a log says, and how much of it the registers that a TEE has signed bear out."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import EventLog, FieldValue, LoggedEvent, LogName


class Replay(NamedTuple):
    """Final value of each register that a log extends, by the log's own numbers, and its events in order."""

    registers: Mapping[int, bytes]
    events: tuple[LoggedEvent, ...]


def explain(
    name: LogName, log: bytes, replay: Replay, signed: Mapping[int, bytes], unsigned: frozenset[int] = frozenset()
) -> EventLog:
    """The log as far as it explains signed registers, which are given by the log's numbers.

    A register that the log does not extend is not compared. One that the TEE has and did not sign (`unsigned`) cannot
    be: its events are proven by nothing and left out. Raises BadEvidence(LOG_MISMATCH), also for any other register.
    """
    if not replay.registers.keys() <= signed.keys() | unsigned:
        raise BadEvidence(Reason.LOG_MISMATCH, f"{name} log extends a register that the TEE does not have")
    explained = tuple(sorted(replay.registers.keys() & signed.keys()))
    if not explained:
        raise BadEvidence(Reason.LOG_MISMATCH, f"{name} log extends no signed register")
    for register in explained:
        if replay.registers[register] != signed[register]:
            raise BadEvidence(Reason.LOG_MISMATCH, f"{name} log does not replay to register {register}")
    events = replay.events
    if len(explained) < len(replay.registers):
        events = tuple(event for event in events if event.register in explained)
    return EventLog(name=name, digest=hashlib.sha256(log).hexdigest(), registers=explained, events=events)


def log_fields(logs: Sequence[EventLog]) -> dict[str, FieldValue]:
    """What a token and a policy see of logs: digest, count of events, and registers explained (`1,2,3`)."""
    fields: dict[str, FieldValue] = {}
    for log in logs:
        fields |= {
            f"{log.name}_digest": log.digest,
            f"{log.name}_events": len(log.events),
            f"{log.name}_registers": ",".join(map(str, log.registers)),
        }
    return fields
