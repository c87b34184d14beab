"""A worker process: health, logs, the order to stop, and its exit codes."""

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path

import aiohttp
import pytest
import token_lab
from bus_fixtures import free_ports
from msgspec.structs import replace
from topologies import eventually

from attest_pipeline.adapters import config_store, metrics
from attest_pipeline.adapters.config_store import ConfigStore
from attest_pipeline.adapters.nats_bus import NatsBus
from attest_pipeline.errors import Misconfigured, Unavailable
from attest_pipeline.owner.tenant import version_of
from attest_pipeline.testing import InMemoryBroker, InMemoryBus
from workers import __main__ as command
from workers import _process, parse
from workers._process import JsonLines, Process, health_endpoint, run_until_stopped, run_until_told
from workers._settings import Settings

CONFIG = replace(token_lab.CONFIG, version=version_of(token_lab.CONFIG))


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    bus = InMemoryBus(InMemoryBroker(lambda: 0.0))
    yield Process(settings=Settings(), bus=bus, configs=ConfigStore(bus), stopping=asyncio.Event())
    await bus.drain()


async def _until_told(process: Process) -> None:
    await process.stopping.wait()


# ── health and logs ───────────────────────────────────────────────────────────────────────────────────────────────────
async def test_health_names_the_versions_in_force_and_metrics_are_prometheus(process: Process) -> None:
    (port,) = free_ports(1)
    metrics.DEAD_LETTERS.inc(0)
    await config_store.publish(process.bus, CONFIG, {})
    running = asyncio.create_task(run_until_stopped(process, _until_told))
    await eventually(lambda: bool(process.configs.versions()), "no configuration")
    async with health_endpoint(port, process), aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        async with http.get("/healthz") as answer:
            assert await answer.json() == {"status": "ok", "tenants": {"acme": CONFIG.version}}
        async with http.get("/metrics") as answer:
            assert "attest_dead_letters_total" in await answer.text()
        process.stopping.set()
        await running
        async with http.get("/healthz") as answer:  # drained
            assert (answer.status, (await answer.json())["status"]) == (503, "no broker")
        async with http.get("/metrics") as answer:
            assert "attest_broker_connected 0.0" in await answer.text()


def test_a_log_line_is_one_json_object_with_its_extra_fields_and_exception() -> None:
    error = ValueError("a\nb")
    record = logging.LogRecord("n", logging.ERROR, __file__, 1, "failed %s", ("x",), (type(error), error, None))
    record.agent = Path("a1")
    line = JsonLines().format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert (found["level"], found["logger"], found["message"], found["agent"]) == ("ERROR", "n", "failed x", "a1")
    assert "ValueError: a\nb" in found["exception"]


# ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_signal_lets_the_worker_finish_and_drains_the_bus(process: Process) -> None:
    running = asyncio.create_task(run_until_told(process, _until_told))
    await asyncio.sleep(0.01)
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(running, 2.0)
    with pytest.raises(Unavailable, match="drained"):
        await process.bus.publish("x", b"")


async def test_an_error_of_the_worker_ends_the_process(process: Process) -> None:
    async def work(_: Process) -> None:
        raise Unavailable("the stream is gone")

    with pytest.raises(Unavailable, match="the stream is gone"):
        await run_until_stopped(process, work)


async def test_sleep_ends_with_the_order_to_stop(process: Process) -> None:
    await process.sleep(0.001)
    asyncio.get_running_loop().call_later(0.01, process.stopping.set)
    await asyncio.wait_for(process.sleep(60.0), 1.0)


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("arguments", [[], ["nobody"], ["parse", "match"], ["../parse"], ["__main__"]])
def test_anything_but_one_known_kind_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments) == 2
    assert "usage: python -m workers" in capsys.readouterr().err


def test_every_kind_is_a_module_with_a_run() -> None:
    for kind in command.KINDS:
        assert asyncio.iscoroutinefunction(import_module(f"workers.{kind}").run)


def test_a_wrong_setting_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ATTEST_FRAMES", "64")
    assert command.main(["match"]) == 2
    assert "frames" in capsys.readouterr().err


@pytest.fixture
def quiet_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_process, "set_up_logging", lambda _level: None)


@pytest.mark.usefixtures("quiet_logging")
def test_a_missing_setting_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["match"]) == 2
    assert "no broker credentials" in capsys.readouterr().err


@pytest.mark.usefixtures("quiet_logging")
def test_a_broker_that_is_away_is_an_infrastructure_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(*_: object, **__: object) -> InMemoryBus:
        raise Unavailable("nobody listens")

    monkeypatch.setattr(NatsBus, "connect", connect)
    assert command.main(["match"]) == 4


@pytest.mark.usefixtures("quiet_logging")
def test_an_error_out_of_a_task_group_is_one_line_and_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def lost(*_: object) -> None:
        async with asyncio.TaskGroup(), asyncio.TaskGroup():
            raise Unavailable("the consumer is missing")

    monkeypatch.setattr(command, "_main", lost)
    assert command.main(["parse"]) == 4
    assert capsys.readouterr().err == "the consumer is missing\n"


async def test_a_port_that_is_taken_is_misconfigured(process: Process) -> None:
    (port,) = free_ports(1)
    async with health_endpoint(port, process):
        with pytest.raises(Misconfigured, match=f"ATTEST_HEALTH_PORT: {port} cannot be listened on"):
            async with health_endpoint(port, process):
                pass


@pytest.mark.parametrize("content", [None, b"", b"{}"])
async def test_bell_keys_that_cannot_be_read_are_misconfigured(
    process: Process, tmp_path: Path, content: bytes | None
) -> None:
    (tmp_path / "nonce.key").write_bytes(bytes(32))
    if content is not None:
        (tmp_path / "bell.jwks.json").write_bytes(content)
    settings = Settings(nonce_key=tmp_path / "nonce.key", bell_keys=tmp_path / "bell.jwks.json")
    with pytest.raises(Misconfigured, match=r"bell\.jwks\.json"):
        await parse.run(replace(process, settings=settings))


@pytest.mark.usefixtures("quiet_logging")
def test_a_worker_that_drained_exits_with_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(*_: object, **__: object) -> InMemoryBus:
        asyncio.get_running_loop().call_later(0.05, signal.raise_signal, signal.SIGTERM)
        return InMemoryBus(InMemoryBroker(lambda: 0.0))

    monkeypatch.setattr(NatsBus, "connect", connect)
    assert command.main(["match"]) == 0


def test_logging_goes_to_standard_error_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    root.handlers.clear()
    try:
        _process.set_up_logging("WARNING")
        logging.getLogger("n").warning("careful")
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
    assert json.loads(capsys.readouterr().err)["message"] == "careful"
