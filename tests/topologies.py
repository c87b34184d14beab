"""The three topologies of the pipeline behind one face: tasks on a bus in memory, one process, a process per stage."""

import asyncio
import base64
import contextlib
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

from attest_pipeline import subjects
from attest_pipeline.adapters import config_dir
from attest_pipeline.adapters.config_store import ConfigStore
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.adapters.nats_bus import NatsBus
from attest_pipeline.adapters.nats_config import PROVISIONER
from attest_pipeline.adapters.provision import Provisioning
from attest_pipeline.adapters.rego import RegoEngine
from attest_pipeline.adapters.site import Site, ensure
from attest_pipeline.cli.simulated import write_tenant
from attest_pipeline.cli.stack import POLICIES, Plan, Stack, Worker, free_ports
from attest_pipeline.endorsing import Snapshot
from attest_pipeline.errors import Unavailable
from attest_pipeline.pipeline import Pipeline
from attest_pipeline.ports import Bus
from attest_pipeline.simulator.device import Vendor
from attest_pipeline.testing import InMemoryBroker, InMemoryBus
from workers._process import Process, run_until_stopped
from workers._settings import Settings

TENANT: Final = "acme"
ARCHIVE: Final = "archive"
AGENTS: Final = ("a1", "a2")
STAGES: Final = ("parse", "parse", "match", "appraise", "sign")
"""A process for each stage, and a second parse that races with the first."""
FUSED: Final = ("all", "all")
IN_MEMORY: Final = "in memory"
TOPOLOGIES: Final = {IN_MEMORY: STAGES, "one process": FUSED, "a process per stage": STAGES}
PATIENCE: Final = 60.0
"""Seconds until something that does not happen fails the test."""
QUICK: Final = Provisioning(ack_waits=(2.0, 4.0, 6.0, 8.0), max_ack_pending=512)
"""Redelivers soon, but not so soon that a busy machine takes slow for lost."""


class Deployment:
    """The pipeline at work on a site, whatever carries its messages."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._buses: list[Bus] = []

    async def connect(self, user: str, tenant: str = "") -> Bus:
        """A bus of that user, until the deployment ends."""
        bus = await self._connected(user, tenant)
        self._buses.append(bus)
        return bus

    async def disconnect(self) -> None:
        """Close every bus."""
        await asyncio.gather(*(bus.drain() for bus in self._buses))

    async def counts(self, stream: str) -> Mapping[str, int]:
        """Messages that a stream holds, by subject."""
        raise NotImplementedError

    async def settled(self) -> Mapping[str, int]:
        """Results by subject, once every Evidence is acked."""

        async def acked() -> bool:
            with contextlib.suppress(Unavailable):  # a server that was killed is not back yet
                return not await self.counts(subjects.EVIDENCE)
            return False

        await eventually(acked, "Evidence was not acked")
        return await self.counts(subjects.RESULTS)

    def deaths(self) -> list[str]:
        """Workers that ended and were started again."""
        raise NotImplementedError

    async def _connected(self, user: str, tenant: str) -> Bus:
        raise NotImplementedError


class InMemory(Deployment):
    """Every worker is a task of this process."""

    def __init__(self, site: Site, broker: InMemoryBroker) -> None:
        super().__init__(site)
        self._broker = broker

    async def counts(self, stream: str) -> Mapping[str, int]:
        return Counter(message.subject for message in self._broker.stored(stream))

    def deaths(self) -> list[str]:
        return []  # a task that failed fails the test

    async def _connected(self, user: str, tenant: str) -> Bus:  # noqa: ARG002 - memory knows no users
        return InMemoryBus(self._broker, tenant)


class OnNats(Deployment):
    """Every worker is a process beside a real nats-server."""

    def __init__(self, site: Site, stack: Stack) -> None:
        super().__init__(site)
        self.stack = stack

    async def counts(self, stream: str) -> Mapping[str, int]:
        subject = f"$JS.API.STREAM.INFO.{stream}"
        answer = await self._buses[0].request(subject, b'{"subjects_filter":">"}', timeout=5.0)
        counts: dict[str, int] = msgspec.json.decode(answer.data)["state"].get("subjects", {})
        return counts

    async def last(self, stream: str, subject: str) -> bytes:
        """What a stream holds of a subject."""
        request = msgspec.json.encode({"last_by_subj": subject})
        answer = await self._buses[0].request(f"$JS.API.STREAM.MSG.GET.{stream}", request, timeout=5.0)
        return base64.b64decode(msgspec.json.decode(answer.data)["message"]["data"])

    def worker(self, kind: str) -> Worker:
        """The first worker of a kind."""
        return next(worker for worker in self.stack.workers if worker.kind == kind)

    def deaths(self) -> list[str]:
        return [worker.name for worker in self.stack.workers if worker.starts > 1]

    async def _connected(self, user: str, tenant: str) -> Bus:
        broker = self.stack.broker
        return await NatsBus.connect(broker.url, credentials=broker.credentials(user, tenant), name=user)


@contextlib.asynccontextmanager
async def connected(deployment: Deployment) -> AsyncIterator[None]:
    """Look at the streams as the provisioner does; close every bus at the end of the block."""
    try:
        await deployment.connect(PROVISIONER)
        yield
    finally:
        await deployment.disconnect()


def make_site(directory: Path, vendors: Sequence[Vendor]) -> Site:
    """Keys, a tenant that trusts the vendors, and one that judges real Evidence of the past."""
    site = Site(directory)
    write_tenant(site, TENANT, vendors, annotate=True)
    write_tenant(site, ARCHIVE, (), annotate=True)
    ensure(site)
    return site


def copied(site: Site, directory: Path) -> Site:
    """The same keys and configuration elsewhere, so that two brokers do not share a store."""
    return Site(shutil.copytree(site.root, directory))


@contextlib.asynccontextmanager
async def deployed(topology: str, site: Site) -> AsyncIterator[Deployment]:
    """Run the pipeline in one of the TOPOLOGIES until the block ends."""
    kinds = TOPOLOGIES[topology]
    if topology == IN_MEMORY:
        async with in_memory(settings_of(site), kinds) as broker:
            in_one = InMemory(site, broker)
            async with connected(in_one):
                yield in_one
    else:
        async with on_nats(site, kinds) as in_many:
            yield in_many


@contextlib.asynccontextmanager
async def on_nats(
    site: Site,
    kinds: Sequence[str] = STAGES,
    *,
    provisioning: Provisioning = QUICK,
    epoch_seconds: int = 300,
    sync_always: bool = False,
    environment: Mapping[str, str] = {},
    collateral: bool = False,
) -> AsyncIterator[OnNats]:
    """Run worker kinds as processes beside a nats-server of their own until the block ends."""
    port = free_ports(len(kinds) + 6)
    plan = Plan(
        workers=tuple(kinds),
        port=port,
        monitor=port + 1,
        health=port + 2,
        sync_always=sync_always,
        fleet=True,
        agents=AGENTS,
        provisioning=provisioning,
        epoch_seconds=epoch_seconds,
        collateral=collateral,
    )
    stack = Stack(site, plan)
    for worker in stack.workers:
        worker._environment.update(environment)
    try:
        await stack.start()
        deployment = OnNats(site, stack)
        async with connected(deployment):
            yield deployment
    finally:
        await stack.stop()


@contextlib.asynccontextmanager
async def in_memory(
    settings: Settings, kinds: Sequence[str], *, ack_wait: float = 2.0, clock: Callable[[], float] = time.time
) -> AsyncIterator[InMemoryBroker]:
    """Run worker kinds, the bell and the configuration publisher on one broker until the block ends."""
    broker = InMemoryBroker(clock, ack_wait=ack_wait)
    tenants = set(settings.tenants.split(","))
    stopping = asyncio.Event()
    processes = [
        (kind, Process(settings=settings, bus=bus, configs=ConfigStore(bus), stopping=stopping, clock=clock))
        for kind in ("config", "bell", *kinds)
        for bus in (InMemoryBus(broker),)
    ]
    tasks = [
        asyncio.create_task(run_until_stopped(process, import_module(f"workers.{kind}").run))
        for kind, process in processes
    ]
    try:
        await eventually(
            lambda: all(tenants <= process.configs.versions().keys() for _, process in processes),
            "a worker did not learn every tenant's configuration",
        )
        yield broker
    finally:
        stopping.set()
        await asyncio.gather(*tasks)


def settings_of(site: Site, **changes: Any) -> Settings:
    """Settings of any worker kind on that site."""
    return Settings(
        signing_key=site.signing_key,
        nonce_key=site.nonce_key,
        bell_key=site.bell_key,
        bell_keys=site.bell_jwks,
        config=site.config,
        policies=POLICIES,
        tenants=",".join(config_dir.tenants(site.config)),
        **changes,
    )


@contextlib.contextmanager
def library(site: Site, tenant: str = TENANT) -> Iterator[Pipeline]:
    """The four stages as one object with the site's keys and configuration: what every topology must equal."""
    engine = RegoEngine()
    try:
        config, documents = config_dir.read(site.config / tenant, POLICIES, engine.vet)
        source = Snapshot(config.endorsements, documents)
        yield Pipeline(config, source, engine, FileSigner.load(site.signing_key), site.nonce_key.read_bytes())
    finally:
        engine.close()


async def eventually(condition: Callable[[], bool | Awaitable[bool]], otherwise: str) -> None:
    """Return once the condition holds; fail the test, saying why, if it does not in time."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = condition()
        if await answer if isinstance(answer, Awaitable) else answer:
            return
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(0.02)
