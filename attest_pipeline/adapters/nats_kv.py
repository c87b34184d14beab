"""Key-value buckets by plain requests: reading needs no consumer, so only the provisioner may create consumers.

A bucket is a stream of one message per key. The stream republishes the subject of every change after storing it
(`subjects.changes`); a watcher takes that as a hint and reads what is newer than what it has seen.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

import msgspec

from attest_pipeline import subjects
from attest_pipeline.adapters.nats_link import Link, Raw, parsed, status
from attest_pipeline.adapters.nats_store import WRONG_SEQUENCE, Refused, store
from attest_pipeline.errors import Unavailable
from attest_pipeline.ports import Record

_SECONDS: Final = 3.0
_REFRESH: Final = 30.0
"""Seconds after which a watcher looks even if it heard nothing: hints may be lost."""
_OPERATION: Final = "KV-Operation"
"""Marks a deleted key; this project deletes none, an operator's tool may."""


async def get(link: Link, bucket: str, key: str) -> bytes | None:
    """Latest value of a key. Raises Unavailable."""
    subject = subjects.stored_key(bucket, key)
    _, _, data, headers = await link.request(f"$JS.API.DIRECT.GET.KV_{bucket}.{subject}", b"", _SECONDS, None)
    match status(headers):
        case b"":
            return None if _OPERATION in parsed(headers) else data
        case b"404":
            return None
        case code:
            raise Unavailable(f"bucket {bucket} answers {code.decode()}")


async def put(link: Link, bucket: str, key: str, value: bytes, seconds: int | None) -> None:
    """Set a key, for good or for that many seconds where the bucket allows it. Raises Unavailable."""
    headers = {} if seconds is None else {"Nats-TTL": str(seconds)}
    await store(link, [Record(subject=subjects.stored_key(bucket, key), data=value, message_id="", headers=headers)])


async def create(link: Link, bucket: str, key: str, value: bytes) -> bytes | None:
    """Set a key that has no value and return None, or return the value it has. Raises Unavailable."""
    first = {"Nats-Expected-Last-Subject-Sequence": "0"}
    record = Record(subject=subjects.stored_key(bucket, key), data=value, message_id="", headers=first)
    try:
        await store(link, [record])
    except Refused as error:
        if error.code != WRONG_SEQUENCE:
            raise
        return await get(link, bucket, key)
    return None


class Watch:
    """Present values of the keys that match, then every change, until `close`."""

    def __init__(self, link: Link, bucket: str, pattern: str) -> None:
        self._link = link
        self._bucket = bucket
        self._pattern = subjects.stored_key(bucket, pattern)
        self._news = asyncio.Event()
        self._next = 1
        self._closing = False

    async def values(self) -> AsyncGenerator[tuple[str, bytes], None]:
        """Keys and values in the order in which they were set. Raises Unavailable."""
        hints = await self._link.listen(subjects.changes(self._bucket), "", self._hear)
        self._link.on_reconnect.append(self._news.set)
        try:
            while not self._closing:
                self._news.clear()
                for key, value in await self._newer():
                    yield key, value
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), _REFRESH)
        finally:
            self._link.on_reconnect.remove(self._news.set)
            await self._link.unlisten(hints)

    def close(self) -> None:
        """End after the value that is out now."""
        self._closing = True
        self._news.set()

    def _hear(self, *_: object) -> None:
        self._news.set()

    async def _newer(self) -> list[tuple[str, bytes]]:
        found: list[Raw] = []
        complete = asyncio.Event()

        def take(subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
            found.append((subject, reply, data, headers))
            if status(headers):
                complete.set()

        address = self._link.expect(take)
        request = msgspec.json.encode({"multi_last": [self._pattern], "seq": self._next})
        try:
            await self._link.send(f"$JS.API.DIRECT.GET.KV_{self._bucket}", request, address)
            await asyncio.wait_for(complete.wait(), _SECONDS)
        except TimeoutError:
            raise Unavailable(f"bucket {self._bucket} does not answer") from None
        finally:
            self._link.forget(address)
        return self._read(found)

    def _read(self, found: list[Raw]) -> list[tuple[str, bytes]]:
        *messages, (_, _, _, end) = found
        if status(end) not in {b"204", b"404"}:
            raise Unavailable(f"bucket {self._bucket} answers {status(end).decode()}")
        values = []
        for _, _, data, headers in messages:
            fields = parsed(headers)
            self._next = max(self._next, int(fields["Nats-Sequence"]) + 1)
            if _OPERATION not in fields:
                values.append((fields["Nats-Subject"].removeprefix(subjects.stored_key(self._bucket, "")), data))
        return values
