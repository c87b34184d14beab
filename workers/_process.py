"""One process: settings in, connection and health endpoint up, work until SIGTERM, then drain."""

import asyncio
import contextlib
import json
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web
from msgspec import Struct
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from attest_pipeline.adapters import metrics
from attest_pipeline.adapters.config_store import ConfigStore
from attest_pipeline.errors import Misconfigured
from attest_pipeline.ports import Bus
from workers._settings import Settings

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName"}
_log: Final = logging.getLogger(__name__)


class Process(Struct, frozen=True, kw_only=True):
    """What a worker kind is given: its settings, the bus, the configuration store, and the clock."""

    settings: Settings
    bus: Bus
    configs: ConfigStore
    stopping: asyncio.Event
    clock: Callable[[], float] = time.time  # noqa: TID251 - here time enters

    async def sleep(self, seconds: float) -> None:
        """Sleep, but not beyond the order to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)


_PROCESS: Final = web.AppKey("process", Process)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the record's extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up_logging(level: str) -> None:
    """Log JSON lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)


async def run_until_told(process: Process, work: Callable[[Process], Awaitable[None]]) -> None:
    """Run a worker kind until it fails, SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.stopping.set)
    async with health_endpoint(process.settings.health_port, process):
        await run_until_stopped(process, work)


async def run_until_stopped(process: Process, work: Callable[[Process], Awaitable[None]]) -> None:
    """Run a worker kind until `stopping` is set; then let it finish what is in flight, and disconnect.

    An error of the worker ends the process, so that its supervisor starts it again.
    """
    follower = asyncio.create_task(process.configs.follow())
    worker = asyncio.ensure_future(work(process))
    told = asyncio.create_task(process.stopping.wait())
    _log.info("working")
    await asyncio.wait({worker, told, follower}, return_when=asyncio.FIRST_COMPLETED)
    process.stopping.set()
    await process.bus.stop()
    await asyncio.gather(worker, follower)
    await process.bus.drain()
    _log.info("drained")


@contextlib.asynccontextmanager
async def health_endpoint(port: int, process: Process) -> AsyncIterator[None]:
    """`/healthz` with the configuration versions in force, and Prometheus `/metrics`, on loopback; not for port 0.

    A process whose broker is away answers 503.
    """
    if not port:
        yield
        return
    app = web.Application()
    app[_PROCESS] = process
    metrics.BROKER_CONNECTED.set_function(lambda: process.bus.connected)
    app.router.add_get("/healthz", _healthy)
    app.router.add_get("/metrics", _metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await _listen(runner, port)
        yield
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, port: int) -> None:
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
    except OSError as error:
        raise Misconfigured(f"ATTEST_HEALTH_PORT: {port} cannot be listened on: {error.strerror}") from None


async def _healthy(request: web.Request) -> web.Response:
    process = request.app[_PROCESS]
    connected = process.bus.connected
    told = {"status": "ok" if connected else "no broker", "tenants": process.configs.versions()}
    return web.json_response(told, status=HTTPStatus.OK if connected else HTTPStatus.SERVICE_UNAVAILABLE)


async def _metrics(_request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
