"""Streams and durable consumers in memory."""

from collections import Counter, deque
from itertools import count

from attest_pipeline.errors import Unavailable
from attest_pipeline.ports import Message


class Consumer:
    """A durable consumer: what was delivered and not acked comes again once its time is up."""

    def __init__(self, ack_wait: float, max_deliver: int) -> None:
        self._ack_wait = ack_wait
        self._max_deliver = max_deliver
        self._waiting: deque[int] = deque()
        self._due: dict[int, float] = {}
        self._attempts: Counter[int] = Counter()

    def add(self, seq: int) -> None:
        """Deliver a message, after those that wait already."""
        self._waiting.append(seq)

    def take(self, batch: int, now: float) -> list[tuple[int, int]]:
        """Sequence and attempt of up to `batch` messages; those whose time ran out come first."""
        overdue = [seq for seq, due in self._due.items() if due <= now and self._attempts[seq] < self._max_deliver]
        ready = overdue[:batch]
        while self._waiting and len(ready) < batch:
            ready.append(self._waiting.popleft())
        for seq in ready:
            self._attempts[seq] += 1
            self._due[seq] = now + self._ack_wait
        return [(seq, self._attempts[seq]) for seq in ready]

    def ack(self, seq: int) -> None:
        """Never deliver that message again."""
        self._due.pop(seq, None)

    def retry(self, seq: int, at: float) -> None:
        """Deliver that message again at that time, if it is not acked."""
        if seq in self._due:
            self._due[seq] = at

    def extend(self, seq: int, now: float) -> None:
        """Let that message's time until redelivery begin anew, if it is not acked."""
        self.retry(seq, now + self._ack_wait)


class Stream:
    """Stored messages of some subjects. A work queue forgets a message once its consumer acked it."""

    def __init__(self, patterns: tuple[str, ...], *, work_queue: bool, window: float, capacity: int | None) -> None:
        self.patterns = patterns
        self.messages: dict[int, Message] = {}
        self.consumers: dict[str, Consumer] = {}
        self._work_queue = work_queue
        self._window = window
        self._capacity = capacity
        self._ids: dict[str, float] = {}
        self._numbers = count(1)

    def store(self, message: Message, message_id: str, now: float) -> None:
        """Store a message unless one of that id came within the window. Raises Unavailable if the stream is full."""
        if message_id and now - self._ids.get(message_id, float("-inf")) < self._window:
            return
        if self._capacity is not None and len(self.messages) >= self._capacity:
            raise Unavailable("the stream is full: maximum messages exceeded")
        seq = next(self._numbers)
        self.messages[seq] = message
        self._ids[message_id] = now
        for consumer in self.consumers.values():
            consumer.add(seq)

    def add_consumer(self, name: str, consumer: Consumer) -> None:
        """Deliver what is stored, and everything to come, to a new consumer; one of that name is kept."""
        if name not in self.consumers:
            self.consumers[name] = consumer
            for seq in self.messages:
                consumer.add(seq)

    def ack(self, consumer: str, seq: int) -> None:
        """Note that a consumer is done with a message."""
        self.consumers[consumer].ack(seq)
        if self._work_queue:
            self.messages.pop(seq, None)
