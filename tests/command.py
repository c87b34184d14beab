"""What a run of the `attest` command in the test's process looks like (fixture `attest` in cli/conftest.py)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec


class Done(NamedTuple):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """What it wrote on standard output, decoded."""
        return msgspec.json.decode(self.out)


Attest = Callable[..., Done]
