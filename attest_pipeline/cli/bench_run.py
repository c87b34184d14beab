"""One benchmark: the embedded stack in a temporary directory, load on it, and what each process spent."""

import base64
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Final, Literal

import msgspec
from msgspec import Struct

from attest_pipeline import result
from attest_pipeline.adapters.children import cores
from attest_pipeline.adapters.nats_bus import NatsBus
from attest_pipeline.adapters.nats_config import FLEET
from attest_pipeline.adapters.site import Site, ensure, issuer
from attest_pipeline.cli.floor import floor
from attest_pipeline.cli.load import Load, Prepared, last_tick, prepare
from attest_pipeline.cli.simulated import vendors, write_tenant
from attest_pipeline.cli.stack import FUSED, STAGES, Plan, Stack, free_ports, running
from attest_pipeline.ear import Status
from attest_pipeline.errors import Misconfigured
from attest_pipeline.freshness import epoch_challenge
from attest_pipeline.jws import BadToken, Jwks
from attest_pipeline.model import EpochChallenge, EvidenceCollection
from attest_pipeline.ports import Bus
from attest_pipeline.simulator.device import Vendor

Tee = Literal["snp", "tdx", "cca", "virtcca", "sgx"]
Lane = Literal["durable", "frames", "interactive"]
Topology = Literal["fused", "stages"]
Durability = Literal["process-kill", "power-loss"]

TENANT: Final = "bench"
_WARM_UP: Final = 1000
_ROUNDS: Final = 6
"""Evidences of each device in the warm-up: enough for each of two processes to meet nearly every device."""
_SAMPLE_EVERY: Final = 100
"""Of so many tokens one is checked as a Relying Party would; of every token the status is read."""
_PORTS: Final = 16
_MACHINE: Final = "machine"
_BROKER: Final = "nats-server"
_LOAD: Final = "load"
_MIB: Final = 1 << 20
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class WrongVerdict(BadToken):
    """A healthy device did not get an affirming result: no number of that run means anything."""


class Setting(Struct, frozen=True, kw_only=True):
    """What is measured. `window` is the most Evidences without a result; `processes` counts fused ones."""

    tee: Tee
    lane: Lane = "durable"
    topology: Topology = "fused"
    processes: int = 2
    durability: Durability = "power-loss"
    count: int = 10_000
    runs: int = 5
    devices: int = 200
    window: int = 1024
    floor_seconds: float = 1.0

    @property
    def kinds(self) -> tuple[str, ...]:
        """Worker kinds to start."""
        return (FUSED,) * self.processes if self.topology == "fused" else STAGES


class Run(Struct, frozen=True, kw_only=True):
    """One run. `cpu` are microseconds per attestation of each process, `rss_mb` MiB of each worker after it.

    `floor_us` are those of the cryptography alone, measured just before. `others` are microseconds per attestation that
    the machine spent on anything else: with much of it, the run says little.
    """

    attestations_per_s: float
    floor_us: float
    p50_ms: float
    p99_ms: float
    cpu: dict[str, float]
    others: float
    rss_mb: dict[str, float]


class Report(Struct, frozen=True, kw_only=True):
    """Medians over the runs. `rss_mb` is the largest worker.

    `floor_per_s` is the cryptography alone on as many cores as the workers used (`cores`), and `ratio` the throughput
    by it: the share of their CPU time that is cryptography. `machine_ratio` is by all cores of the machine, so that
    broker and load count against the pipeline.
    """

    tee: str
    lane: str
    topology: str
    processes: int
    durability: str
    attestations_per_s: float
    floor_per_s: float
    ratio: float
    cores: float
    machine_ratio: float
    p50_ms: float
    p99_ms: float
    rss_mb: float
    cpu: dict[str, float]
    runs: tuple[Run, ...]


class _Payload(Struct):
    """What is read of every token."""

    ear_status: str


_payload_decoder: Final = msgspec.json.Decoder(_Payload)


class Bench:
    """A running stack under measurement."""

    def __init__(self, stack: Stack, bus: Bus, site: Site, vendor: Vendor, setting: Setting) -> None:
        """`bus` is connected as the tenant's fleet user; `site` and `vendor` are what the stack was made from."""
        self._stack = stack
        self._bus = bus
        self._site = site
        self._vendor = vendor
        self._setting = setting
        self._load = Load(bus)

    async def warm_up(self) -> None:
        """Let every process prove every device, so that a run finds what a standing fleet leaves behind."""
        await self._load.listen()
        warm = await self._prepared("warm", max(_WARM_UP, _ROUNDS * self._setting.devices))
        await self._load.durable(warm, window=self._setting.window)

    async def run(self, job: str) -> Run:
        """Publish `count` Evidences and measure. Raises WrongVerdict unless every result is affirming."""
        prepared = await self._prepared(job, self._setting.count)
        floor_us = 1e6 / floor(self._setting.tee, self._setting.floor_seconds)
        self._load.forget()
        before = self._spent()
        seconds = await self._publish(prepared)
        each = {name: (after - before[name]) / len(prepared) * 1e6 for name, after in self._spent().items()}
        check_verdicts(self._load.tokens, self._site)
        cuts = quantiles(self._load.seconds, n=100)
        machine = each.pop(_MACHINE)
        return Run(
            attestations_per_s=round(len(prepared) / seconds, 1),
            floor_us=round(floor_us, 1),
            p50_ms=round(cuts[49] * 1e3, 2),
            p99_ms=round(cuts[98] * 1e3, 2),
            cpu={name: round(spent, 1) for name, spent in each.items()},
            others=round(machine - sum(each.values()), 1),
            rss_mb=self.resident(),
        )

    def resident(self) -> dict[str, float]:
        """MiB in memory of each worker."""
        return {worker.name: _resident(worker.pid) for worker in self._stack.workers}

    async def _publish(self, prepared: Sequence[Prepared]) -> float:
        match self._setting.lane:
            case "durable":
                return await self._load.durable(prepared, window=self._setting.window)
            case "frames":
                return await self._load.frames(prepared, window=self._setting.window)
            case "interactive":
                return await self._load.interactive(prepared)

    async def _prepared(self, job: str, count: int) -> list[Prepared]:
        """Evidence of that many agents over the newest tick; several agents share a device."""
        tick = await last_tick(self._bus, self._site, TENANT)

        def collection(number: int) -> tuple[str, EvidenceCollection]:
            agent = f"agent-{number}"
            challenge = epoch_challenge(agent, self._setting.tee, tick, job, None)
            evidence = self._vendor.evidence(number % self._setting.devices, challenge)
            return agent, EvidenceCollection(evidence=(evidence,), challenge=EpochChallenge(tick.epoch, job))

        return prepare(TENANT, map(collection, range(count)))

    def _spent(self) -> dict[str, float]:
        """Seconds of CPU time that each process, and the whole machine, has used."""
        workers = {worker.name: worker.pid for worker in self._stack.workers}
        pids = {_BROKER: self._stack.broker.pid, **workers, _LOAD: os.getpid()}
        return {_MACHINE: _machine_seconds(), **{name: _cpu_seconds(pid) for name, pid in pids.items()}}


async def measure(setting: Setting, heard: Callable[[Run], None]) -> Report:
    """Measure all runs; `heard` is told of each. Raises WrongVerdict, Unavailable, Misconfigured."""
    runs = []
    async with bench(setting) as running_bench:
        for number in range(setting.runs):
            runs.append(await running_bench.run(f"run{number}"))
            heard(runs[-1])
    throughput = median(run.attestations_per_s for run in runs)
    core = median(1e6 / run.floor_us for run in runs)
    used = median(run.attestations_per_s * _workers_us(run) / 1e6 for run in runs)
    return Report(
        tee=setting.tee,
        lane=setting.lane,
        topology=setting.topology,
        processes=len(setting.kinds),
        durability=setting.durability,
        attestations_per_s=throughput,
        floor_per_s=round(core * used, 1),
        ratio=round(throughput / (core * used), 3),
        cores=round(used, 2),
        machine_ratio=round(throughput / (core * cores()), 3),
        p50_ms=median(run.p50_ms for run in runs),
        p99_ms=median(run.p99_ms for run in runs),
        rss_mb=max(runs[-1].rss_mb.values()),
        cpu={name: median(run.cpu[name] for run in runs) for name in runs[0].cpu},
        runs=tuple(runs),
    )


@contextlib.asynccontextmanager
async def bench(setting: Setting) -> AsyncIterator[Bench]:
    """A warm stack in a temporary directory on free ports, with one simulated vendor."""
    with tempfile.TemporaryDirectory(prefix="attest-bench-") as directory:
        site = Site(Path(directory))
        ensure(site)
        (vendor,) = vendors(datetime.now(UTC), (setting.tee,))  # noqa: TID251 - the benchmark happens now
        for serial in range(setting.devices):
            vendor.evidence(serial, bytes(64))  # makes the device, so that its Endorsements exist
        write_tenant(site, TENANT, (vendor,))
        async with running(site, _plan(setting)) as stack:
            await _require_durability(stack, setting)
            bus = await NatsBus.connect(
                stack.broker.url, credentials=stack.broker.credentials(FLEET, TENANT), name="bench"
            )
            try:
                made = Bench(stack, bus, site, vendor, setting)
                await made.warm_up()
                yield made
            finally:
                await bus.drain()


def check_verdicts(tokens: Mapping[str, bytes], site: Site) -> None:
    """Require an affirming status in every token, and a valid signature in a sample. Raises WrongVerdict."""
    keys = msgspec.json.decode(site.jwks.read_bytes(), type=Jwks).keys
    now = int(time.time())  # noqa: TID251 - the Relying Party's clock
    for number, (agent, token) in enumerate(tokens.items()):
        status = _status(token)
        if status != Status.AFFIRMING:
            raise WrongVerdict(f"a healthy device got {status}, agent {agent}")
        if number % _SAMPLE_EVERY == 0:
            result.check(token, keys, audience=TENANT, issuer=issuer(TENANT), now=now)


def _workers_us(run: Run) -> float:
    """Microseconds per attestation of all workers together."""
    return sum(spent for name, spent in run.cpu.items() if name not in (_BROKER, _LOAD))


def _status(token: bytes) -> str:
    payload = token.split(b".")[1]
    return _payload_decoder.decode(base64.urlsafe_b64decode(payload + b"==")).ear_status


async def _require_durability(stack: Stack, setting: Setting) -> None:
    found = await stack.durability()
    if found.replace(" ", "-") != setting.durability:
        raise Misconfigured(f"the broker's acks survive a {found}, not a {setting.durability}")


def _plan(setting: Setting) -> Plan:
    port = free_ports(_PORTS)
    return Plan(
        workers=setting.kinds,
        port=port,
        monitor=port + 1,
        health=port + 2,
        sync_always=setting.durability == "power-loss",
        fleet=True,
    )


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _machine_seconds() -> float:
    """Time that all cores were not idle (proc(5), first line of stat: idle and iowait are its fields 4 and 5)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * _PAGE / _MIB, 1)
