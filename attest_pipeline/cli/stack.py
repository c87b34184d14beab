"""The embedded stack: one broker and one process for each worker, started, watched, restarted and drained."""

import asyncio
import contextlib
import logging
import os
import random
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
from msgspec import Struct

from attest_pipeline.adapters import children, config_dir
from attest_pipeline.adapters.broker import Broker, durability
from attest_pipeline.adapters.nats_config import (
    FLEET,
    PROVISIONER,
    RELYING_PARTY,
    BrokerSpec,
    Tenant,
    account_of,
    read_credentials,
)
from attest_pipeline.adapters.provision import Provisioning, provision
from attest_pipeline.adapters.site import Site
from attest_pipeline.errors import Misconfigured, Unavailable
from attest_pipeline.webhook import Endpoint, read_endpoints

ROOT: Final = Path(__file__).resolve().parent.parent.parent
"""The checkout: it holds `workers/` and `policies/` beside the library."""
POLICIES: Final = ROOT / "policies" / "appraisal"
STAGES: Final = ("parse", "match", "appraise", "sign")
FUSED: Final = "all"
_FIRST_AGENT: Final = "agent-1"
_READY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 15.0
_RESTART_SECONDS: Final = 0.5
_LONGEST_PAUSE: Final = 16 * _RESTART_SECONDS
"""Before a process that ends again and again is started once more."""
_PORTS: Final = range(20_000, 32_000)
"""Below those that Linux gives to outgoing connections: one of them could take a port before its listener does."""
_INHERITED: Final = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE")
_log: Final = logging.getLogger(__name__)


class Plan(Struct, frozen=True, kw_only=True):
    """What to run: worker kinds in order (a kind may come several times), ports, durability.

    `port` and `monitor` are the broker's; worker number n serves health and metrics on `health` + n. With `collateral`
    a worker fetches what the tenants' configurations do not hold.
    """

    workers: tuple[str, ...]
    port: int
    monitor: int
    health: int
    sync_always: bool = True
    fleet: bool = False
    collateral: bool = False
    agents: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    provisioning: Provisioning = Provisioning()
    epoch_seconds: int = 300


class Worker:
    """One worker process that is started again when it dies."""

    def __init__(self, name: str, kind: str, environment: dict[str, str], log: Path, health: int) -> None:
        self.name = name
        self.kind = kind
        self.starts = 0
        self.health = health
        self._environment = environment
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running process. Raises Unavailable while there is none."""
        if self._process is None or self._process.returncode is not None:
            raise Unavailable(f"worker {self.name} is not running")
        return self._process.pid

    async def start(self) -> None:
        """Start the process and watch it."""
        await self._spawn()
        self._watcher = asyncio.create_task(self._watch())

    def kill(self) -> None:
        """Kill the process without warning; it is started again."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def stop(self) -> None:
        """Let the process drain; kill it if it does not end."""
        if self._watcher is None or self._process is None:
            return
        self._watcher.cancel()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        except TimeoutError:
            self.kill()
            await self._process.wait()

    async def _spawn(self) -> None:
        self.starts += 1
        command = (sys.executable, "-m", "workers", self.kind)
        self._process = await children.start(*command, log=self._log, env=self._environment, cwd=ROOT)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        pause = _RESTART_SECONDS
        while self._process is not None:
            began = loop.time()
            code = await self._process.wait()
            lived = loop.time() - began
            pause = _RESTART_SECONDS if lived > _LONGEST_PAUSE else min(2 * pause, _LONGEST_PAUSE)
            _log.warning("worker %s ended with %d and is started again; see %s", self.name, code, self._log)
            await asyncio.sleep(pause)
            await self._spawn()


class Stack:
    """A broker and its workers on one state directory."""

    def __init__(self, site: Site, plan: Plan) -> None:
        """Nothing runs until `start`."""
        self._site = site
        self._plan = plan
        self._tenants = config_dir.tenants(site.config)
        tenants = tuple(
            Tenant(name=name, fleet=plan.fleet, agents=plan.agents, gateways=plan.gateways) for name in self._tenants
        )
        spec = BrokerSpec(
            store=str(site.broker / "store"),
            port=plan.port,
            http_port=plan.monitor,
            sync_always=plan.sync_always,
            tenants=tenants,
        )
        self.broker = Broker(site.broker, spec)
        self.workers = [self._worker(number, kind) for number, kind in enumerate(self._kinds())]
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start everything and return once every process works. Raises Unavailable or Misconfigured."""
        self._check_ports()
        await self.broker.start()
        self._keeper = asyncio.create_task(self._keep_broker())
        webhooks = [endpoint.id for endpoint in self._endpoints()]
        credentials = self.broker.credentials(PROVISIONER)
        settings = msgspec.structs.replace(self._plan.provisioning, atomic_results=self._plan.sync_always)
        await provision(self.broker.url, credentials, webhooks=webhooks, settings=settings)
        for worker in self.workers:
            await worker.start()
        await self.ready()

    async def ready(self) -> None:
        """Return once every process works and knows every tenant's configuration. Raises Unavailable."""
        async with aiohttp.ClientSession() as session:
            for worker in self.workers:
                await _ready(session, worker, frozenset(self._tenants), self._site.logs)

    async def ready_unless(self, told: asyncio.Event) -> bool:
        """Start, and whether everything works: not if told to stop before. Raises Unavailable or Misconfigured."""
        starting, waiting = asyncio.create_task(self.start()), asyncio.create_task(told.wait())
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if starting.done():
            starting.result()
            return True
        starting.cancel()
        await asyncio.wait({starting})
        return False

    async def durability(self) -> str:
        """What a PubAck survives, as the running broker says: power loss, or only a process kill."""
        return await durability(self._plan.monitor)

    async def stop(self) -> None:
        """Drain the workers, then stop the broker."""
        if self._keeper is not None:
            self._keeper.cancel()
        await asyncio.gather(*(worker.stop() for worker in self.workers))
        await self.broker.stop()

    def _check_ports(self) -> None:
        """Whoever answers on a port of ours is taken for ours, so nobody else may."""
        for port in (self._plan.port, self._plan.monitor, *(worker.health for worker in self.workers)):
            if not _is_free(port):
                raise Misconfigured(f"port {port} is in use: does another stack run? `attest up --port` chooses others")

    async def _keep_broker(self) -> None:
        """Start the server again when it dies; workers and agents wait for it."""
        while True:
            await asyncio.sleep(_RESTART_SECONDS)
            if self.broker.died:
                _log.warning("nats-server ended and is started again")
                await self._revive_broker()

    async def _revive_broker(self) -> None:
        while True:
            try:
                return await self.broker.start()
            except (Misconfigured, Unavailable) as error:
                _log.warning("%s", error)
                await asyncio.sleep(_LONGEST_PAUSE)

    def _kinds(self) -> Sequence[str]:
        webhook = ("webhook",) if self._endpoints() else ()
        collateral = ("collateral",) if self._plan.collateral else ()
        return ("config", "bell", *self._plan.workers, *collateral, *webhook)

    def _endpoints(self) -> Sequence[Endpoint]:
        path = self._site.webhooks
        return read_endpoints(path.read_bytes()) if path.exists() else ()

    def _worker(self, number: int, kind: str) -> Worker:
        name = f"{kind}-{number}"
        health = self._plan.health + number
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= {
            "ATTEST_NATS_URL": self.broker.url,
            "ATTEST_CREDENTIALS": str(self.broker.credentials(kind)),
            "ATTEST_HEALTH_PORT": str(health),
            **settings_of(kind, self._site, self._tenants, self._plan.epoch_seconds, collateral=self._plan.collateral),
        }
        return Worker(name, kind, environment, self._site.logs / f"{name}.log", health)


def settings_of(
    kind: str, site: Site, tenants: Sequence[str], epoch_seconds: int, *, collateral: bool = False
) -> dict[str, str]:
    """Environment that a kind needs beyond the broker: each gets the paths it reads and no other."""
    parse = {"ATTEST_NONCE_KEY": str(site.nonce_key), "ATTEST_BELL_KEYS": str(site.bell_jwks)}
    if collateral:
        parse["ATTEST_COLLATERAL"] = "1"
    sign = {"ATTEST_SIGNING_KEY": str(site.signing_key)}
    return {
        "parse": parse,
        "sign": sign,
        FUSED: parse | sign,
        "config": {"ATTEST_CONFIG": str(site.config), "ATTEST_POLICIES": str(POLICIES)},
        "webhook": {"ATTEST_WEBHOOKS": str(site.webhooks)},
        "collateral": {"ATTEST_COLLATERAL_STATE": str(site.collateral)},
        "bell": {
            "ATTEST_BELL_KEY": str(site.bell_key),
            "ATTEST_TENANTS": ",".join(tenants),
            "ATTEST_EPOCH_SECONDS": str(epoch_seconds),
        },
    }.get(kind, {})


def agents_of(site: Site, named: Sequence[str]) -> tuple[str, ...]:
    """The agents that are named and those that have credentials. Raises Misconfigured for a file that is none."""
    return _named_or_kept(site, named, gateways=False) or (_FIRST_AGENT,)


def gateways_of(site: Site, named: Sequence[str]) -> tuple[str, ...]:
    """The gateways, as `agents_of` finds agents."""
    return _named_or_kept(site, named, gateways=True)


def _named_or_kept(site: Site, named: Sequence[str], *, gateways: bool) -> tuple[str, ...]:
    """Who takes the file of credentials away takes the right away."""
    files = (site.broker / "credentials").glob(f"{account_of('')}*/*.json")
    kept = (path.stem for path in files if read_credentials(path).gateway is gateways)
    return tuple(name for name in dict.fromkeys((*named, *sorted(kept))) if name not in {RELYING_PARTY, FLEET})


def free_ports(count: int) -> int:
    """First of that many consecutive loopback ports that are free now."""
    while True:
        first = random.choice(_PORTS[:-count])  # noqa: S311 - spreads, guards nothing
        if all(_is_free(port) for port in range(first, first + count)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what closes slowly is no listener
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextlib.asynccontextmanager
async def running(site: Site, plan: Plan) -> AsyncIterator[Stack]:
    """A stack that is stopped when the block ends."""
    stack = Stack(site, plan)
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()


async def _ready(session: aiohttp.ClientSession, worker: Worker, tenants: frozenset[str], logs: Path) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _READY_SECONDS
    trouble = "does not work"
    while loop.time() < deadline:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(f"http://127.0.0.1:{worker.health}/healthz") as answer:
                missing = tenants - (await answer.json())["tenants"].keys()
            if not missing:
                return
            trouble = f"has no configuration of {', '.join(sorted(missing))}"
        await asyncio.sleep(0.05)
    raise Unavailable(f"worker {worker.name} {trouble} after {_READY_SECONDS:.0f} s; see {logs / worker.name}.log")
