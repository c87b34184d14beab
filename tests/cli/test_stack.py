"""The embedded stack: each process gets what it needs and no more, comes back when it dies, and drains when told."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace
from topologies import eventually

from attest_pipeline.adapters.broker import PROCESS_KILL, Broker
from attest_pipeline.adapters.site import Site, ensure
from attest_pipeline.cli import stack as embedded
from attest_pipeline.cli.stack import FUSED, STAGES, Plan, Stack, Worker, free_ports, running, settings_of
from attest_pipeline.errors import Misconfigured, Unavailable

KINDS = ("config", "bell", *STAGES, FUSED, "webhook", "collateral")
SECRETS = {"ATTEST_SIGNING_KEY", "ATTEST_BELL_KEY", "ATTEST_NONCE_KEY", "ATTEST_WEBHOOKS"}


def _site(directory: Path) -> Site:
    site = Site(directory)
    ensure(site)
    return site


def _plan(workers: tuple[str, ...] = ("match",)) -> Plan:
    port = free_ports(10)
    return Plan(workers=workers, port=port, monitor=port + 1, health=port + 2, sync_always=False)


# ── what a process is given ───────────────────────────────────────────────────────────────────────────────────────────
def test_a_kind_is_given_the_secrets_it_reads_and_no_other(tmp_path: Path) -> None:
    given = {kind: SECRETS & settings_of(kind, Site(tmp_path), ["acme"], 300).keys() for kind in KINDS}
    assert {kind: secrets for kind, secrets in given.items() if secrets} == {
        "parse": {"ATTEST_NONCE_KEY"},
        "sign": {"ATTEST_SIGNING_KEY"},
        FUSED: {"ATTEST_NONCE_KEY", "ATTEST_SIGNING_KEY"},
        "bell": {"ATTEST_BELL_KEY"},
        "webhook": {"ATTEST_WEBHOOKS"},
    }


def test_nothing_of_the_callers_environment_reaches_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("ATTEST_SIGNING_KEY", "/elsewhere")
    for worker in Stack(_site(tmp_path), _plan(KINDS[2:7])).workers:
        foreign = {name for name in worker._environment if not name.startswith("ATTEST_")}
        assert foreign <= {"PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE"}
        assert "/elsewhere" not in worker._environment.values()


def test_workers_have_names_ports_and_credentials_of_their_own(tmp_path: Path) -> None:
    plan = _plan(("parse", "parse", "sign"))
    workers = Stack(_site(tmp_path), plan).workers
    assert [worker.name for worker in workers] == ["config-0", "bell-1", "parse-2", "parse-3", "sign-4"]
    assert [worker.health for worker in workers] == list(range(plan.health, plan.health + 5))
    assert {Path(worker._environment["ATTEST_CREDENTIALS"]).stem for worker in workers} == {
        "config", "bell", "parse", "sign",
    }  # fmt: skip


def test_webhooks_and_collateral_have_workers_only_when_they_are_wanted(tmp_path: Path) -> None:
    site, plan = _site(tmp_path), replace(_plan(("all",)), collateral=True)
    assert [worker.kind for worker in Stack(site, plan).workers] == ["config", "bell", "all", "collateral"]
    assert Stack(site, plan).workers[2]._environment["ATTEST_COLLATERAL"] == "1"
    site.webhooks.write_text('{"endpoints": []}')
    assert "webhook" not in [worker.kind for worker in Stack(site, plan).workers]


# ── ports ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_free_ports_are_free_and_in_a_row() -> None:
    first = free_ports(5)
    with contextlib.ExitStack() as sockets:
        for port in range(first, first + 5):
            sockets.enter_context(socket.socket()).bind(("127.0.0.1", port))
            assert not embedded._is_free(port)


# ── processes ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with running(_site(tmp_path_factory.mktemp("stack")), _plan()) as started:
        yield started


@pytest.mark.integration
@pytest.mark.asyncio(loop_scope="module")
async def test_a_worker_that_dies_is_started_again_and_works(stack: Stack) -> None:
    worker = stack.workers[-1]
    before, starts = worker.pid, worker.starts
    worker.kill()
    await eventually(lambda: worker.starts > starts, "it was not started again")
    await stack.ready()
    assert worker.pid != before


@pytest.mark.integration
@pytest.mark.asyncio(loop_scope="module")
async def test_the_stack_says_what_an_ack_survives(stack: Stack) -> None:
    assert await stack.durability() == PROCESS_KILL


@pytest.mark.integration
@pytest.mark.asyncio(loop_scope="module")
async def test_what_does_not_become_ready_is_named_with_its_log(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_READY_SECONDS", 0.2)
    monkeypatch.setattr(stack, "_tenants", ["default", "nobody"])
    with pytest.raises(Unavailable, match=r"worker config-0 has no configuration of nobody .* see .*config-0\.log"):
        await stack.ready()


@pytest.mark.integration
@pytest.mark.asyncio(loop_scope="module")
async def test_a_server_that_dies_is_started_again(stack: Stack) -> None:
    before = stack.broker.pid
    os.kill(before, signal.SIGKILL)

    async def back() -> bool:
        with contextlib.suppress(Unavailable):
            return stack.broker.pid != before and await stack.durability() == PROCESS_KILL
        return False

    await eventually(back, "it was not started again")


@pytest.mark.integration
@pytest.mark.asyncio(loop_scope="module")
async def test_ctrl_c_reaches_the_parent_alone_which_drains_the_rest(stack: Stack) -> None:
    for pid in (stack.broker.pid, stack.workers[0].pid):
        assert os.getsid(pid) == pid


async def test_a_server_that_cannot_come_back_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedded, "_RESTART_SECONDS", 0.01)
    monkeypatch.setattr(embedded, "_LONGEST_PAUSE", 0.01)
    stack, tries = Stack(_site(tmp_path), _plan()), 0

    async def start() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Misconfigured("no room")
        monkeypatch.setattr(Broker, "died", False)

    monkeypatch.setattr(Broker, "died", True)
    monkeypatch.setattr(stack.broker, "start", start)
    keeping = asyncio.create_task(stack._keep_broker())
    await eventually(lambda: tries > 1, "it was not tried again")
    await asyncio.sleep(0.05)
    keeping.cancel()
    assert tries == 2
    assert "no room" in caplog.text


@pytest.mark.parametrize("offset", [0, 1, 3], ids=["broker", "its figures", "a worker's health"])
async def test_a_port_that_is_taken_is_named_before_anything_starts(tmp_path: Path, offset: int) -> None:
    plan = _plan()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", plan.port + offset))
        taken.listen()
        with pytest.raises(Misconfigured, match=f"port {plan.port + offset} is in use"):
            async with running(_site(tmp_path), plan):
                pass


def test_agents_keep_their_right_until_their_credentials_are_taken_away(tmp_path: Path) -> None:
    site = _site(tmp_path)
    assert embedded.agents_of(site, ()) == ("agent-1",)
    first = replace(_plan(), agents=embedded.agents_of(site, ("b", "a")), fleet=True)
    Stack(site, first).broker.write_config()
    assert embedded.agents_of(site, ()) == ("a", "b")
    assert embedded.agents_of(site, ("c", "b")) == ("c", "b", "a")
    Stack(site, first).broker.credentials("a", "default").unlink()
    assert embedded.agents_of(site, ()) == ("b",)


def test_a_gateway_stays_a_gateway_and_becomes_no_agent(tmp_path: Path) -> None:
    site = _site(tmp_path)
    assert embedded.gateways_of(site, ()) == ()
    Stack(site, replace(_plan(), agents=("a",), gateways=("h", "g"), fleet=True)).broker.write_config()
    assert embedded.agents_of(site, ()) == ("a",)
    assert embedded.gateways_of(site, ("i",)) == ("i", "g", "h")
    (site.broker / "credentials" / "tenant-default" / "g.json").unlink()
    assert embedded.gateways_of(site, ()) == ("h",)


@pytest.mark.parametrize(("agents", "gateways"), [(("h",), ()), ((), ("a",))])
def test_nobody_becomes_both_agent_and_gateway(
    tmp_path: Path, agents: tuple[str, ...], gateways: tuple[str, ...]
) -> None:
    site = _site(tmp_path)
    Stack(site, replace(_plan(), agents=("a",), gateways=("h",))).broker.write_config()
    plan = replace(_plan(), agents=embedded.agents_of(site, agents), gateways=embedded.gateways_of(site, gateways))
    with pytest.raises(Misconfigured, match="names of their own"):
        Stack(site, plan).broker.write_config()


async def _worker(tmp_path: Path, script: str) -> Worker:
    """A worker whose process is a shell script."""
    worker = Worker("w-0", "w", {}, tmp_path / "w.log", 0)

    async def spawn() -> None:
        worker.starts += 1
        worker._process = await asyncio.create_subprocess_exec("/bin/sh", "-c", f"trap '' TERM; {script}")

    worker._spawn = spawn  # type: ignore[method-assign]
    await worker.start()
    return worker


async def test_a_worker_that_does_not_drain_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_STOP_SECONDS", 0.2)
    worker = await _worker(tmp_path, "while :; do sleep 0.05; done")
    await asyncio.sleep(0.1)
    await worker.stop()
    assert worker._process is not None
    assert worker._process.returncode == -signal.SIGKILL
    with pytest.raises(Unavailable, match="w-0 is not running"):
        _ = worker.pid


async def test_a_stopped_worker_is_not_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_RESTART_SECONDS", 0.05)
    worker = await _worker(tmp_path, "exit 0")
    await eventually(lambda: worker.starts > 1, "it was not started again")
    await worker.stop()
    starts = worker.starts
    await asyncio.sleep(0.2)
    assert worker.starts == starts


async def test_a_worker_that_never_started_can_be_killed_and_stopped(tmp_path: Path) -> None:
    worker = Worker("w-0", "w", dict(os.environ), tmp_path / "w.log", 0)
    worker.kill()
    await worker.stop()
    assert worker.starts == 0
