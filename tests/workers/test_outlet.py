import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from attest_pipeline.errors import Unavailable
from attest_pipeline.model import Context, Malfunction
from attest_pipeline.pipeline import Vouched
from attest_pipeline.ports import Record
from attest_pipeline.wire import Frame, Item
from workers._stage import Outlet, Versioned


class SlowBus:
    """Stores nothing until it is let; remembers everything in order."""

    def __init__(self) -> None:
        self.disk = asyncio.Semaphore(0)
        self.broken = False
        self.stored: list[list[str]] = []
        self.done: list[tuple[str, str]] = []

    async def store(self, records: Sequence[Record]) -> None:
        self.stored.append([record.subject.rpartition(".")[2] for record in records])
        await self.disk.acquire()
        if self.broken:
            raise Unavailable("the disk is full")

    async def publish(self, subject: str, _data: bytes) -> None:
        self.done.append(("answer", subject))

    async def ack(self, reply: str) -> None:
        self.done.append(("ack", reply))


class Configs:
    async def version(self, *_: str) -> None: ...


def _frame(*agents: str, ack: str = "ack", reply: str = "") -> Frame:
    return Frame("acme", "v1", tuple(_item(agent, ack, reply) for agent in agents))


def _item(agent: str, ack: str, reply: str) -> Item:
    context = Context(attestation_id=agent.encode(), tenant="acme", agent=agent, received_at=0, fresh=True)
    return Item(context, (Malfunction("snp", "internal", "made for a test"),), reply, ack)


@pytest.fixture
async def bus() -> SlowBus:
    return SlowBus()


@pytest.fixture
async def outlet(bus: SlowBus) -> AsyncIterator[Outlet]:
    configs: Any = Configs()
    stages: Any = Versioned(configs, lambda _: lambda frame: [Vouched(item, b"token") for item in frame.items])
    made = Outlet(bus, stages)  # type: ignore[arg-type]
    yield made
    for _ in range(1000):
        bus.disk.release()
    await made.drain()


async def test_what_is_signed_during_a_store_goes_with_the_next(bus: SlowBus, outlet: Outlet) -> None:
    for agent in ("a", "b", "c"):
        await outlet(_frame(agent))
        await asyncio.sleep(0)
    assert bus.stored == [["a"]]
    bus.disk.release()
    await asyncio.sleep(0.01)
    assert bus.stored == [["a"], ["b", "c"]]


async def test_evidence_is_acked_once_and_only_when_the_whole_frame_is_stored(bus: SlowBus, outlet: Outlet) -> None:
    agents = [f"agent{number}" for number in range(256)]
    await outlet(_frame("first"))
    for ack in ("one", "two"):
        await outlet(_frame(*agents, ack=ack, reply=f"reply.{ack}"))
        assert not bus.done
        bus.disk.release()
        bus.disk.release()
        await outlet.drain()
        assert bus.done.count(("ack", ack)) == 1
        assert bus.done.index(("ack", ack)) > bus.done.index(("answer", f"reply.{ack}"))
        bus.done.clear()
    assert bus.stored[-1] == agents


async def test_a_disk_that_is_far_behind_holds_the_pipeline_up(bus: SlowBus, outlet: Outlet) -> None:
    await outlet(_frame("first"))
    await asyncio.sleep(0)
    held = asyncio.create_task(outlet(_frame(*(f"agent{number}" for number in range(512)))))
    await asyncio.sleep(0.01)
    assert not held.done()
    bus.disk.release()
    bus.disk.release()
    await held


async def test_an_interactive_answer_waits_for_no_disk(bus: SlowBus, outlet: Outlet) -> None:
    await outlet(_frame("durable"))
    await outlet(_frame("asks", ack="", reply="inbox"))
    assert bus.done == [("answer", "inbox")]


async def test_results_that_are_not_stored_are_neither_answered_nor_acked(
    bus: SlowBus, outlet: Outlet, caplog: pytest.LogCaptureFixture
) -> None:
    bus.broken = True
    bus.disk.release()
    with caplog.at_level(logging.WARNING):
        await outlet(_frame("a", reply="inbox"))
        await outlet.drain()
    assert not bus.done
    assert "results left to redelivery" in caplog.text
    bus.broken = False
    bus.disk.release()
    await outlet(_frame("b"))
    await outlet.drain()
    assert bus.done == [("ack", "ack")]
