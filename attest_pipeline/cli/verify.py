"""`attest verify`: judge Evidence on this machine alone, with the library that the workers use."""

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from attest_pipeline import verifiers, wire
from attest_pipeline.adapters.site import DEFAULT_TEES
from attest_pipeline.cli import inputs, stream
from attest_pipeline.cli.output import Exit, Output, OutputOption, emit, table
from attest_pipeline.cli.proof import Outcome, Proof, prove
from attest_pipeline.errors import Misconfigured
from attest_pipeline.model import Endorsements, Evidence, EvidenceCollection, SuppliedChallenge

MAIN_ITEMS: Final = {
    "tdx": "quote",
    "sgx": "quote",
    "snp": "report",
    "cca": "token",
    "virtcca": "token",
    "sample": "report",
}
"""The item that FILE is, for each TEE."""
Files = list[Path] | None
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
    policy: Annotated[Files, typer.Option(help="Appraise by this Rego policy instead of the default one.")] = None,
    references: Annotated[Files, typer.Option(help="Compare with this Reference Value Set (JSON).")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Prove Evidence offline; with --policy or --references also match and appraise it. Exit 0 only if it holds."""
    admitted = dict.fromkeys((*DEFAULT_TEES, tee) if tee else DEFAULT_TEES)
    if protocol:
        _stream(tuple(admitted))
        return
    collection = _collection(file, tee, item or [])
    supplied = inputs.from_hex(challenge, "--challenge")
    collection = msgspec.structs.replace(
        collection,
        challenge=_challenge(collection) if supplied is None else SuppliedChallenge(supplied),
        as_of=_moment(at, collection.as_of),
        endorsements=collection.endorsements | inputs.named_files(endorsement or []),
    )
    if policy or references:
        _appraise(collection, tuple(admitted), policy or [], references or [], output)
    else:
        _prove(collection, tuple(admitted), output)


def _stream(tees: Sequence[str]) -> None:
    for line in stream.answers(verifiers.load(tees, {}), sys.stdin.buffer):
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


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


def _challenge(collection: EvidenceCollection) -> SuppliedChallenge | None:
    """The challenge as far as it can be checked here: what a Verifier issued, only that Verifier can."""
    return collection.challenge if isinstance(collection.challenge, SuppliedChallenge) else None


def _moment(at: str | None, as_of: int | None) -> int:
    if at is not None:
        return inputs.seconds(at)
    return int(time.time()) if as_of is None else as_of  # noqa: TID251 - the user's clock


# ── proof alone ───────────────────────────────────────────────────────────────────────────────────────────────────────
def _prove(collection: EvidenceCollection, tees: Sequence[str], output: Output) -> None:
    loaded = verifiers.load(tees, {})
    endorsements = Endorsements(collection.endorsements)
    challenge = collection.challenge.value if isinstance(collection.challenge, SuppliedChallenge) else None
    now = datetime.fromtimestamp(collection.as_of or 0, UTC)
    proofs = [prove(loaded, one, endorsements, challenge=challenge, now=now) for one in collection.evidence]
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
def _appraise(
    collection: EvidenceCollection,
    tees: Sequence[str],
    policies: Sequence[Path],
    references: Sequence[Path],
    output: Output,
) -> None:
    from attest_pipeline.cli import offline, results  # noqa: PLC0415 - bring the policy engine along

    found = offline.appraise(collection, tees, policies, references)
    results.conclude(found, "judged on this machine", output)
