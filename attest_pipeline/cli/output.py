"""How commands speak: text for people, JSON for machines, exit codes for scripts."""

from collections.abc import Iterable, Sequence
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from attest_pipeline.errors import AttestationError, BadEvidence, Misconfigured
from attest_pipeline.jws import BadToken

if TYPE_CHECKING:
    from rich.table import Table

STYLES: Final = {"affirming": "green", "warning": "yellow", "none": "magenta", "contraindicated": "red"}
"""Colour of each status."""


class Output(StrEnum):
    """`--output`: JSON goes to standard output alone; progress and errors to standard error."""

    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option(help="text for people, json for machines.")]


class Exit(IntEnum):
    """Exit codes; they never change their meaning."""

    OK = 0
    NOT_AFFIRMING = 1
    USAGE = 2
    TIMEOUT = 3
    INFRASTRUCTURE = 4


class TimedOut(AttestationError):
    """What was waited for did not come in the time the user gave."""


def exit_code(error: Exception) -> Exit:
    """Exit code of an error that ends a command."""
    if isinstance(error, BadEvidence | BadToken):
        return Exit.NOT_AFFIRMING
    if isinstance(error, TimedOut):
        return Exit.TIMEOUT
    return Exit.USAGE if isinstance(error, Misconfigured) else Exit.INFRASTRUCTURE


def complain(text: str) -> None:
    """One line on standard error."""
    typer.secho(f"attest: {plain(text)}", fg="red", err=True)


def emit(value: object) -> None:
    """JSON on standard output."""
    typer.echo(msgspec.json.encode(value))


def plain(value: object) -> str:
    """Text that cannot steer a terminal: Evidence and tokens choose parts of what is printed."""
    return "".join(character if character.isprintable() else "\ufffd" for character in str(value))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> "Table":
    """A table of untrusted values: whole, no markup, no control characters, null as an empty cell."""
    from rich.table import Table  # noqa: PLC0415 - a stream of machines never needs it
    from rich.text import Text  # noqa: PLC0415 - the same

    made = Table(*columns, title=Text(plain(title)))
    for row in rows:
        made.add_row(*(Text("" if cell is None else plain(cell), overflow="fold") for cell in row))
    return made
