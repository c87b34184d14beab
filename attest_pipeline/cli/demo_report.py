"""What the demo found: counted, compared with what each agent must get, and shown to people."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import quantiles
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from attest_pipeline import result
from attest_pipeline.adapters.site import Site, issuer
from attest_pipeline.cli.load import Load
from attest_pipeline.cli.real_evidence import Real
from attest_pipeline.jws import Jwks
from attest_pipeline.result import AttestationResult
from attest_pipeline.simulator.fleet import Member

FLEET_TENANT: Final = "demo"
REPLAY_TENANT: Final = "replay"
"""Tenant of the real Evidence: it trusts no simulated vendor."""


class Row(Struct, frozen=True, order=True):
    """Agents of one TEE that got the same verdict for the same reason."""

    tee: str
    status: str
    reason: str
    agents: int


class RealRow(Struct, frozen=True):
    """What a piece of real Evidence got."""

    name: str
    tee: str
    judged_at: str
    status: str
    outcome: str
    reason: str
    tcb_status: str | None
    expected: bool


class Report(Struct, frozen=True, kw_only=True):
    """Everything the demo found. It succeeded if `unexpected` is empty and the last three hold."""

    agents: int
    seconds: float
    attestations_per_s: float
    p50_ms: float
    p99_ms: float
    durability: str
    rows: tuple[Row, ...]
    real: tuple[RealRow, ...]
    unexpected: tuple[str, ...]
    token: AttestationResult
    webhook: dict[str, str] | None

    @property
    def ok(self) -> bool:
        """Whether every verdict was the expected one and the webhook arrived and verified."""
        return not self.unexpected and self.webhook is not None and all(row.expected for row in self.real)


class Findings(NamedTuple):
    """What the demo brought home: the fleet's tokens and times, real Evidence with its tokens, the webhook."""

    load: Load
    seconds: float
    real: Sequence[tuple[Real, bytes]]
    webhook: dict[str, str] | None
    durability: str


def build(site: Site, fleet: Sequence[Member], findings: Findings) -> Report:
    """Check every token as a Relying Party and put the findings together. Raises BadToken."""
    keys = msgspec.json.decode(site.jwks.read_bytes(), type=Jwks).keys
    now = int(time.time())  # noqa: TID251 - the Relying Party's clock

    def checked(token: bytes, tenant: str) -> AttestationResult:
        return result.check(token, keys, audience=tenant, issuer=issuer(tenant), now=now)

    results = {member.agent: checked(findings.load.tokens[member.agent], FLEET_TENANT) for member in fleet}
    cuts = quantiles(findings.load.seconds, n=100)
    return Report(
        agents=len(fleet),
        seconds=round(findings.seconds, 3),
        attestations_per_s=round(len(fleet) / findings.seconds, 1),
        p50_ms=round(cuts[49] * 1e3, 2),
        p99_ms=round(cuts[98] * 1e3, 2),
        durability=findings.durability,
        rows=_rows(fleet, results),
        real=tuple(_real_row(one, checked(token, REPLAY_TENANT)) for one, token in findings.real),
        unexpected=_unexpected(fleet, results),
        token=results[fleet[0].agent],
        webhook=findings.webhook,
    )


def _rows(fleet: Sequence[Member], results: Mapping[str, AttestationResult]) -> tuple[Row, ...]:
    verdicts = ((member.vendor.tee, results[member.agent]) for member in fleet)
    counts = Counter((tee, found.status, _only(found).reason) for tee, found in verdicts)
    return tuple(sorted(Row(*verdict, count) for verdict, count in counts.items()))


def _unexpected(fleet: Sequence[Member], results: Mapping[str, AttestationResult]) -> tuple[str, ...]:
    lines = []
    for member in fleet:
        status, details = results[member.agent].status, _only(results[member.agent])
        if not member.expects(status, details.outcome, details.reason):
            lines.append(f"{member.agent}: {member.fault or 'healthy'} got {status} ({details.reason})")
    return tuple(lines)


def _only(found: AttestationResult) -> result.Details:
    return next(iter(found.submods.values())).details


def _real_row(one: Real, found: AttestationResult) -> RealRow:
    details = _only(found)
    return RealRow(
        name=one.name,
        tee=one.tee,
        judged_at=one.at,
        status=found.status,
        outcome=details.outcome,
        reason=details.reason,
        tcb_status=details.tcb_status,
        expected=details.outcome == one.outcome,
    )


STYLES = {"affirming": "green", "warning": "yellow", "none": "magenta", "contraindicated": "red"}


def show(report: Report, console: Console) -> None:
    """Print the report for people."""
    console.print(_verdicts(report))
    if report.real:
        console.print(_real_table(report))
    console.print(
        f"[bold]{report.agents}[/] agents in {report.seconds} s: [bold]{report.attestations_per_s:.0f}[/]/s, "
        f"latency p50 {report.p50_ms} ms, p99 {report.p99_ms} ms; a PubAck survives [bold]{report.durability}[/]"
    )
    console.print(_token(report.token))
    _show_webhook(report.webhook, console)
    for line in report.unexpected:
        console.print(f"[red]unexpected:[/] {line}")
    verdict = "[green]every verdict was the expected one[/]" if report.ok else "[red]something was not as expected[/]"
    console.print(verdict)


def _verdicts(report: Report) -> Table:
    table = Table("TEE", "verdict", "reason", "agents", title="Simulated fleet")
    for row in report.rows:
        table.add_row(row.tee, f"[{STYLES[row.status]}]{row.status}[/]", row.reason, str(row.agents))
    return table


def _real_table(report: Report) -> Table:
    table = Table(title="Real Evidence, replayed")
    for name in ("TEE", "evidence", "judged", "proof", "TCB", "verdict and reason"):
        table.add_column(name, overflow="fold")
    for row in report.real:
        verdict = f"[{STYLES[row.status]}]{row.status}[/] {row.reason}"
        table.add_row(row.tee, row.name, row.judged_at[:10], row.outcome, row.tcb_status or "", verdict)
    return table


def _token(token: AttestationResult) -> Table:
    """One token as its Relying Party sees it: signature, issuer, audience and times hold."""
    details = _only(token)
    table = Table("claim", "value", "why", title=f"A token for {token.sub}, verified with the JWKS: {token.status}")
    for reason in details.reasons:
        table.add_row(reason.claim, str(reason.value), f"{reason.reason}: {reason.detail}")
    table.add_row("reference values", f"{details.reference_set} {details.reference_version}", "")
    table.add_row("checks", "", ", ".join(details.checks))
    return table


def _show_webhook(webhook: dict[str, str] | None, console: Console) -> None:
    if webhook is None:
        console.print("[red]no webhook came[/]")
        return
    console.print(
        f"webhook {webhook['webhook-id']}: {webhook['type']}, {webhook['agent']} is {webhook['status']}; "
        "its signature was verified by the standardwebhooks library"
    )
