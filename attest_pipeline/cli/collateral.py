"""`attest collateral import|list|show`: collateral for sites that no vendor can be reached from, and a look at it."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from attest_pipeline.adapters import collateral_store
from attest_pipeline.adapters.collateral_sources import IMPORTED, Directory, read_settings
from attest_pipeline.adapters.site import Site
from attest_pipeline.cli import inputs
from attest_pipeline.cli.output import Output, OutputOption, complain, emit, table
from attest_pipeline.collateral.book import Book
from attest_pipeline.collateral.imports import recognise
from attest_pipeline.collateral.recipes import BadCollateral
from attest_pipeline.collateral.records import Record, rolls_back
from attest_pipeline.errors import Misconfigured

collateral = typer.Typer(add_completion=False, no_args_is_help=True, help="Look at collateral, or bring it along.")
StateOption = Annotated[Path, typer.Option(help="State directory.")]
_STATE: Final = Path("state")


@collateral.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="Files; what they hold is told by their content.")],
    state: StateOption = _STATE,
    name: Annotated[str | None, typer.Option("--as", help="Reference name of the only file: <kind>/<key>.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Prove files under the vendors' roots and lay them down for the collateral worker, which takes them up at once."""
    if name is not None and len(files) != 1:
        raise Misconfigured("--as names one file")
    home = Site(state).collateral
    found: dict[str, tuple[bytes, ...]] = {}
    for path in files:
        data = inputs.read(path)
        try:
            found |= {name: (data,)} if name is not None else recognise(data)
        except BadCollateral as error:
            raise Misconfigured(f"{path}: {error}; --as <kind>/<key> says what it is") from None
    for record in _proven(home, found):
        _lay_down(home / IMPORTED, record)
        if output is Output.JSON:
            emit(_about(record))
        else:
            typer.echo(f"{record.name} until {_day(record.valid_until)}")


@collateral.command("list")
def list_(state: StateOption = _STATE, output: OutputOption = Output.TEXT) -> None:
    """What the collateral worker holds, and what is laid down for it."""
    records = _known(Site(state).collateral)
    if output is Output.JSON:
        emit([_about(record) for record in records.values()])
        return
    columns = ("reference", "source", "fetched", "holds until", "bytes")
    rows = [
        (record.name, record.source, _day(record.fetched_at), _day(record.valid_until), record.size)
        for record in records.values()
    ]
    Console().print(table("collateral", columns, rows))


@collateral.command()
def show(
    name: Annotated[str, typer.Argument(help="Reference name: <kind>/<key>.")],
    state: StateOption = _STATE,
    output: OutputOption = Output.TEXT,
) -> None:
    """One record: window, versions and digests, as results name them."""
    record = _known(Site(state).collateral).get(name)
    if record is None:
        raise Misconfigured(f"no collateral {name}; `attest collateral list` shows what there is")
    about = _about(record)
    if output is Output.JSON:
        emit(about)
        return
    Console().print(table(name, ("what", "value"), ((what, value) for what, value in about.items())))


def _proven(home: Path, found: Mapping[str, tuple[bytes, ...]]) -> Iterator[Record]:
    """Records of the documents, those first on which others stand. Raises Misconfigured."""
    book, known = _book(home), _known(home)
    now = int(time.time())  # noqa: TID251 - the operator's clock
    for name in found:
        try:
            book.of(name)
        except BadCollateral as error:
            raise Misconfigured(str(error)) from None
    for name in sorted(found, key=lambda one: len(book.needs(one))):
        try:
            record = _record(book, known, name, found[name], now)
        except BadCollateral as error:
            raise Misconfigured(f"{name}: {error}") from None
        if rolls_back(record, known.get(name)):
            raise Misconfigured(f"{name}: older than what is known")
        known[name] = record
        yield record


def _known(home: Path) -> dict[str, Record]:
    """Records of the worker's store, and of files that it has not taken up yet."""
    book, directory = _book(home), Directory(home / IMPORTED)
    known = {record.name: record for record in collateral_store.read(home)}
    for name, at in sorted(directory.changed().items(), key=lambda one: len(book.needs(one[0]))):
        if name not in known or known[name].fetched_at < at:
            try:
                known[name] = _record(book, known, name, directory.documents(name), at)
            except BadCollateral as error:
                complain(f"{home / IMPORTED / name}: {error}")
    return dict(sorted(known.items()))


def _book(home: Path) -> Book:
    return Book(read_settings(home).trust_anchors)


def _record(book: Book, known: Mapping[str, Record], name: str, documents: tuple[bytes, ...], at: int) -> Record:
    needs = book.needs(name)
    if missing := [need for need in needs if need not in known]:
        raise BadCollateral(f"import {missing[0]} first, which proves it")
    return book.record(name, documents, {need: known[need].documents for need in needs}, source="import", now=at)


def _lay_down(directory: Path, record: Record) -> None:
    """Write one file in a single step: a worker that looks sees the old one or the new one."""
    path = directory / record.name
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(record.documents[0])
    part.replace(path)


def _about(record: Record) -> dict[str, object]:
    return {
        "reference": record.name,
        "source": record.source,
        "fetched_at": record.fetched_at,
        "valid_from": record.valid_from,
        "valid_until": record.valid_until,
        "sequence": list(record.sequence),
        "bytes": record.size,
        "sha256": list(record.digests),
    }


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds)) if seconds < 1 << 32 else "for ever"
