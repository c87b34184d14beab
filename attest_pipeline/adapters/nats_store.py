"""Storing in JetStream: pipelined publishes whose acks are waited for, resent with the same id when they are late.

A late ack is unknown, not failed: the stream may hold the message. So a message is sent again with its `Nats-Msg-Id`
and the stream keeps the first. Many results go as one atomic batch, because with `sync_interval: always` a batch costs
one fsync and single messages one each (`docs/adr/0006-accounts-and-subjects.md` has the numbers).
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from attest_pipeline.adapters.nats_link import Link, status
from attest_pipeline.errors import Unavailable
from attest_pipeline.ports import Record

ACK_SECONDS: Final = 3.0
"""How long an ack may take before the message is sent again."""
_ATTEMPTS: Final = 3
_PAUSE: Final = 0.2
"""Seconds before trying again when no stream answers, as after a restart of the server."""
ATOMIC_FROM: Final = 4
_ATOMIC_MOST: Final = 1000
_ATOMIC_DISABLED: Final = 10174
_ATOMIC_SUBJECTS: Final = "result."
"""Only RESULTS admits atomic batches: an agent could hold batches open on a stream it publishes to."""

WRONG_SEQUENCE: Final = 10071
"""The server's code for `Nats-Expected-Last-Subject-Sequence` that does not hold."""


class Refused(Unavailable):
    """The stream answered that it does not take the message; `code` is JetStream's."""

    def __init__(self, subject: str, code: int, description: str) -> None:
        super().__init__(f"{subject} was refused: {description} (code {code})")
        self.code = code


class _ApiError(Struct):
    description: str
    err_code: int = 0


class _PubAck(Struct):
    error: _ApiError | None = None


_ack_decoder: Final = msgspec.json.Decoder(_PubAck)


class _Acks:
    """The acks of numbered messages; `finished` is set once all are there or one was refused."""

    def __init__(self, numbers: int) -> None:
        self.open = set(range(numbers))
        self.unheard = False
        self.refusal: _ApiError | None = None
        self.finished = asyncio.Event()

    def __call__(self, subject: bytes, _reply: bytes, data: bytes, headers: bytes | None) -> None:
        if status(headers):
            self.unheard = True
            self.finished.set()
            return
        if b'"error"' in data:
            self.refusal = _ack_decoder.decode(data).error
            self.finished.set()
        self.open.discard(int(subject[subject.rindex(b".") + 1 :]))
        if not self.open:
            self.finished.set()

    async def wait(self) -> None:
        """Return when finished, or after the time for acks."""
        try:
            await asyncio.wait_for(self.finished.wait(), ACK_SECONDS)
        except TimeoutError:
            self.unheard = False


async def store(link: Link, records: Sequence[Record]) -> None:
    """Return once every record is stored, or was before. Raises Unavailable (Refused if the stream said so)."""
    many = link.atomic and ATOMIC_FROM <= len(records) <= _ATOMIC_MOST
    together = many and all(record.subject.startswith(_ATOMIC_SUBJECTS) for record in records)
    if not (together and await _stored_together(link, records)):
        await _store_singly(link, records)


async def _stored_together(link: Link, records: Sequence[Record]) -> bool:
    """Whether one atomic batch stored all. A duplicate refuses the whole batch; then each must go alone.

    A stream that admits no batches says so once, and is not asked again on this connection.
    """
    acks = _Acks(1)
    address = link.expect(acks)
    try:
        for number, record in enumerate(records, 1):
            headers = _headers(record)
            headers["Nats-Batch-Id"] = address[-64:]
            headers["Nats-Batch-Sequence"] = str(number)
            last = number == len(records)
            if last:
                headers["Nats-Batch-Commit"] = "1"
            await link.send(record.subject, record.data, f"{address}.0" if last else "", headers)
        await acks.wait()
    finally:
        link.forget(address)
    if acks.refusal is not None and acks.refusal.err_code == _ATOMIC_DISABLED:
        link.atomic = False
    return not acks.open and acks.refusal is None


async def _store_singly(link: Link, records: Sequence[Record]) -> None:
    acks = _Acks(len(records))
    address = link.expect(acks)
    try:
        for _ in range(_ATTEMPTS):
            acks.finished.clear()
            for number in sorted(acks.open):
                record = records[number]
                await link.send(record.subject, record.data, f"{address}.{number}", _headers(record))
            await acks.wait()
            if acks.refusal is not None:
                raise Refused(records[0].subject, acks.refusal.err_code, acks.refusal.description)
            if not acks.open:
                return
            await asyncio.sleep(_PAUSE)
    finally:
        link.forget(address)
    problem = "no stream stores it" if acks.unheard else "no ack in time"
    raise Unavailable(f"{len(acks.open)} of {len(records)} records not stored on {records[0].subject}: {problem}")


def _headers(record: Record) -> dict[str, str]:
    headers: Mapping[str, str] = record.headers
    return {"Nats-Msg-Id": record.message_id, **headers} if record.message_id else dict(headers)
