"""`ports.Bus` on NATS with JetStream: connection, storing, pulling and buckets put together."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol, Self

from attest_pipeline.adapters import nats_kv, nats_store
from attest_pipeline.adapters.nats_config import read_credentials
from attest_pipeline.adapters.nats_link import Link, parsed, status
from attest_pipeline.adapters.nats_pull import Pull
from attest_pipeline.errors import NotFound, Unavailable
from attest_pipeline.ports import Message, Record

Handler = Callable[[Message], Awaitable[None]]

_NOT_FOUND: Final = b"404"
_WAITING: Final = 4096
_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Messages that may wait for a handler; more are dropped (and, if they stand for stored Evidence, delivered again)."""
_GRACE: Final = 2.0
"""Seconds in which whoever reads a pull or a watch may finish what it has, before the connection closes."""
_log: Final = logging.getLogger(__name__)


class _Reader(Protocol):
    """A pull or a watch."""

    def close(self) -> None: ...


class _Service:
    """One subscription whose handler gets one message at a time."""

    def __init__(self, subject: str, handler: Handler, message: Callable[..., Message]) -> None:
        self.subscription: Any = None
        self._subject = subject
        self._handler = handler
        self._message = message
        self._waiting: asyncio.Queue[Message] = asyncio.Queue(_WAITING)
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self, link: Link, queue: str) -> None:
        self.subscription = await link.listen(self._subject, queue, self.receive)
        self._task = asyncio.create_task(self._run())

    def receive(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        if self._waiting.full() or self._bytes + len(data) > _WAITING_BYTES:
            _log.warning("dropped a message of %s: its handler is %d behind", self._subject, self._waiting.qsize())
            return
        self._bytes += len(data)
        self._waiting.put_nowait(self._message(subject, reply, data, headers))

    async def finish(self) -> None:
        """Let the handler deal with what was received."""
        await self._waiting.join()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            message = await self._waiting.get()
            try:
                await self._handler(message)
            except Exception:  # noqa: BLE001 - a handler's bug must not end the subscription
                _log.exception("a handler of %s failed", self._subject)
            finally:
                self._bytes -= len(message.data)
                self._waiting.task_done()


class NatsBus:
    """The bus of one process. Made by `connect`; every method raises Unavailable and nothing else."""

    def __init__(self, link: Link, clock: Callable[[], float]) -> None:
        self._link = link
        self._clock = clock
        self._services: list[_Service] = []
        self._readers: set[_Reader] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        credentials: Path | None,
        name: str,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - here time enters
    ) -> Self:
        """Connect as the user of a credentials file; the server shows `name`, `clock` is seconds since 1970.

        Raises Unavailable, and Misconfigured if there is no usable file.
        """
        user = read_credentials(credentials)
        link = Link(user.inbox_prefix)
        await link.connect(url, user.seed, name)
        return cls(link, clock)

    @property
    def connected(self) -> bool:
        """Whether the server can be reached now."""
        return self._link.connected

    async def publish(self, subject: str, data: bytes, *, reply: str = "", headers: Mapping[str, str] = {}) -> None:
        """Send at most once; buffered, in order."""
        await self._link.send(subject, data, reply, headers)

    async def request(self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] = {}) -> Message:  # noqa: ASYNC109 - a deadline of the protocol
        """Send and wait for one reply. Raises Unavailable on timeout and when nobody listens, NotFound if told so."""
        _, reply, answer, answered = await self._link.request(subject, data, timeout, headers)
        if status(answered) == _NOT_FOUND:
            raise NotFound(f"there is nothing on {subject}")
        if status(answered):
            raise Unavailable(f"nobody answers on {subject} ({status(answered).decode()})")
        return self._message(subject.encode(), reply, answer, answered)

    async def serve(self, subject: str, queue: str, handler: Handler) -> None:
        """Hand every message of the subject to the handler, one at a time; an empty `queue` means every subscriber."""
        service = _Service(subject, handler, self._message)
        await service.start(self._link, queue)
        self._services.append(service)
        await self._link.flush()

    async def store(self, records: Sequence[Record]) -> None:
        """Store all records durably; returns once every one is stored (or was before). Safe to repeat."""
        await nats_store.store(self._link, records)

    async def pull(self, stream: str, consumer: str, *, batch: int) -> AsyncGenerator[list[Message], None]:
        """Stored messages of a durable consumer, 1 to `batch` at a time, asked for ahead; ends when the bus stops."""
        pull = Pull(self._link, stream, consumer, batch)
        with self._reading(pull):
            async with aclosing(pull.lists()) as lists:
                async for messages in lists:
                    yield messages

    async def ack(self, reply: str) -> None:
        """Say that a stored message is done. At most once: a lost ack means redelivery."""
        await self._link.send(reply, b"+ACK")

    async def retry_later(self, reply: str, seconds: float) -> None:
        """Ask for a stored message again after that many seconds."""
        await self._link.send(reply, b'-NAK {"delay":%d}' % (seconds * 1e9))

    async def working(self, reply: str) -> None:
        """Say that a stored message is still being worked on: its time until redelivery begins anew."""
        await self._link.send(reply, b"+WPI")

    async def get(self, bucket: str, key: str) -> bytes | None:
        """Latest value of a key."""
        return await nats_kv.get(self._link, bucket, key)

    async def put(self, bucket: str, key: str, value: bytes, *, seconds: int | None = None) -> None:
        """Set a key, for good or until it is forgotten after that many seconds."""
        await nats_kv.put(self._link, bucket, key, value, seconds)

    async def create(self, bucket: str, key: str, value: bytes) -> bytes | None:
        """Set a key that has no value yet and return None; otherwise return the value it has, unchanged."""
        return await nats_kv.create(self._link, bucket, key, value)

    async def watch(self, bucket: str, pattern: str) -> AsyncGenerator[tuple[str, bytes], None]:
        """Present keys and values that match, then every change, until the bus stops."""
        watch = nats_kv.Watch(self._link, bucket, pattern)
        with self._reading(watch):
            async with aclosing(watch.values()) as values:
                async for change in values:
                    yield change

    async def stop(self) -> None:
        """Take no more work: end pulls, watches and subscriptions once their handlers are done. Sending still works."""
        for reader in self._readers:
            reader.close()
        services, self._services = self._services, []
        await self._link.unlisten(*(service.subscription for service in services))
        for service in services:
            await service.finish()

    async def drain(self) -> None:
        """Stop, flush what is buffered, disconnect."""
        await self.stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), _GRACE)
        await self._link.close()

    @contextmanager
    def _reading(self, reader: _Reader) -> Iterator[None]:
        self._readers.add(reader)
        self._idle.clear()
        try:
            yield
        finally:
            self._readers.discard(reader)
            if not self._readers:
                self._idle.set()

    def _message(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> Message:
        return Message(
            subject=subject.decode(),
            data=data,
            reply=reply.decode(),
            received_at=int(self._clock()),
            headers=parsed(headers),
        )
