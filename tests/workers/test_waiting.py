import asyncio
from collections.abc import Sequence

import pytest
from topologies import eventually

from attest_pipeline.adapters.collateral_cache import CollateralCache
from attest_pipeline.errors import BadEvidence, Reason, Unavailable
from attest_pipeline.pipeline import Submission
from attest_pipeline.testing import InMemoryBroker, InMemoryBus
from workers import _waiting
from workers._waiting import BACK_SECONDS, DURABLE_SECONDS, INTERACTIVE_SECONDS, WaitingRoom


class Told(InMemoryBus):
    """A bus that remembers what it was told of stored messages, and may fail."""

    def __init__(self, broker: InMemoryBroker) -> None:
        super().__init__(broker)
        self.said: list[tuple[str, float]] = []
        self.fails = False

    async def retry_later(self, reply: str, seconds: float) -> None:
        self._say(reply, seconds)

    async def working(self, reply: str) -> None:
        self._say(reply, 0.0)

    def _say(self, reply: str, seconds: float) -> None:
        if self.fails:
            raise Unavailable("gone")
        self.said.append((reply, seconds))


class Room:
    """A waiting room on a clock that the test turns, and what its judge was given."""

    def __init__(self) -> None:
        self.now = 0.0
        self.bus = Told(InMemoryBroker(lambda: self.now))
        self.judged: list[tuple[str, list[Submission]]] = []
        self.room = WaitingRoom(self.bus, CollateralCache(lambda: self.now), self.judge, lambda: self.now)
        self.stays = True

    async def judge(self, tenant: str, submissions: Sequence[Submission]) -> None:
        self.judged.append((tenant, list(submissions)))
        if self.stays:
            self.room.admit(tenant, [one for one in submissions if not one.last_attempt])

    async def look(self) -> None:
        guests, self.room._guests = self.room._guests, {}
        await self.room._release(guests)


def submission(ack: str = "", reply: str = "") -> Submission:
    return Submission("a", BadEvidence(Reason.EMPTY, ""), b"", 0, reply=reply, ack=ack)


async def test_submissions_of_a_message_wait_together_and_tenants_apart() -> None:
    one = Room()
    assert one.room.admit("t1", [submission("1"), submission("1"), submission("2")]) == []
    one.room.admit("t2", [submission("3")])
    await one.look()
    assert [(tenant, len(found)) for tenant, found in one.judged] == [("t1", 3), ("t2", 1)]


async def test_whoever_asked_waits_two_seconds_and_is_then_told() -> None:
    one = Room()
    one.room.admit("t", [submission(reply="inbox")])
    one.now = INTERACTIVE_SECONDS - 0.1
    await one.look()
    one.now = INTERACTIVE_SECONDS
    await one.look()
    assert [found[0].last_attempt for _, found in one.judged] == [False, True]
    assert not one.room._guests


async def test_a_delivery_that_has_waited_long_goes_back_to_the_stream() -> None:
    one = Room()
    one.room.admit("t", [submission("ack")])
    one.now = DURABLE_SECONDS - 1
    await one.look()
    assert len(one.judged) == 1
    one.now = DURABLE_SECONDS
    await one.look()
    assert one.bus.said == [("ack", BACK_SECONDS)]
    assert len(one.judged) == 1


async def test_there_are_so_many_places_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_waiting, "PLACES", 2)
    left = Room().room.admit("t", [submission(ack) for ack in "12345"])
    assert [one.ack for one in left] == ["3", "4", "5"]


async def test_the_broker_is_told_that_what_waits_is_worked_on_and_a_deaf_one_ends_nothing() -> None:
    one = Room()
    one.room.admit("t", [submission("ack"), submission(reply="inbox")])
    await one.room._extend()
    assert one.bus.said == [("ack", 0.0)]
    one.bus.fails = True
    await one.room._extend()


async def test_a_judge_that_cannot_judge_leaves_it_to_redelivery(caplog: pytest.LogCaptureFixture) -> None:
    one = Room()

    async def unavailable(_tenant: str, _submissions: Sequence[Submission]) -> None:
        raise Unavailable("no broker")

    room = WaitingRoom(one.bus, CollateralCache(lambda: 0.0), unavailable, lambda: 0.0)
    room.admit("t", [submission("ack")])
    guests, room._guests = room._guests, {}
    await room._release(guests)
    assert "left to redelivery" in caplog.text


async def test_it_runs_until_it_is_cancelled() -> None:
    one = Room()
    one.room.admit("t", [submission(reply="inbox")])
    running = asyncio.create_task(one.room.run())
    one.now = INTERACTIVE_SECONDS
    await eventually(lambda: bool(one.judged), "it was not judged")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
