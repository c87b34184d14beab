"""The `attest` command. Each sub-command is a file; it is imported only when it is called, so that starting is fast."""

import sys
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

from attest_pipeline.cli.output import complain, exit_code
from attest_pipeline.errors import AttestationError
from attest_pipeline.jws import BadToken

COMMANDS: Final = {
    "up": "up",
    "worker": "up",
    "demo": "demo",
    "simulate": "simulate",
    "verify": "verify",
    "submit": "submit",
    "batch": "submit",
    "token": "token",
    "schemas": "schemas",
    "init": "compose",
    "provision": "compose",
    "compose": "compose",
    "bench": "bench",
    "collateral": "collateral",
}
"""Sub-command → module of this package that holds a function (or, for a group, a Typer) of that name."""


class _Lazy(TyperGroup):
    """Imports the module of a sub-command when it is asked for."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # noqa: ARG002 - the contract
        """Every sub-command, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]  # noqa: ARG002 - the contract
        """The sub-command, or None if there is no such one."""
        if cmd_name not in COMMANDS:
            return None
        found = getattr(import_module(f"{__name__}.{COMMANDS[cmd_name]}"), cmd_name)
        group = found if isinstance(found, typer.Typer) else typer.Typer(add_completion=False)
        if group is not found:
            group.command(cmd_name)(found)
        command = typer.main.get_command(group)
        command.name = cmd_name
        return command


app: Final = typer.Typer(cls=_Lazy, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def attest() -> None:
    """Attest fleets of confidential-computing machines."""


def main() -> None:
    """Entry point. Every error that the library raises on purpose is one line and an exit code (`output.Exit`)."""
    try:
        app()
    except (AttestationError, BadToken) as error:
        complain(str(error))
        sys.exit(exit_code(error))
    except OSError as error:  # a disk that is full, a directory that is not ours
        complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        sys.exit(exit_code(error))
