"""`attest bench`: what the pipeline carries on this machine, against the cost of its cryptography alone."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer
from rich.console import Console

from attest_pipeline.adapters.children import cores
from attest_pipeline.cli import bench_run, bench_soak, bench_verify
from attest_pipeline.cli.bench_run import Durability, Lane, Report, Run, Setting, Tee, Topology
from attest_pipeline.cli.floor import SIGNATURES
from attest_pipeline.cli.floor import floor as measured_floor
from attest_pipeline.cli.output import Output, OutputOption, emit, table

if TYPE_CHECKING:
    from rich.table import Table

bench: Final = typer.Typer(no_args_is_help=True, add_completion=False, help="Measure on this machine.")


TeeOption = Annotated[Tee, typer.Option(help="TEE of the simulated devices.")]
TeesOption = Annotated[list[str] | None, typer.Option("--tee", help="TEE (may be repeated); all without it.")]
DevicesOption = Annotated[int, typer.Option(min=1, help="Simulated devices; each has keys and certificates.")]
ProcessesOption = Annotated[int, typer.Option(min=1, help="Processes of the fused topology.")]
SecondsOption = Annotated[float, typer.Option(min=0, help="CPU seconds of each measurement.")]


@bench.command()
def pipeline(  # noqa: PLR0913 - each is an option
    *,
    tee: TeeOption = "snp",
    lane: Annotated[Lane, typer.Option(help="How Evidence comes in.")] = "durable",
    topology: Annotated[Topology, typer.Option(help="All stages in each process, or one process each.")] = "fused",
    processes: ProcessesOption = 2,
    durability: Annotated[Durability, typer.Option(help="What a PubAck survives.")] = "power-loss",
    count: Annotated[int, typer.Option(min=2, help="Attestations in each run.")] = 10_000,
    runs: Annotated[int, typer.Option(min=1, help="Runs; the report is of their medians.")] = 5,
    devices: DevicesOption = 200,
    window: Annotated[int, typer.Option(min=64, help="Most attestations under way.")] = 1024,
    floor_seconds: SecondsOption = 1.0,
    output: OutputOption = Output.TEXT,
) -> None:
    """Load on the embedded stack: throughput, latency, CPU by process, memory, and the ratio to the floor.

    Fails if one healthy device of the load does not get an affirming result.
    """
    setting = Setting(
        tee=tee,
        lane=lane,
        topology=topology,
        processes=processes,
        durability=durability,
        count=count,
        runs=runs,
        devices=devices,
        window=window,
        floor_seconds=floor_seconds,
    )
    report = asyncio.run(bench_run.measure(setting, _say))
    if output is Output.JSON:
        emit(report)
        return
    Console().print(_summary(report), _cpu(report))


@bench.command()
def floor(tee: TeesOption = None, seconds: SecondsOption = 2.0, output: OutputOption = Output.TEXT) -> None:
    """The cryptographic floor: bare signature checks and token signing, times the cores."""
    rates = {one: round(measured_floor(one, seconds) * cores(), 1) for one in tee or SIGNATURES}
    if output is Output.JSON:
        emit({"cores": cores(), "floor_per_s": rates})
    else:
        rows = [(one, _new_signatures(one), rate) for one, rate in rates.items()]
        Console().print(table(f"Floor on {cores()} cores", ("TEE", "signatures", "attestations/s"), rows))


def _new_signatures(tee: str) -> str:
    return " + ".join(signed.key for signed in SIGNATURES[tee] if not signed.again)


@bench.command()
def verify(
    tee: TeesOption = None,
    devices: DevicesOption = 100,
    seconds: SecondsOption = 2.0,
    output: OutputOption = Output.TEXT,
) -> None:
    """What one proof costs for each TEE: first and later Evidence of a device, and its signatures alone.

    New ones are those that the device has not sent before.
    """
    costs = [bench_verify.measure(one, devices, seconds) for one in tee or SIGNATURES]
    if output is Output.JSON:
        emit(costs)
    else:
        rows = [msgspec.structs.astuple(cost) for cost in costs]
        columns = ("TEE", "first", "later", "signatures alone", "ratio", "new ones alone", "ratio")
        Console().print(table("Verifier.verify, µs of CPU", columns, rows))


@bench.command()
def soak(
    tee: TeeOption = "snp",
    count: Annotated[int, typer.Option(min=2, help="Attestations altogether.")] = 200_000,
    every: Annotated[int, typer.Option(min=2, help="Attestations between two looks at memory.")] = 20_000,
    processes: ProcessesOption = 2,
    devices: DevicesOption = 200,
    output: OutputOption = Output.TEXT,
) -> None:
    """Memory of each worker over many attestations, and its slope."""
    setting = Setting(tee=tee, processes=processes, durability="process-kill", count=every, devices=devices)
    report = asyncio.run(bench_soak.soak(setting, count, _say))
    if output is Output.JSON:
        emit(report)
        return
    rows = [(f"after {sample.attestations}", *sample.rss_mb.values()) for sample in report.samples]
    rows.append(("more with 100,000", *report.slope.values()))
    Console().print(table("MiB in memory", ("attestations", *report.slope), rows))


def _say(run: Run) -> None:
    """One line for a run, on standard error."""
    every = {**run.cpu, "others": run.others, "the floor": run.floor_us}
    spent = ", ".join(f"{name} {used:.0f}" for name, used in every.items())
    typer.echo(
        f"{run.attestations_per_s:.0f}/s, p50 {run.p50_ms} ms, p99 {run.p99_ms} ms, µs of CPU each: {spent}", err=True
    )


def _summary(report: Report) -> "Table":
    names = [name for name in Report.__struct_fields__ if name not in ("cpu", "runs")]
    return table("Medians", ("figure", "value"), [(name, getattr(report, name)) for name in names])


def _cpu(report: Report) -> "Table":
    rows = [*report.cpu.items(), ("all", round(sum(report.cpu.values()), 1))]
    return table("µs of CPU per attestation", ("process", "µs"), rows)
