"""The bus of one process on a broker in memory."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from msgspec.structs import replace

from attest_pipeline import subjects
from attest_pipeline.errors import NotFound, Unavailable
from attest_pipeline.ports import Message, Record
from attest_pipeline.testing.broker import Changes, Handler, InMemoryBroker, Subscription


class InMemoryBus:
    """`ports.Bus` in memory. With a `tenant` it is a client in that tenant's account and speaks its subjects."""

    def __init__(self, broker: InMemoryBroker, tenant: str = "") -> None:
        self._broker = broker
        self._imports = [(i.to, i.subject) for i in subjects.imports(tenant)] if tenant else []
        self._subscriptions: list[Subscription] = []
        self._watches: list[Changes] = []
        self._stopped = False
        self._drained = False

    @property
    def connected(self) -> bool:
        """Whether it was not drained."""
        return not self._drained

    async def publish(self, subject: str, data: bytes, *, reply: str = "", headers: Mapping[str, str] = {}) -> None:
        """Send at most once."""
        self._connected().send(self._broker.message(self._inside(subject), data, reply=reply, headers=headers))

    async def request(self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] = {}) -> Message:  # noqa: ASYNC109 - a deadline of the protocol
        """Send and wait for one reply; the last stored message of a subject is asked for as on the real server."""
        inside = self._inside(subject)
        match inside.split(".", 5):
            case ["$JS", "API", "DIRECT", "GET", stream, stored]:
                found = self._connected().last(stream, stored)
                if found is None:
                    raise NotFound(f"there is nothing on {subject}")
                return found
        return await self._connected().request(self._broker.message(inside, data, headers=headers), timeout)

    async def serve(self, subject: str, queue: str, handler: Handler) -> None:
        """Hand every message of the subject to the handler, one at a time."""

        async def renamed(message: Message) -> None:
            await handler(replace(message, subject=self._outside(message.subject)))

        subscription = Subscription(self._inside(subject), queue, renamed if self._imports else handler)
        self._connected().subscribe(subscription)
        self._subscriptions.append(subscription)

    async def store(self, records: Sequence[Record]) -> None:
        """Store all records, or none again that is stored."""
        for record in records:
            self._connected().store(replace(record, subject=self._inside(record.subject)))

    async def pull(self, stream: str, consumer: str, *, batch: int) -> AsyncIterator[list[Message]]:
        """Stored messages of a durable consumer until the bus stops."""
        while not self._stopped:
            messages = self._broker.take(stream, consumer, batch)
            if messages:
                yield messages
            else:
                await self._broker.news()

    async def ack(self, reply: str) -> None:
        """Say that a stored message is done."""
        self._connected().ack(reply)

    async def retry_later(self, reply: str, seconds: float) -> None:
        """Ask for a stored message again after that many seconds."""
        self._connected().retry_later(reply, seconds)

    async def working(self, reply: str) -> None:
        """Say that a stored message is still being worked on: its time until redelivery begins anew."""
        self._connected().working(reply)

    async def get(self, bucket: str, key: str) -> bytes | None:
        """Latest value of a key."""
        return self._connected().get(bucket, key)

    async def put(self, bucket: str, key: str, value: bytes, *, seconds: int | None = None) -> None:
        """Set a key, for good or until it is forgotten after that many seconds."""
        self._connected().put(bucket, key, value, seconds)

    async def create(self, bucket: str, key: str, value: bytes) -> bytes | None:
        """Set a key that has no value yet and return None, or return the value it has."""
        present = self._connected().get(bucket, key)
        if present is None:
            self._broker.put(bucket, key, value)
        return present

    async def watch(self, bucket: str, pattern: str) -> AsyncIterator[tuple[str, bytes]]:
        """Present keys and values that match, then every change, until the bus stops."""
        changes = self._connected().watch(bucket, pattern)
        self._watches.append(changes)
        try:
            while (change := await changes.get()) is not None:
                yield change
        finally:
            self._broker.unwatch(changes)

    async def stop(self) -> None:
        """End pulls, watches and subscriptions once their handlers are done; sending still works."""
        self._stopped = True
        self._broker.tell()
        for changes in self._watches:
            self._broker.unwatch(changes)
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            self._broker.unsubscribe(subscription)
        for subscription in subscriptions:
            await subscription.close()

    async def drain(self) -> None:
        """Stop, then disconnect."""
        await self.stop()
        self._drained = True

    def _connected(self) -> InMemoryBroker:
        if self._drained:
            raise Unavailable("the bus is drained")
        return self._broker

    def _inside(self, subject: str) -> str:
        return _translated(subject, self._imports)

    def _outside(self, subject: str) -> str:
        return _translated(subject, [(inside, outside) for outside, inside in self._imports])


def _translated(subject: str, table: Iterable[tuple[str, str]]) -> str:
    """The subject on the other side of the first pair of patterns that fits; both end in the same wildcard, or none."""
    for here, there in table:
        if subjects.matches(here, subject):
            return there.rstrip("*>") + subject[len(here.rstrip("*>")) :]
    return subject
