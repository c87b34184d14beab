"""Whatever is killed, every Evidence has one result; and a pipeline that acks too early fails the same test."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

import pytest
from bus_client import Client, details, over_tick, record
from msgspec.structs import replace
from topologies import QUICK, TENANT, OnNats, eventually, in_memory, on_nats, settings_of

from attest_pipeline import subjects
from attest_pipeline.adapters.config_store import ConfigStore
from attest_pipeline.adapters.site import Site
from attest_pipeline.ear import Status
from attest_pipeline.errors import Reason, Unavailable
from attest_pipeline.freshness import Tick
from attest_pipeline.ports import Record
from attest_pipeline.simulator.device import Vendor
from attest_pipeline.testing import InMemoryBroker, InMemoryBus
from attest_pipeline.wire import Frame
from workers import match, parse
from workers._process import Process, run_until_stopped
from workers._stage import Handoff, forward

EVIDENCES = 2000
LOAD_SECONDS = 8.0
STAGES = ("parse", "match", "appraise", "sign")
CHUNK = 20


@pytest.fixture
def seed() -> int:
    """Chance of this run; `SEED=n` repeats it."""
    return int(os.environ.get("SEED", random.SystemRandom().getrandbits(32)))


def _records(vendors: Sequence[Vendor], tick: Tick, count: int) -> Iterator[Record]:
    """Evidence of that many agents, of TEEs whose devices bring their certificates along."""
    usable = [vendor for vendor in vendors if vendor.tee in {"snp", "tdx"}]
    for number in range(count):
        agent = f"agent-{number}"
        yield record(agent, over_tick(agent, tick, (usable[number % len(usable)], number % 50)))


# ── on a real nats-server ─────────────────────────────────────────────────────────────────────────────────────────────
async def _publish(client: Client, records: Sequence[Record], seconds: float) -> None:
    """Store everything, evenly over that time; what is not acked is stored again, as an agent does."""
    began = time.monotonic()
    for start in range(0, len(records), CHUNK):
        await asyncio.sleep(max(0.0, began + seconds * start / len(records) - time.monotonic()))
        await _stored(client, records[start : start + CHUNK])


async def _stored(client: Client, records: Sequence[Record]) -> None:
    while True:
        try:
            return await client.bus.store(records)
        except Unavailable:
            await asyncio.sleep(0.2)


async def _kill_everything(deployment: OnNats, chance: random.Random) -> None:
    """Kill each stage and the server once, at random moments of the load and in random order."""
    victims = chance.sample([*STAGES, "nats-server"], k=len(STAGES) + 1)
    moments = sorted(chance.uniform(0.3, LOAD_SECONDS - 0.3) for _ in victims)
    for pause, victim in zip(_differences(moments), victims, strict=True):
        await asyncio.sleep(pause)
        if victim == "nats-server":
            await deployment.stack.broker.kill()
            await deployment.stack.broker.start()
        else:
            deployment.worker(victim).kill()


def _differences(moments: Sequence[float]) -> list[float]:
    return [later - earlier for earlier, later in zip([0.0, *moments], moments, strict=False)]


@pytest.mark.integration
async def test_every_evidence_has_exactly_one_result_though_every_process_is_killed(
    site: Site, vendors: Sequence[Vendor], seed: int
) -> None:
    async with on_nats(site, STAGES, sync_always=True) as deployment:
        client = await Client.join(deployment)
        records = list(_records(vendors, await client.tick(), EVIDENCES))
        killing = asyncio.create_task(_kill_everything(deployment, random.Random(seed)))
        await _publish(client, records, LOAD_SECONDS)
        await killing
        counts = await deployment.settled()
        assert sorted(counts.values()) == [1] * EVIDENCES, f"SEED={seed}"
        statuses = {client.checked(await deployment.last(subjects.RESULTS, subject)).status for subject in counts}
        assert statuses == {Status.AFFIRMING}, f"SEED={seed}"
        assert {name.split("-")[0] for name in deployment.deaths()} == set(STAGES), f"SEED={seed}"


@pytest.mark.integration
async def test_a_redelivered_evidence_gives_the_same_bytes_and_one_stored_result(
    site: Site, vendors: Sequence[Vendor]
) -> None:
    async with on_nats(site, STAGES) as deployment:
        client = await Client.join(deployment)
        records = list(_records(vendors, await client.tick(), 3))
        sign = deployment.worker("sign").pid
        os.kill(sign, signal.SIGSTOP)
        await client.bus.store(records)
        await asyncio.sleep(1.2 * QUICK.ack_waits[0])  # now each Evidence is on its way a second time
        os.kill(sign, signal.SIGCONT)
        for number in range(len(records)):
            assert await client.token(f"agent-{number}") == await client.token(f"agent-{number}")
        assert set((await deployment.settled()).values()) == {1}


@pytest.mark.integration
async def test_an_outage_that_outlasts_every_attempt_ends_in_results(site: Site, vendors: Sequence[Vendor]) -> None:
    impatient = replace(QUICK, ack_waits=(0.3,))
    async with on_nats(site, STAGES, provisioning=impatient) as deployment:
        client = await Client.join(deployment)
        records = list(_records(vendors, await client.tick(), 3))
        sign = deployment.worker("sign")
        await sign.stop()
        await client.bus.store(records)
        await asyncio.sleep(10 * impatient.ack_waits[0])  # more deliveries than Evidence has attempts
        await sign.start()
        assert sorted((await deployment.settled()).values()) == [1] * len(records)
        assert {
            details(client.checked(await client.token(f"agent-{number}"))).reason for number in range(len(records))
        } == {Reason.DELIVERIES_EXHAUSTED}
        assert sorted((await deployment.counts(subjects.DEAD)).values()) == [1] * len(records)


# ── the control, in memory ────────────────────────────────────────────────────────────────────────────────────────────
def _acking_early(bus: InMemoryBus) -> Handoff:
    """What the pipeline must not do: parse acks what it has handed on, before there is a result."""
    hand_on = forward(bus, subjects.STAGE_CLAIMS)

    async def handoff(frame: Frame) -> None:
        await hand_on(frame)
        for item in frame.items:
            await bus.ack(item.ack)

    return handoff


def _acking_late(bus: InMemoryBus) -> Handoff:
    return forward(bus, subjects.STAGE_CLAIMS)


class _Mortal:
    """One worker kind as a task that can be killed: what it was handed is gone."""

    def __init__(self, site: Site, broker: InMemoryBroker, run: Callable[[Process], Awaitable[None]]) -> None:
        self._broker = broker
        self.bus = InMemoryBus(broker)
        self._stopping = asyncio.Event()
        configs = ConfigStore(self.bus)
        process = Process(settings=settings_of(site), bus=self.bus, configs=configs, stopping=self._stopping)
        self._task = asyncio.create_task(run_until_stopped(process, run))

    def kill(self) -> None:
        while self.bus._subscriptions:
            subscription = self.bus._subscriptions.pop()
            self._broker.unsubscribe(subscription)
            subscription._task.cancel()

    async def end(self) -> None:
        self._stopping.set()
        await self._task


async def _lost(site: Site, records: Sequence[Record], handoff: Callable[[InMemoryBus], Handoff]) -> int:
    """Evidence without a result after match was killed in the middle of a load."""
    async with in_memory(settings_of(site), ("appraise", "sign"), ack_wait=0.5) as broker:
        first = _Mortal(site, broker, match.run)
        parsing = _Mortal(site, broker, lambda process: parse.run(process, handoff(InMemoryBus(broker))))
        fleet = InMemoryBus(broker, TENANT)
        for number, one in enumerate(records):
            if number == len(records) // 3:
                first.kill()
            if number == 2 * len(records) // 3:
                second = _Mortal(site, broker, match.run)
            await fleet.store([one])
            await asyncio.sleep(0.002)
        await eventually(lambda: not broker.stored(subjects.EVIDENCE), "Evidence was not acked")
        for mortal in (first, second, parsing):
            await mortal.end()
        return len(records) - len(broker.stored(subjects.RESULTS))


async def test_the_control_that_acks_before_the_result_is_stored_loses_evidence(
    site: Site, vendors: Sequence[Vendor]
) -> None:
    records = list(_records(vendors, Tick(TENANT, 1, bytes(32), 0, 1), 150))
    assert await _lost(site, records, _acking_late) == 0
    assert await _lost(site, records, _acking_early) > 0
