"""Load on a running stack: a simulated fleet that publishes Evidence by any lane and times its results."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from attest_pipeline import subjects, wire
from attest_pipeline.adapters.nats_config import FLEET
from attest_pipeline.adapters.site import Site
from attest_pipeline.attester.client import Agent
from attest_pipeline.errors import Unavailable
from attest_pipeline.freshness import Tick
from attest_pipeline.jws import Jwks
from attest_pipeline.model import EvidenceCollection
from attest_pipeline.ports import Bus, Message, Record
from attest_pipeline.subjects import Lane

CHUNK: Final = 64
GATEWAY: Final = "gateway"
_STORES_AT_ONCE: Final = 8
_STALL_SECONDS: Final = 60.0
_BELL_SECONDS: Final = 10.0


class Prepared(NamedTuple):
    """One agent's Evidence, encoded before the clock starts."""

    agent: str
    data: bytes
    message_id: str


class _Chunk(NamedTuple):
    """What is stored together: the agents whose Evidence it is, and one record for each or one for all."""

    agents: list[str]
    records: list[Record]


def prepare(tenant: str, collections: Iterable[tuple[str, EvidenceCollection]]) -> list[Prepared]:
    """Encode what the agents will publish."""
    return [
        Prepared(agent, wire.encode(collection), wire.attestation_id(tenant, agent, collection).hex())
        for agent, collection in collections
    ]


async def last_tick(bus: Bus, site: Site, tenant: str) -> Tick:
    """The newest tick of the tenant's bell, once it has rung. Raises Unavailable."""
    keys = msgspec.json.decode(site.bell_jwks.read_bytes(), type=Jwks).keys
    listener = Agent(bus, tenant, FLEET)
    deadline = time.monotonic() + _BELL_SECONDS
    while True:
        try:
            return await listener.tick(keys, 1.0)
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)


class Load:
    """A fleet of which every agent publishes once; results are met on the tenant's result subjects.

    `tokens` are the results by agent, `seconds` the times from publishing to result, both since `forget`.
    """

    def __init__(self, bus: Bus) -> None:
        """`bus` is connected as the tenant's fleet user."""
        self._bus = bus
        self._sent: dict[str, float] = {}
        self._news = asyncio.Event()
        self._wanted = 0
        self.tokens: dict[str, bytes] = {}
        self.seconds: list[float] = []

    async def listen(self) -> None:
        """Hear results from now on."""
        await self._bus.serve(subjects.view(Lane.RESULT), "", self._receive)

    def forget(self) -> None:
        """Start another run, with other agents."""
        self._sent.clear()
        self.tokens.clear()
        self.seconds.clear()

    async def durable(self, prepared: Sequence[Prepared], *, window: int) -> float:
        """Publish each Evidence alone, at most `window` unanswered; seconds until the last result."""
        return await self._run(_chunks(prepared, _singly), window)

    async def frames(self, prepared: Sequence[Prepared], *, window: int) -> float:
        """Publish through a gateway, CHUNK Evidences a message; seconds until the last result."""
        return await self._run(_chunks(prepared, _together), window)

    async def interactive(self, prepared: Sequence[Prepared]) -> float:
        """Ask for one verdict after the other; seconds for all."""
        began = time.perf_counter()
        for one in prepared:
            asked = time.perf_counter()
            answer = await self._bus.request(subjects.view(Lane.VERIFY, one.agent), one.data, timeout=10.0)
            self.seconds.append(time.perf_counter() - asked)
            self.tokens[one.agent] = answer.data
        return time.perf_counter() - began

    async def _run(self, chunks: Sequence[_Chunk], window: int) -> float:
        began = time.perf_counter()
        storing: set[asyncio.Task[None]] = set()
        published = 0
        for chunk in chunks:
            published += len(chunk.agents)
            await self._until(published - window)
            if len(storing) >= _STORES_AT_ONCE:
                done, storing = await asyncio.wait(storing, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.gather(*done)
            self._sent.update(dict.fromkeys(chunk.agents, time.perf_counter()))
            storing.add(asyncio.create_task(self._bus.store(chunk.records)))
        await asyncio.gather(*storing)
        await self._until(published)
        return time.perf_counter() - began

    async def _until(self, results: int) -> None:
        """Wait for that many results. Raises Unavailable if nothing comes any more."""
        self._wanted = results
        while len(self.tokens) < results:
            seen = len(self.tokens)
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), _STALL_SECONDS)
            except TimeoutError:
                if len(self.tokens) == seen:
                    raise Unavailable(f"{seen} of {results} results, and no more") from None

    async def _receive(self, message: Message) -> None:
        agent = message.subject[message.subject.rindex(".") + 1 :]
        if agent in self._sent and agent not in self.tokens:
            self.tokens[agent] = message.data
            self.seconds.append(time.perf_counter() - self._sent[agent])
            if len(self.tokens) >= self._wanted:
                self._news.set()


def _chunks(prepared: Sequence[Prepared], records: Callable[[Sequence[Prepared]], list[Record]]) -> list[_Chunk]:
    parts = (prepared[start : start + CHUNK] for start in range(0, len(prepared), CHUNK))
    return [_Chunk([one.agent for one in part], records(part)) for part in parts]


def _singly(part: Sequence[Prepared]) -> list[Record]:
    return [
        Record(subject=subjects.view(Lane.EVIDENCE, one.agent), data=one.data, message_id=one.message_id)
        for one in part
    ]


def _together(part: Sequence[Prepared]) -> list[Record]:
    entries = [wire.BatchEntry(one.agent, wire.decode_collection(one.data)) for one in part]
    return [
        Record(
            subject=subjects.view(Lane.BATCH, GATEWAY),
            data=wire.encode_batch(entries),
            message_id=f"batch-{part[0].message_id}",
        )
    ]
