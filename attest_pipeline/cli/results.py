"""An Attestation Result for people: who, what, status, and the reason of every claim."""

from collections.abc import Iterator

import typer
from rich.console import Console

from attest_pipeline.cli.output import STYLES, Exit, Output, emit, plain, table
from attest_pipeline.ear import Status
from attest_pipeline.result import AttestationResult, Submod


def conclude(result: AttestationResult, trust: str, output: Output) -> None:
    """Show a result and end the command: exit 0 only if it is affirming. `trust` says why it may be believed."""
    show(result, trust, output)
    raise typer.Exit(Exit.OK if result.status == Status.AFFIRMING else Exit.NOT_AFFIRMING)


def show(result: AttestationResult, trust: str, output: Output) -> None:
    """Show a result without judging it."""
    if output is Output.JSON:
        emit(result)
        return
    console = Console()
    status = plain(result.status)
    console.print(f"{plain(result.sub)} is {status} ({trust})", style=STYLES.get(status, ""), markup=False)
    console.print(table("result", ("", ""), _head(result)))
    for label, submod in result.submods.items():
        console.print(table(f"{label}: {submod.status}", ("what", "value", "why"), _rows(submod)))


def _head(result: AttestationResult) -> Iterator[tuple[str, object]]:
    yield "issuer", result.iss
    yield "audience", result.aud
    yield "attestation id", result.jti
    yield "issued, expires", f"{result.iat}, {result.exp} (seconds since 1970)"
    if isinstance(result.nonce, str):
        yield "challenge", result.nonce
    if isinstance(result.cnf, dict):
        yield "attester key", "the Attester must prove that it holds the key in `cnf`"


def _rows(submod: Submod) -> Iterator[tuple[object, object, object]]:
    details = submod.details
    why = {reason.claim: f"{reason.reason}: {reason.detail}" for reason in details.reasons}
    for claim, value in submod.vector.items():
        yield claim, value, why.get(claim, details.reason)
    yield "outcome", details.outcome, f"{details.reason}: {details.detail}" if details.detail else details.reason
    yield "fresh", details.fresh, "judged at a time of its own (replay)" if details.replayed else ""
    yield "debug", details.debug, ""
    yield "TCB status", details.tcb_status, ""
    yield "hardware", details.hardware_id, ""
    if details.reference_set is not None:
        yield "reference values", details.reference_set, details.reference_version
    for mismatch in details.mismatches:
        expected = (
            f"expected {', '.join(map(str, mismatch.expected))}" if mismatch.expected else "not on the allow-list"
        )
        yield f"mismatch {mismatch.field}", mismatch.got, expected
    for policy in submod.policies:
        yield "policy", policy, ""
    if details.degraded:
        yield "degraded", "", f"stale, could not be fetched anew: {', '.join(details.degraded)}"
    yield "checks made", "", ", ".join(details.checks)
