"""The epoch bell: rings once an epoch for each tenant, and keeps its ticks over a restart."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from topologies import eventually

from attest_pipeline import subjects
from attest_pipeline.adapters.config_store import ConfigStore
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.errors import Misconfigured, Unavailable
from attest_pipeline.freshness import Tick, decode_marker
from attest_pipeline.ports import Message
from attest_pipeline.testing import InMemoryBroker, InMemoryBus
from workers import bell
from workers._process import Process
from workers._settings import Settings

PERIOD = 300
START = 1_795_000_200
"""A moment at which an epoch begins."""


class Tower:
    """A bell on a broker in memory, and the time."""

    def __init__(self, key: Path) -> None:
        self.now = float(START)
        self.signer = FileSigner.ensure(key)
        self.broker = InMemoryBroker(lambda: self.now)
        self.bus = InMemoryBus(self.broker)

    def process(self, **settings: object) -> Process:
        fixed = {"tenants": "acme,other", "epoch_seconds": PERIOD}
        return Process(
            settings=Settings(**{**fixed, **settings}),  # type: ignore[arg-type]
            bus=self.bus,
            configs=ConfigStore(self.bus),
            stopping=asyncio.Event(),
            clock=lambda: self.now,
        )

    async def ring(self, now: float, tenant: str = "acme", signer: FileSigner | None = None) -> dict[int, Tick]:
        """Ring at a time, and return the ticks of the last marker."""
        self.now = now
        await bell.ring(self.process(), signer or self.signer, tenant, int(now), PERIOD)
        return self.ticks(tenant, signer)

    def ticks(self, tenant: str = "acme", signer: FileSigner | None = None) -> dict[int, Tick]:
        marker = self.broker.stored(subjects.EPOCHS)[-1]
        return decode_marker(marker.data, [(signer or self.signer).public_jwk()], tenant)


@pytest.fixture
async def tower(tmp_path: Path) -> AsyncIterator[Tower]:
    tower = Tower(tmp_path / "bell.pem")
    yield tower
    await tower.bus.drain()


async def test_a_tick_is_open_for_its_epoch_and_the_next_to_the_second(tower: Tower) -> None:
    ((epoch, tick),) = (await tower.ring(START + 7)).items()
    assert epoch == START // PERIOD
    assert (tick.not_before, tick.not_after) == (START, START + 2 * PERIOD - 1)
    assert len(tick.tick) == 32


async def test_a_bell_that_starts_again_in_the_same_epoch_keeps_its_tick(tower: Tower) -> None:
    assert await tower.ring(START + 7) == await tower.ring(START + 290)
    assert len(tower.broker.stored(subjects.EPOCHS)) == 1


async def test_each_epoch_and_each_tenant_has_a_tick_of_its_own(tower: Tower) -> None:
    first, second = await tower.ring(START), await tower.ring(START, "other")
    third = await tower.ring(START + PERIOD)
    ticks = {tick.tick for ticks in (first, second, third) for tick in ticks.values()}
    assert len(ticks) == 3


async def test_a_marker_carries_the_ticks_that_queued_evidence_may_need(tower: Tower) -> None:
    for number in range(20):
        ticks = await tower.ring(START + number * PERIOD)
    assert sorted(ticks) == list(range(START // PERIOD + 8, START // PERIOD + 20))


async def test_a_bell_whose_clock_was_set_back_rings_the_epoch_of_now(tower: Tower) -> None:
    day = 86_400 // PERIOD
    for number in range(day, day + 20):
        await tower.ring(START + number * PERIOD)
    assert max(await tower.ring(START)) == START // PERIOD
    assert max(await tower.ring(START + PERIOD)) == START // PERIOD + 1


async def test_a_clock_that_was_set_back_by_a_little_makes_no_second_tick_for_an_epoch(tower: Tower) -> None:
    before = await tower.ring(START)
    await tower.ring(START - 2)
    assert (await tower.ring(START))[START // PERIOD] == before[START // PERIOD]


async def test_a_bell_with_a_new_key_starts_anew_and_says_so(
    tower: Tower, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = await tower.ring(START)
    with caplog.at_level(logging.WARNING):
        new = await tower.ring(START, signer=FileSigner.ensure(tmp_path / "new.pem"))
    assert "last epoch marker ignored" in caplog.text
    assert {tick.tick for tick in old.values()}.isdisjoint(tick.tick for tick in new.values())


async def test_the_bell_rings_for_every_tenant_until_it_is_told_to_stop(tower: Tower, tmp_path: Path) -> None:
    process = tower.process(bell_key=tmp_path / "bell.pem", epoch_seconds=1)
    running = asyncio.create_task(bell.run(process))
    await eventually(lambda: len(tower.broker.stored(subjects.EPOCHS)) >= 2, "no bell")
    assert {message.subject for message in tower.broker.stored(subjects.EPOCHS)} == {"epoch.acme", "epoch.other"}
    tower.now += 1
    await eventually(lambda: len(tower.broker.stored(subjects.EPOCHS)) >= 4, "it rang once only")
    process.stopping.set()
    await asyncio.wait_for(running, 1.0)


@pytest.mark.parametrize("settings", [{"tenants": ""}, {"tenants": ","}])
async def test_a_bell_without_tenants_is_misconfigured(tower: Tower, tmp_path: Path, settings: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match="ATTEST_TENANTS"):
        await bell.run(tower.process(bell_key=tmp_path / "bell.pem", **settings))


async def test_a_server_that_does_not_answer_is_no_tenant_without_a_marker(
    tower: Tower, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await tower.ring(START)
    request = tower.bus.request

    async def slow(*_: Any, **__: Any) -> Message:
        raise Unavailable("no answer within 5 s")

    monkeypatch.setattr(tower.bus, "request", slow)
    with pytest.raises(Unavailable):
        await tower.ring(START + 1)
    monkeypatch.setattr(tower.bus, "request", request)
    assert await tower.ring(START + 2) == before
