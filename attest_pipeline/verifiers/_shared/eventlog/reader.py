"""Little-endian fields of a measurement log, and what every log is limited to."""

import struct
from typing import Final

from attest_pipeline.errors import BadEvidence, Reason

MAX_LOG: Final = 1024 * 1024
"""Bytes of a log: the largest CCEL buffer seen in the field, and an IMA log of some ten thousand files."""
MAX_EVENTS: Final = 12_288
"""Events of a log: what one of that size holds if it is real. Smaller events are made up, and cost time and memory."""

REMEMBERED: Final = 64 * 1024
"""Bytes of a log whose replay is remembered: a machine sends the log of its boot, in a buffer of usually that size, and
that of a quiet IMA again and again."""
KEPT: Final = 64
"""Replays that are remembered for each kind of log; with logs and events some 20 MB at most."""


class Reader:
    """Reads little-endian fields; a field beyond the end is malformed."""

    def __init__(self, data: bytes, what: str) -> None:
        """Start at the first byte; `what` names the log in errors."""
        self.data = data
        self.at = 0
        self._what = what

    def take(self, size: int) -> bytes:
        """The next bytes. Raises BadEvidence(MALFORMED)."""
        piece = self.data[self.at : self.at + size]
        if len(piece) != size:
            raise malformed(f"{self._what} ends inside a field at byte {len(self.data)}")
        self.at += size
        return piece

    def fields(self, layout: struct.Struct) -> tuple[int, ...]:
        """The next numbers. Raises BadEvidence(MALFORMED)."""
        return layout.unpack(self.take(layout.size))


def check_size(log: bytes, what: str) -> None:
    """Require that a log is within the limits. Raises BadEvidence(TOO_LARGE)."""
    if len(log) > MAX_LOG:
        raise BadEvidence(Reason.TOO_LARGE, f"{what} of {len(log)} bytes")


def check_count(count: int, what: str) -> None:
    """Require that a log has no more events than it may have. Raises BadEvidence(TOO_LARGE)."""
    if count > MAX_EVENTS:
        raise BadEvidence(Reason.TOO_LARGE, f"{what} of more than {MAX_EVENTS} events")


def malformed(detail: str) -> BadEvidence:
    """The error for bytes that are no log."""
    return BadEvidence(Reason.MALFORMED, detail)
