"""Load on a running stack: a simulated fleet that publishes Evidence by any lane and times its results."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from attest_pipeline import subjects, wire
from attest_pipeline.errors import Unavailable
from attest_pipeline.model import EvidenceCollection
from attest_pipeline.ports import Bus, Message, Record
from attest_pipeline.subjects import Lane

CHUNK: Final = 64
_STORES_AT_ONCE: Final = 8
_STALL_SECONDS: Final = 60.0


class Prepared(NamedTuple):
    """One agent's Evidence, encoded before the clock starts."""

    agent: str
    data: bytes
    message_id: str


def prepare(tenant: str, collections: Iterable[tuple[str, EvidenceCollection]]) -> list[Prepared]:
    """Encode what the agents will publish."""
    return [
        Prepared(agent, wire.encode(collection), wire.attestation_id(tenant, agent, collection).hex())
        for agent, collection in collections
    ]


Store = Callable[[Sequence[Prepared]], Coroutine[None, None, None]]


class Load:
    """One run: every agent publishes once; results are met on the tenant's result subjects."""

    def __init__(self, bus: Bus) -> None:
        """`bus` is connected as the tenant's fleet user."""
        self._bus = bus
        self._sent: dict[str, float] = {}
        self._news = asyncio.Event()
        self.tokens: dict[str, bytes] = {}
        self.seconds: list[float] = []

    async def listen(self) -> None:
        """Hear results from now on."""
        await self._bus.serve(subjects.view(Lane.RESULT), "", self._receive)

    async def durable(self, prepared: Sequence[Prepared], *, window: int) -> float:
        """Publish each Evidence alone, at most `window` unanswered; seconds until the last result."""
        return await self._run(prepared, window, self._store_singly)

    async def frames(self, prepared: Sequence[Prepared], *, window: int, gateway: str = "gateway") -> float:
        """Publish through a gateway, CHUNK Evidences a message; seconds until the last result."""

        async def store(chunk: Sequence[Prepared]) -> None:
            entries = tuple(
                msgspec.Raw(wire.encode(wire.BatchEntry(one.agent, wire.decode_collection(one.data)))) for one in chunk
            )
            record = Record(
                subject=subjects.view(Lane.BATCH, gateway),
                data=wire.encode(wire.EvidenceBatch(entries)),
                message_id=f"batch-{chunk[0].message_id}",
            )
            await self._bus.store([record])

        return await self._run(prepared, window, store)

    async def interactive(self, prepared: Sequence[Prepared]) -> float:
        """Ask for one verdict after the other; seconds for all."""
        began = time.perf_counter()
        for one in prepared:
            asked = time.perf_counter()
            answer = await self._bus.request(subjects.view(Lane.VERIFY, one.agent), one.data, timeout=10.0)
            self.seconds.append(time.perf_counter() - asked)
            self.tokens[one.agent] = answer.data
        return time.perf_counter() - began

    async def _store_singly(self, chunk: Sequence[Prepared]) -> None:
        await self._bus.store(
            [
                Record(subject=subjects.view(Lane.EVIDENCE, one.agent), data=one.data, message_id=one.message_id)
                for one in chunk
            ]
        )

    async def _run(self, prepared: Sequence[Prepared], window: int, store: Store) -> float:
        began = time.perf_counter()
        storing: set[asyncio.Task[None]] = set()
        for start in range(0, len(prepared), CHUNK):
            chunk = prepared[start : start + CHUNK]
            await self._until(start - window + CHUNK)
            if len(storing) >= _STORES_AT_ONCE:
                done, storing = await asyncio.wait(storing, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.gather(*done)
            now = time.perf_counter()
            self._sent.update((one.agent, now) for one in chunk)
            storing.add(asyncio.create_task(store(chunk)))
        await asyncio.gather(*storing)
        await self._until(len(prepared))
        return time.perf_counter() - began

    async def _until(self, results: int) -> None:
        """Wait for that many results. Raises Unavailable if nothing comes any more."""
        while len(self.tokens) < results:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), _STALL_SECONDS)
            except TimeoutError:
                raise Unavailable(f"{len(self.tokens)} of {results} results, and no more") from None

    async def _receive(self, message: Message) -> None:
        agent = message.subject[message.subject.rindex(".") + 1 :]
        if agent in self._sent and agent not in self.tokens:
            self.tokens[agent] = message.data
            self.seconds.append(time.perf_counter() - self._sent[agent])
            self._news.set()
