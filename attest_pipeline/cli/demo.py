"""`attest demo`: a simulated fleet through the real thing, and what every kind of user gets out of it."""

import asyncio
import contextlib
import secrets
import tempfile
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import msgspec
import rich.progress
import typer
from aiohttp import web
from rich.console import Console

from attest_pipeline.adapters.nats_bus import NatsBus
from attest_pipeline.adapters.nats_config import FLEET
from attest_pipeline.adapters.site import Site, ensure
from attest_pipeline.cli.demo_report import FLEET_TENANT, REPLAY_TENANT, Findings, Report, build, show
from attest_pipeline.cli.load import Load, last_tick, prepare
from attest_pipeline.cli.output import Output
from attest_pipeline.cli.real_evidence import REAL, Real
from attest_pipeline.cli.simulated import vendors, write_tenant
from attest_pipeline.cli.stack import ROOT, STAGES, Plan, Stack, free_ports, running
from attest_pipeline.errors import Misconfigured
from attest_pipeline.ports import Bus
from attest_pipeline.simulator.device import Vendor
from attest_pipeline.simulator.fleet import Member, members

_BESIDE: Final = ROOT.parent / "shared" / "vectors"
_PORTS: Final = 16
_WINDOW: Final = 256
_WEBHOOK_SECONDS: Final = 10.0


class Progress:
    """What the demo tells while it works; the command line shows it."""

    def phase(self, text: str) -> None:
        """Something new begins."""

    def results(self, done: int, total: int) -> None:
        """Results so far."""


class _Received(NamedTuple):
    headers: dict[str, str]
    body: bytes


async def run(size: int, vectors: Path | None, progress: Progress) -> Report:
    """Run the demo in a temporary state directory. Raises AttestationError if the stack does not work."""
    with tempfile.TemporaryDirectory(prefix="attest-demo-") as directory:
        site = Site(Path(directory))
        ensure(site)
        progress.phase("making five vendors and their keys")
        fleet_vendors = vendors(datetime.now(UTC))  # noqa: TID251 - the demo happens now
        return await _with_stack(site, fleet_vendors, members(fleet_vendors, size), vectors, progress)


async def _with_stack(
    site: Site, fleet_vendors: Sequence[Vendor], fleet: Sequence[Member], vectors: Path | None, progress: Progress
) -> Report:
    for member in fleet:
        member.vendor.evidence(member.serial, bytes(64), None)  # makes the device, so that its Endorsements exist
    write_tenant(site, FLEET_TENANT, fleet_vendors)
    write_tenant(site, REPLAY_TENANT, ())
    first = free_ports(_PORTS)
    secret = secrets.token_bytes(32)
    plan = Plan(workers=STAGES, port=first, monitor=first + 1, health=first + 3, fleet=True)
    async with _receiver(first + 2) as received:
        _write_endpoint(site, first + 2, secret)
        progress.phase("starting nats-server and one process for each worker kind")
        async with running(site, plan) as stack:
            async with _connected(stack, FLEET_TENANT) as bus:
                load, seconds = await _attest(bus, site, fleet, progress)
            real = await _real(stack, vectors, progress)
            progress.phase("waiting for a webhook")
            webhook = await _verified_webhook(received, secret)
            durability = await stack.durability()
    return build(site, fleet, Findings(load, seconds, real, webhook, durability))


@contextlib.asynccontextmanager
async def _connected(stack: Stack, tenant: str) -> AsyncIterator[Bus]:
    bus = await NatsBus.connect(stack.broker.url, credentials=stack.broker.credentials(FLEET, tenant), name="demo")
    try:
        yield bus
    finally:
        await bus.drain()


async def _attest(bus: Bus, site: Site, fleet: Sequence[Member], progress: Progress) -> tuple[Load, float]:
    tick = await last_tick(bus, site, FLEET_TENANT)
    load = Load(bus)
    await load.listen()
    progress.phase(f"{len(fleet)} agents publish Evidence")
    prepared = prepare(FLEET_TENANT, [(member.agent, member.collection(tick)) for member in fleet])
    shown = asyncio.create_task(_show(load, len(fleet), progress))
    try:
        seconds = await load.durable(prepared, window=_WINDOW)
    finally:
        shown.cancel()
    progress.results(len(load.tokens), len(fleet))
    return load, seconds


async def _show(load: Load, total: int, progress: Progress) -> None:
    while True:
        progress.results(len(load.tokens), total)
        await asyncio.sleep(0.05)


async def _real(stack: Stack, vectors: Path | None, progress: Progress) -> list[tuple[Real, bytes]]:
    if vectors is None:
        return []
    progress.phase("real Evidence through the same pipeline")
    agents = {f"real-{number}": one for number, one in enumerate(REAL)}
    async with _connected(stack, REPLAY_TENANT) as bus:
        load = Load(bus)
        await load.listen()
        prepared = prepare(REPLAY_TENANT, [(agent, one.collection(vectors)) for agent, one in agents.items()])
        await load.durable(prepared, window=_WINDOW)
    return [(one, load.tokens[agent]) for agent, one in agents.items()]


@contextlib.asynccontextmanager
async def _receiver(port: int) -> AsyncIterator["asyncio.Queue[_Received]"]:
    """A webhook subscriber on loopback."""
    received: asyncio.Queue[_Received] = asyncio.Queue()

    async def receive(request: web.Request) -> web.Response:
        received.put_nowait(_Received(dict(request.headers), await request.read()))
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield received
    finally:
        await runner.cleanup()


def _write_endpoint(site: Site, port: int, secret: bytes) -> None:
    endpoint = {
        "id": "demo",
        "url": f"http://127.0.0.1:{port}/",
        "tenant": FLEET_TENANT,
        "secrets": [f"whsec_{b64encode(secret).decode()}"],
        "statuses": ["contraindicated"],
        "allow_private": True,
    }
    site.webhooks.touch(0o600)
    site.webhooks.write_bytes(msgspec.json.encode({"endpoints": [endpoint]}))


async def _verified_webhook(received: "asyncio.Queue[_Received]", secret: bytes) -> dict[str, str] | None:
    """One delivery, checked by the public library of Standard Webhooks; None if none came."""
    from standardwebhooks.webhooks import Webhook  # noqa: PLC0415 - a development dependency: the subscriber's side

    try:
        delivery = await asyncio.wait_for(received.get(), _WEBHOOK_SECONDS)
    except TimeoutError:
        return None
    headers = {name.lower(): value for name, value in delivery.headers.items()}
    body = Webhook(f"whsec_{b64encode(secret).decode()}").verify(delivery.body, headers)
    found = {name: headers[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
    return found | {"type": str(body["type"])} | {name: str(body["data"][name]) for name in ("agent", "status")}


class _Bars(Progress):
    """Progress on a terminal: the phase, and a bar of results."""

    def __init__(self, bars: rich.progress.Progress) -> None:
        self._bars = bars
        self._task: rich.progress.TaskID | None = None

    def phase(self, text: str) -> None:
        """Print what begins."""
        self._bars.console.print(f"[dim]…[/] {text}")

    def results(self, done: int, total: int) -> None:
        """Move the bar."""
        if self._task is None:
            self._task = self._bars.add_task("attesting", total=total)
        self._bars.update(self._task, completed=done)


def demo(
    agents: Annotated[int, typer.Option(min=100, help="Size of the simulated fleet.")] = 500,
    vectors: Annotated[Path | None, typer.Option(envvar="VECTORS", help="Directory of real Evidence.")] = None,
    output: Annotated[Output, typer.Option(help="text for people, json for machines.")] = Output.TEXT,
) -> None:
    """Run a simulated fleet of five TEEs through the whole stack; exit 0 only if every verdict is the expected one."""
    directory = vectors or (_BESIDE if _BESIDE.is_dir() else None)
    if directory is not None and not directory.is_dir():
        raise Misconfigured(f"{directory} is no directory of real Evidence")
    with rich.progress.Progress(console=Console(stderr=True)) as bars:
        report = asyncio.run(run(agents, directory, _Bars(bars)))
    if output is Output.JSON:
        typer.echo(msgspec.json.encode(report))
    else:
        show(report, Console())
        if directory is None:
            typer.echo("no real Evidence beside the checkout (set VECTORS to its directory): none was sent")
    raise typer.Exit(0 if report.ok else 1)
