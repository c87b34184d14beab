"""Command line: `python -m fuzz [--target PATTERN] [--seconds N]`, and `--replay FILE` for what it found."""

import argparse
import hashlib
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from fuzz.campaign import Finding, judge
from fuzz.case import Target
from fuzz.runner import Outcome, fuzz
from fuzz.targets import chosen

_MIB: Final = 1 << 20


def main(arguments: Sequence[str]) -> int:
    """Run what the command line says; 1 if there is a finding, 2 if there is no such target."""
    console = Console(width=120)
    options = _parser().parse_args(arguments)
    if options.replay is not None:
        return _replay(options.replay, console)
    targets = chosen(options.target)
    if not targets:
        console.print(f"no target matches {options.target!r}")
        return 2
    seed = secrets.randbits(32) if options.seed is None else options.seed
    seconds = options.seconds if options.total is None else options.total / len(targets)
    console.print(f"{len(targets)} targets, {seconds:g} s each, seed {seed}")
    outcomes = _run(targets, seconds, seed, console)
    console.print(_table(outcomes))
    findings = [finding for outcome in outcomes for finding in outcome.tally.findings]
    for finding in findings:
        _save(finding, options.findings, console)
    return 1 if findings else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--target", default="*", help="pattern of target names, such as 'verify *'")
    parser.add_argument("--seconds", type=float, default=600.0, help="time for each target")
    parser.add_argument("--total", type=float, help="time for all targets together, in place of --seconds")
    parser.add_argument("--seed", type=int, help="of the mutations; the simulator's keys are new in each run")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="directory for findings")
    parser.add_argument("--replay", type=Path, help="run one finding again")
    return parser


def _run(targets: Sequence[Target], seconds: float, seed: int, console: Console) -> list[Outcome]:
    """Every target in turn, with a live line for it."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[done]}"))
    outcomes = []
    with Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False) as progress:
        whole = progress.add_task("all", total=len(targets), done="")
        for target in targets:
            progress.update(whole, description=target.name)
            outcomes.append(fuzz(target, seconds, seed, lambda n: progress.update(whole, done=f"{n} executions")))
            progress.advance(whole)
    return outcomes


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table("target", *("executions", "per s", "lines", "slowest ms", "grown MiB", "findings"))
    for column in table.columns[1:]:
        column.justify = "right"
    for outcome in outcomes:
        tally = outcome.tally
        table.add_row(
            outcome.target,
            f"{tally.executions:,}",
            f"{tally.executions / outcome.seconds:,.0f}",
            str(tally.lines),
            f"{1000 * tally.slowest:.1f}",
            f"{outcome.grown / _MIB:.0f}",
            str(len(tally.findings)),
        )
    executions = sum(outcome.tally.executions for outcome in outcomes)
    table.add_row("all", f"{executions:,}", *[""] * 4, str(sum(len(outcome.tally.findings) for outcome in outcomes)))
    return table


def _save(finding: Finding, directory: Path, console: Console) -> None:
    encoded = msgspec.msgpack.encode(finding)
    path = directory / f"{finding.target.replace(' ', '-')}-{hashlib.sha256(encoded).hexdigest()[:8]}"
    directory.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded)
    console.print(f"{finding.target}: {finding.what} ({finding.where})", markup=False)
    console.print(f"  replay: PYTHONPATH=tests .venv/bin/python -m fuzz --replay {path}", markup=False)


def _replay(path: Path, console: Console) -> int:
    """Run the input of a saved finding once more, its exception unhandled."""
    finding = msgspec.msgpack.decode(path.read_bytes(), type=Finding)
    (target,) = (target for target in chosen() if target.name == finding.target)
    found, seconds = judge(target, finding.case)
    console.print(
        f"{finding.target}: {1000 * seconds:.1f} ms; {'holds' if found is None else found.what}", markup=False
    )
    return 0 if found is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
