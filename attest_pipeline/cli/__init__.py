"""The `attest` command."""

import sys
from typing import Final

import typer
from rich.console import Console

from attest_pipeline.cli.compose import compose, init, provision
from attest_pipeline.cli.demo import demo
from attest_pipeline.cli.up import up, worker
from attest_pipeline.errors import AttestationError, BadEvidence, Misconfigured
from attest_pipeline.jws import BadToken

OK: Final = 0
NOT_AFFIRMING: Final = 1
USAGE: Final = 2
TIMEOUT: Final = 3
INFRASTRUCTURE: Final = 4

app: Final = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Attest fleets of confidential-computing machines."
)
for _command in (up, worker, demo, init, provision, compose):
    app.command()(_command)


def main() -> None:
    """Entry point. Exit codes: 0 ok, 1 not affirming, 2 usage, 3 timeout, 4 infrastructure."""
    try:
        app()
    except (AttestationError, BadToken) as error:
        Console(stderr=True).print(f"[red]{error}[/]")
        sys.exit(_code(error))


def _code(error: Exception) -> int:
    if isinstance(error, BadEvidence | BadToken):
        return NOT_AFFIRMING
    return USAGE if isinstance(error, Misconfigured) else INFRASTRUCTURE
