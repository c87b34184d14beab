"""The broker in memory: what the processes of one test share."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Final

from msgspec.structs import replace

from attest_pipeline import subjects
from attest_pipeline.errors import Unavailable
from attest_pipeline.ports import Message, Record
from attest_pipeline.testing.streams import Consumer, Stream

Handler = Callable[[Message], Awaitable[None]]
Changes = asyncio.Queue[tuple[str, bytes] | None]

_TICK: Final = 0.01
"""Seconds between two looks at the injected clock while nothing happens."""
_log: Final = logging.getLogger(__name__)


class Subscription:
    """Messages for one handler, one at a time."""

    def __init__(self, pattern: str, queue: str, handler: Handler) -> None:
        self.pattern = pattern
        self.queue = queue
        self._handler = handler
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def hand(self, message: Message) -> None:
        """Queue a message for the handler."""
        self._messages.put_nowait(message)

    async def close(self) -> None:
        """Let the handler finish what was handed to it."""
        await self._messages.join()
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            message = await self._messages.get()
            try:
                await self._handler(message)
            except Exception:  # noqa: BLE001 - as on the real bus, a handler's bug must not end the subscription
                _log.exception("a handler of %s failed", self.pattern)
            finally:
                self._messages.task_done()


class InMemoryBroker:
    """Streams, consumers, buckets and subscriptions, as `subjects` names them.

    `clock` is seconds since 1970. `capacity` is the number of messages at which a stream refuses more, `ttl` the
    seconds after which a bucket forgets a key.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        ack_wait: float = 10.0,
        max_deliver: int = 6,
        duplicate_window: float = 3600.0,
        capacity: Mapping[str, int] = {},
        ttl: Mapping[str, float] = {},
    ) -> None:
        self.clock = clock
        self._limits = (ack_wait, max_deliver)
        self._ttl = ttl
        self._streams = {
            name: Stream(
                patterns, work_queue=name == subjects.EVIDENCE, window=duplicate_window, capacity=capacity.get(name)
            )
            for name, patterns in subjects.STREAMS.items()
        }
        self._buckets: dict[str, dict[str, tuple[bytes, float]]] = {name: {} for name in subjects.BUCKETS}
        self._watches: dict[Changes, tuple[str, str]] = {}
        self._subscriptions: list[Subscription] = []
        self._answers: dict[str, asyncio.Future[Message]] = {}
        self._inboxes = count(1)
        self._turns: Counter[str] = Counter()
        self._news = asyncio.Event()
        self.add_consumer(subjects.EVIDENCE, subjects.PARSE)

    # ── streams ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def add_consumer(self, stream: str, consumer: str) -> None:
        """Add a durable consumer beside EVIDENCE/parse, which is there from the start."""
        self._streams[stream].add_consumer(consumer, Consumer(*self._limits))

    def stored(self, stream: str) -> list[Message]:
        """What a stream holds now, oldest first."""
        return list(self._streams[stream].messages.values())

    def last(self, stream: str, subject: str) -> Message | None:
        """The newest stored message of a subject."""
        return next((m for m in reversed(self.stored(stream)) if m.subject == subject), None)

    def store(self, record: Record) -> None:
        """Store one record and show it to subscribers. Raises Unavailable if no stream takes it, or it is full."""
        message = self.message(record.subject, record.data, headers=record.headers)
        if not self._keep(message, record.message_id):
            raise Unavailable(f"no stream stores {record.subject}")
        self._show(message)

    def take(self, stream: str, consumer: str, batch: int) -> list[Message]:
        """The next messages of a consumer, possibly none. Raises Unavailable if there is no such consumer."""
        holder = self._streams.get(stream)
        if holder is None or consumer not in holder.consumers:
            raise Unavailable(f"stream {stream} has no consumer {consumer}")
        taken = holder.consumers[consumer].take(batch, self.clock())
        return [
            replace(holder.messages[seq], reply=f"$JS.ACK.{stream}.{consumer}.{seq}", attempt=attempt)
            for seq, attempt in taken
        ]

    def ack(self, reply: str) -> None:
        """Mark a delivered message as done."""
        _, _, stream, consumer, seq = reply.split(".")
        self._streams[stream].ack(consumer, int(seq))

    def retry_later(self, reply: str, seconds: float) -> None:
        """Deliver a message again after that time."""
        _, _, stream, consumer, seq = reply.split(".")
        self._streams[stream].consumers[consumer].retry(int(seq), self.clock() + seconds)

    def working(self, reply: str) -> None:
        """Let the time until a message is delivered again begin anew."""
        _, _, stream, consumer, seq = reply.split(".")
        self._streams[stream].consumers[consumer].extend(int(seq), self.clock())

    async def news(self) -> None:
        """Return after the next change, or shortly."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), _TICK)

    def tell(self) -> None:
        """Wake everybody who waits for news."""
        self._news.set()
        self._news = asyncio.Event()

    def _keep(self, message: Message, message_id: str) -> bool:
        for stream in self._streams.values():
            if any(subjects.matches(pattern, message.subject) for pattern in stream.patterns):
                stream.store(message, message_id, self.clock())
                self.tell()
                return True
        return False

    # ── messages ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def message(self, subject: str, data: bytes, *, reply: str = "", headers: Mapping[str, str] = {}) -> Message:
        """A message of now."""
        return Message(subject=subject, data=data, reply=reply, received_at=int(self.clock()), headers=dict(headers))

    def subscribe(self, subscription: Subscription) -> None:
        """Hand it messages from now on."""
        self._subscriptions.append(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Hand it nothing more."""
        self._subscriptions.remove(subscription)

    def send(self, message: Message) -> bool:
        """Send to whoever waits for the answer, to streams and to subscribers; False if there are none."""
        answer = self._answers.get(message.subject)
        if answer is not None and not answer.done():
            answer.set_result(message)
        kept = self._keep(message, "")
        return self._show(message) or kept or answer is not None

    async def request(self, message: Message, timeout: float) -> Message:  # noqa: ASYNC109 - a deadline of the protocol
        """Send with an inbox and wait for the answer. Raises Unavailable."""
        inbox = f"_INBOX.{next(self._inboxes)}"
        self._answers[inbox] = asyncio.get_running_loop().create_future()
        try:
            if not self.send(replace(message, reply=inbox)):
                raise Unavailable(f"nobody listens on {message.subject}")
            return await asyncio.wait_for(self._answers[inbox], timeout)
        except TimeoutError:
            raise Unavailable(f"no answer on {message.subject} within {timeout} s") from None
        finally:
            del self._answers[inbox]

    def _show(self, message: Message) -> bool:
        groups: dict[str, list[Subscription]] = {}
        for number, subscription in enumerate(self._subscriptions):
            if subjects.matches(subscription.pattern, message.subject):
                groups.setdefault(subscription.queue or f" {number}", []).append(subscription)
        for queue, members in groups.items():
            self._turns[queue] += 1
            members[self._turns[queue] % len(members)].hand(message)
        return bool(groups)

    # ── buckets ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def get(self, bucket: str, key: str) -> bytes | None:
        """Latest value of a key, unless the bucket forgot it. Raises Unavailable if there is no such bucket."""
        if bucket not in self._buckets:
            raise Unavailable(f"there is no bucket {bucket}")
        value, until = self._buckets[bucket].get(key, (None, 0.0))
        return value if self.clock() < until else None

    def put(self, bucket: str, key: str, value: bytes, seconds: float | None = None) -> None:
        """Set a key and tell those who watch it; it lives that long, or as long as the bucket says.

        Raises Unavailable if there is no such bucket.
        """
        self.get(bucket, key)
        lives = self._ttl.get(bucket, float("inf")) if seconds is None else seconds
        self._buckets[bucket][key] = (value, self.clock() + lives)
        for changes, (watched, pattern) in self._watches.items():
            if watched == bucket and subjects.matches(pattern, key):
                changes.put_nowait((key, value))

    def watch(self, bucket: str, pattern: str) -> Changes:
        """Present values, then changes. Raises Unavailable if there is no such bucket."""
        self.get(bucket, "")
        changes: Changes = asyncio.Queue()
        for key in self._buckets[bucket]:
            value = self.get(bucket, key)
            if value is not None and subjects.matches(pattern, key):
                changes.put_nowait((key, value))
        self._watches[changes] = (bucket, pattern)
        return changes

    def unwatch(self, changes: Changes) -> None:
        """End a watch: its reader gets None."""
        if self._watches.pop(changes, None):
            changes.put_nowait(None)
