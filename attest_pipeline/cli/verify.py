"""`attest verify`: judge Evidence on this machine alone, with the library that the workers use."""

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from attest_pipeline import verifiers, wire
from attest_pipeline.cli import inputs, stream
from attest_pipeline.cli.output import Exit, Output, OutputOption, emit, table
from attest_pipeline.cli.proof import Outcome, Proof, prove
from attest_pipeline.errors import Misconfigured
from attest_pipeline.model import Endorsements, Evidence, EvidenceCollection, SuppliedChallenge
from attest_pipeline.owner.tenant import DEVELOPMENT_ONLY

MAIN_ITEMS: Final = {
    "tdx": "quote",
    "sgx": "quote",
    "snp": "report",
    "cca": "token",
    "psa": "token",
    "virtcca": "token",
    "nitro": "document",
    "nvidia-gpu": "report",
    "nvidia-switch": "report",
    "csv": "report",
    "itrustee": "report",
    "ascend-npu": "firmware_log",
    "sample": "report",
}
"""The item that FILE is, for each TEE."""
Pairs = list[str] | None


def verify(  # noqa: PLR0913 - options of a command
    file: Annotated[
        Path | None, typer.Argument(help="Evidence collection (JSON), or with --tee the main item.")
    ] = None,
    *,
    protocol: Annotated[bool, typer.Option("--stream", help="Answer JSON requests on standard input.")] = False,
    tee: Annotated[str | None, typer.Option(help="FILE is raw Evidence of this TEE, such as snp.")] = None,
    item: Annotated[Pairs, typer.Option(help="Further item of raw Evidence: name=path.")] = None,
    endorsement: Annotated[Pairs, typer.Option(help="Endorsement: item=path; several for one item in order.")] = None,
    challenge: Annotated[str | None, typer.Option(help="The whole field that must carry it, hexadecimal.")] = None,
    at: Annotated[str | None, typer.Option(help="Time to judge at (RFC 3339); default now.")] = None,
    config: Annotated[Path | None, typer.Option(help="Tenant directory: match and appraise by it, too.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Prove Evidence offline; with --config also match and appraise it. Exit 0 only if it holds, or is affirming."""
    if protocol:
        _stream()
        return
    given = _collection(file, tee, item or [])
    collection = msgspec.structs.replace(
        given,
        challenge=_challenge(given, inputs.from_hex(challenge, "--challenge")),
        as_of=given.as_of if at is None else inputs.seconds(at),
        endorsements=given.endorsements | inputs.named_files(endorsement or []),
    )
    now = int(time.time())  # noqa: TID251 - the user's clock
    if config is None:
        _prove(collection, _admitted(tee), now, output)
    else:
        _appraise(config, collection, now, output)


def _stream() -> None:
    for line in stream.answers(verifiers.load(_admitted(), {}), sys.stdin.buffer):
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


def _admitted(named: str | None = None) -> list[str]:
    """Every installed TEE that proves something, and the one that the user names."""
    installed = {point.name for point in entry_points(group=verifiers.GROUP)}
    return sorted(installed - DEVELOPMENT_ONLY | ({named} if named else set()))


# ── what is judged ────────────────────────────────────────────────────────────────────────────────────────────────────
def _collection(file: Path | None, tee: str | None, pairs: Sequence[str]) -> EvidenceCollection:
    if tee is None:
        if file is None or pairs:
            raise Misconfigured("name a file that holds an Evidence collection, or say --tee for raw Evidence")
        return wire.decode_collection(inputs.read(file), wire.JSON)
    items = {name: found[-1] for name, found in inputs.named_files(pairs).items()}
    if file is not None:
        if tee not in MAIN_ITEMS:
            raise Misconfigured(f"what is FILE for TEE {tee!r}? name it: --item name=path")
        items[MAIN_ITEMS[tee]] = inputs.read(file)
    return EvidenceCollection(evidence=(Evidence(tee, items),))


def _challenge(collection: EvidenceCollection, supplied: bytes | None) -> SuppliedChallenge | None:
    """The challenge as far as it can be checked here: what a Verifier issued, only that Verifier can."""
    if supplied is not None:
        return SuppliedChallenge(supplied)
    return collection.challenge if isinstance(collection.challenge, SuppliedChallenge) else None


# ── proof alone ───────────────────────────────────────────────────────────────────────────────────────────────────────
def _prove(collection: EvidenceCollection, tees: Sequence[str], now: int, output: Output) -> None:
    loaded = verifiers.load(tees, {})
    endorsements = Endorsements(collection.endorsements)
    challenge = collection.challenge.value if isinstance(collection.challenge, SuppliedChallenge) else None
    at = datetime.fromtimestamp(now if collection.as_of is None else collection.as_of, UTC)
    proofs = [prove(loaded, one, endorsements, challenge=challenge, now=at) for one in collection.evidence]
    if output is Output.JSON:
        emit(proofs)
    else:
        _show(proofs)
    held = all(proof.outcome is Outcome.VERIFIED for proof in proofs)
    raise typer.Exit(Exit.OK if held else Exit.NOT_AFFIRMING)


def _show(proofs: Sequence[Proof]) -> None:
    from rich.console import Console  # noqa: PLC0415 - a stream of machines never needs it

    console = Console()
    for proof in proofs:
        console.print(table(f"{proof.tee}: {proof.outcome}", ("", ""), _rows(proof)))


def _rows(proof: Proof) -> list[tuple[str, object]]:
    claims = proof.claims
    if claims is None:
        return [("reason", proof.reason), ("detail", proof.detail)]
    return [
        ("reason", proof.reason),
        ("hardware", claims.hardware_id),
        ("signer", claims.signer),
        ("TCB status", claims.tcb_status),
        ("debug", claims.debug),
        ("challenge", "verified" if claims.challenge_verified else "not checked: give --challenge"),
        ("checks made", ", ".join(claims.checks)),
        *claims.fields.items(),
    ]


# ── proof, match and appraisal ────────────────────────────────────────────────────────────────────────────────────────
def _appraise(directory: Path, collection: EvidenceCollection, now: int, output: Output) -> None:
    from attest_pipeline.cli import offline, results  # noqa: PLC0415 - bring the policy engine along

    results.conclude(offline.appraise(directory, collection, now=now), "judged on this machine", output)
