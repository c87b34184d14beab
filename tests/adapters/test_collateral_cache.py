import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
from topologies import eventually

from attest_pipeline.adapters import collateral_cache
from attest_pipeline.adapters.collateral_cache import RENEW_SECONDS, CollateralCache
from attest_pipeline.collateral.exchange import Absent, Answer, Held, Later, decode_ask, encode_reply, name_of
from attest_pipeline.endorsing import Snapshot
from attest_pipeline.errors import Unavailable
from attest_pipeline.model import EndorsementKind, EndorsementRef
from attest_pipeline.ports import NOTHING, Found, Message
from attest_pipeline.subjects import COLLATERAL
from attest_pipeline.testing import InMemoryBroker, InMemoryBus

REF = EndorsementRef(item="crl", kind=EndorsementKind.AMD_CRL, key="milan")
NAME = name_of(REF)
START = 1_795_000_000.0
HELD = Held(documents=(b"crl",), valid_from=int(START) - 9, valid_until=int(START) + 9000, stale_at=int(START) + 5000)
CRL = Found(HELD.documents, stale=False, valid_from=HELD.valid_from)


class Office:
    """A collateral worker that answers what the test says, and the clock of both sides."""

    def __init__(self, bus: InMemoryBus) -> None:
        self.now = START
        self.answer: Callable[[str], Answer | None] = lambda _: HELD
        self.asked: list[str] = []
        self.limit = 10**6
        self.raw: bytes | None = None
        self._bus = bus

    def clock(self) -> float:
        return self.now

    async def receive(self, message: Message) -> None:
        ask = decode_ask(message.data)
        assert ask is not None
        names = [name_of(ref) for ref in ask.refs]
        self.asked += names
        answers = {name: answer for name in names if (answer := self.answer(name)) is not None}
        data = encode_reply(answers, self.limit) if self.raw is None else self.raw
        await self._bus.publish(message.reply, data)


@asynccontextmanager
async def open_office(*, serving: bool = True, max_bytes: int = 10**6) -> AsyncIterator[tuple[Office, CollateralCache]]:
    broker = InMemoryBroker(lambda: START)
    bus = InMemoryBus(broker)
    office = Office(bus)
    cache = CollateralCache(office.clock, max_bytes=max_bytes)
    if serving:
        await bus.serve(COLLATERAL, "collateral", office.receive)
    running = asyncio.create_task(cache.run(bus))
    try:
        yield office, cache
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await bus.drain()


async def arrived(cache: CollateralCache, ref: EndorsementRef = REF) -> Found:
    async with asyncio.timeout(5):
        while True:
            try:
                return cache.find(ref)
            except Unavailable:
                await cache.arrival(0.2)


async def test_what_is_wanted_is_there_when_it_is_looked_for_again() -> None:
    async with open_office() as (office, cache):
        with pytest.raises(Unavailable, match="not at hand"):
            cache.find(REF)
        assert await arrived(cache) == CRL
        assert office.asked == [NAME]


async def test_equal_wants_are_one_question() -> None:
    async with open_office() as (office, cache):
        for item in ("crl", "other"):
            with pytest.raises(Unavailable):
                cache.find(EndorsementRef(item=item, kind=REF.kind, key=REF.key))
        await arrived(cache)
        assert office.asked == [NAME]


async def test_the_tenants_own_documents_come_first() -> None:
    async with open_office() as (office, cache):
        source = cache.behind(Snapshot({NAME: ["d"]}, {"d": b"own"}))
        assert source.find(REF) == Found((b"own",), stale=False, valid_from=0)
        other = EndorsementRef(item="crl", kind=REF.kind, key="genoa")
        with pytest.raises(Unavailable):
            source.find(other)
        await arrived(cache, other)
        assert source.find(other) == CRL
        assert office.asked == ["amd-crl/genoa"]


async def test_that_there_is_none_is_believed_for_its_time() -> None:
    async with open_office() as (office, cache):
        office.answer = lambda _: Absent(60.0)
        assert await arrived(cache) == NOTHING
        office.now += 61
        with pytest.raises(Unavailable):
            cache.find(REF)


async def test_whoever_must_wait_is_told_how_long_and_the_worker_is_asked_again() -> None:
    async with open_office() as (office, cache):
        office.answer = lambda _: Later(300.0)
        with pytest.raises(Unavailable):
            cache.find(REF)
        await eventually(lambda: bool(office.asked), "the worker was not asked")
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable) as waiting:
            cache.find(REF)
        assert waiting.value.retry_after == pytest.approx(300.0)
        office.answer = lambda _: HELD
        office.now += 11
        assert await arrived(cache) == CRL


async def test_documents_are_renewed_behind_and_called_stale_in_time() -> None:
    async with open_office() as (office, cache):
        await arrived(cache)
        newer = msgspec.structs.replace(HELD, documents=(b"newer",))
        office.answer = lambda _: newer
        office.now += RENEW_SECONDS + 1
        assert cache.find(REF) == CRL, "what is at hand is used while it is renewed"
        await eventually(lambda: cache.find(REF).documents == (b"newer",), "it was not renewed")
        office.now = START + 6000
        assert cache.find(REF).stale


async def test_documents_that_have_ended_are_not_used() -> None:
    async with open_office() as (office, cache):
        await arrived(cache)
        office.now = HELD.valid_until
        with pytest.raises(Unavailable):
            cache.find(REF)


async def test_without_a_worker_what_is_at_hand_is_still_used() -> None:
    async with open_office() as (office, cache):
        await arrived(cache)
        office.raw = b"\xc1"
        office.now += RENEW_SECONDS + 1
        for _ in range(3):
            assert cache.find(REF) == CRL
            await asyncio.sleep(0.05)


async def test_without_a_worker_there_is_a_wait_and_no_end_of_the_process() -> None:
    async with open_office(serving=False) as (_, cache):
        with pytest.raises(Unavailable):
            cache.find(REF)
        await cache.arrival(0.1)
        with pytest.raises(Unavailable):
            cache.find(REF)


async def test_what_did_not_fit_into_the_answer_is_asked_for_again_at_once() -> None:
    async with open_office() as (office, cache):
        office.limit = 4
        refs = [EndorsementRef(item="crl", kind=REF.kind, key=key) for key in ("milan", "genoa", "turin")]
        for ref in refs:
            with pytest.raises(Unavailable):
                cache.find(ref)
        for ref in refs:
            assert await arrived(cache, ref) == CRL


async def test_the_memory_and_what_is_wanted_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collateral_cache, "_WANTED_MOST", 2)
    async with open_office(max_bytes=6) as (office, cache):
        refs = [EndorsementRef(item="crl", kind=REF.kind, key=f"k{number}") for number in range(5)]
        for ref in refs:
            with pytest.raises(Unavailable):
                cache.find(ref)
        await asyncio.sleep(0.05)
        assert sorted(office.asked) == ["amd-crl/k0", "amd-crl/k1"]
        for ref in refs:
            await arrived(cache, ref)
        assert _at_hand(cache, refs) == 2


def _at_hand(cache: CollateralCache, refs: Sequence[EndorsementRef]) -> int:
    return sum(cache._entries.peek(name_of(ref)) is not None for ref in refs)


async def test_who_wants_what_does_not_exist_keeps_nobody_from_another_vendors_collateral(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collateral_cache, "_WANTED_MOST", 2)
    async with open_office() as (office, cache):
        office.answer = lambda name: HELD if name.startswith("intel") else Later(600.0)
        for chip in range(4):
            with pytest.raises(Unavailable):
                cache.find(EndorsementRef(item="leaf", kind=EndorsementKind.AMD_LEAF, key=f"milan/{chip}"))
        await arrived(cache, EndorsementRef(item="collateral", kind=EndorsementKind.INTEL_DCAP, key="tdx/x/platform"))
        assert len(office.asked) == 3


async def test_what_nobody_wants_any_more_is_not_asked_for() -> None:
    async with open_office() as (office, cache):
        office.answer = lambda _: Later(5.0)
        with pytest.raises(Unavailable):
            cache.find(REF)
        await asyncio.sleep(0.05)
        office.now += 3601
        await asyncio.sleep(0.6)
        assert not any(cache._wanted.values())
