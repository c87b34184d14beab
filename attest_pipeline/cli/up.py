"""`attest up` and `attest worker`: keep the stack running, or one kind of it."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console
from rich.table import Column, Table

from attest_pipeline.adapters.site import DEFAULT_TENANT, Site, claimed, ensure, issuer
from attest_pipeline.cli.inputs import AgentsOption, GatewaysOption
from attest_pipeline.cli.output import Output, OutputOption, emit
from attest_pipeline.cli.simulate import TENANT, evidence_directory
from attest_pipeline.cli.stack import FUSED, ROOT, STAGES, Plan, Stack, agents_of, gateways_of

_PORT: Final = 4222
_MONITOR: Final = 8222
_HEALTH: Final = 9100


def up(  # noqa: PLR0913 - options of a command
    *,
    state: Annotated[Path, typer.Option(help="State directory: keys, configuration, the broker's store.")] = Path(
        "state"
    ),
    fused: Annotated[int, typer.Option(min=0, help="Processes that hold all four stages; 0: one process a stage.")] = 0,
    port: Annotated[int, typer.Option(min=1, max=60_000, help="The broker's port.")] = _PORT,
    weak: Annotated[
        bool, typer.Option("--process-kill-only", help="Faster acks that do not survive a power loss.")
    ] = False,
    agent: AgentsOption = None,
    gateway: GatewaysOption = None,
    collateral: Annotated[
        bool, typer.Option("--collateral", help="Fetch vendors' collateral from the network (docs/collateral.md).")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Keep the stack running on one state directory; Ctrl-C drains it."""
    site = Site(state.resolve())
    ensure(site)
    offset = port - _PORT
    plan = Plan(
        workers=(FUSED,) * fused or STAGES,
        port=port,
        monitor=_MONITOR + offset,
        health=_HEALTH + offset,
        sync_always=not weak,
        collateral=collateral,
        agents=agents_of(site, agent or ()),
        gateways=gateways_of(site, gateway or ()),
    )
    with claimed(site):
        asyncio.run(_keep(site, plan, output))


async def _keep(site: Site, plan: Plan, output: Output) -> None:
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    console = Console(stderr=True)
    console.print("starting …")
    stack = Stack(site, plan)
    try:
        if await stack.ready_unless(told):
            if output is Output.JSON:
                emit(await _described(site, plan, stack))
            else:
                await _introduce(console, site, plan, stack)
            await told.wait()
        console.print("draining …")
    finally:
        await stack.stop()
    console.print("drained; the state is kept in", str(site.root))


async def _described(site: Site, plan: Plan, stack: Stack) -> dict[str, object]:
    metrics = {worker.name: f"http://127.0.0.1:{worker.health}/metrics" for worker in stack.workers}
    return {
        "broker": stack.broker.url,
        "monitor": _monitor(plan),
        "metrics": metrics,
        "logs": str(site.logs),
        "durability": await stack.durability(),
    }


async def _introduce(console: Console, site: Site, plan: Plan, stack: Stack) -> None:
    table = Table("process", "listens on", Column("log", overflow="fold"))
    table.add_row("nats-server", f"{stack.broker.url}\n{_monitor(plan)}", f"{site.broker}/nats-server.log")
    for worker in stack.workers:
        table.add_row(worker.name, f"http://127.0.0.1:{worker.health}/metrics", f"{site.logs}/{worker.name}.log")
    console.print(table)
    console.print(f"A PubAck survives [bold]{await stack.durability()}[/]. Ctrl-C drains.\n\nTry next:")
    console.print(f"  {_submission(site, plan.agents[0])}", soft_wrap=True)
    console.print(f"  $EDITOR {site.config}/{DEFAULT_TENANT}/tenant.json     # taken over at once")
    tenant = TENANT if _has_simulated(site) else DEFAULT_TENANT
    verify = f"attest token verify TOKEN --jwks {site.jwks} --audience {tenant} --issuer {issuer(tenant)}"
    console.print(f"  {verify}", soft_wrap=True)
    for gateway in plan.gateways[:1]:
        console.print(f"  {_batch(site, gateway)}", soft_wrap=True)


def _monitor(plan: Plan) -> str:
    """Where the broker tells of itself."""
    return f"http://127.0.0.1:{plan.monitor}/varz"


def _has_simulated(site: Site) -> bool:
    return (site.config / TENANT).exists()


def _submission(site: Site, agent: str) -> str:
    """How to submit Evidence: that of a simulated device, if there are any."""
    return f"attest submit {_evidence(site)[0]} {_of_site(site)} --agent {agent} --token-file TOKEN"


def _batch(site: Site, gateway: str) -> str:
    """How to submit Evidence of several agents through a gateway."""
    pairs = " ".join(f"agent-{number}={file}" for number, file in enumerate(_evidence(site), 1))
    return f"attest batch {pairs} {_of_site(site)} --gateway {gateway}"


def _evidence(site: Site) -> list[str]:
    """Files of simulated devices, or a name for one of the reader's own."""
    return sorted(map(str, evidence_directory(site).glob("*-good.json"))) or ["EVIDENCE.json"]


def _of_site(site: Site) -> str:
    return f"--state {site.root}" + (f" --tenant {TENANT}" if _has_simulated(site) else "")


def worker(
    kind: Annotated[
        str, typer.Argument(help="parse, match, appraise, sign, all, webhook, collateral, bell or config.")
    ],
) -> NoReturn:
    """Run one worker kind in this process, with settings from ATTEST_* (docs/operations.md)."""
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "workers", kind])  # noqa: S606 - becomes that process
