"""What a parser is given, and what is asked of it."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from msgspec import Struct

from attest_pipeline.errors import BadEvidence

MAX_ITEM: Final = 256 * 1024
"""Bytes of one item: the most that a message may hold (`wire.MAX_ITEM`)."""


class Case(Struct, frozen=True):
    """One input: `items` come from outside and are altered; `given` (anchors, time) is the Verifier's own."""

    items: Mapping[str, bytes]
    given: bytes = b""


def unsigned(case: Case) -> Case:
    """The case as it is: nothing in it is signed, or nobody here has the key."""
    return case


class Target(NamedTuple):
    """A parser under test: `run` may raise `errors` and nothing else.

    `seeds` are inputs that it takes, `resign` makes the signatures of an altered case good again, as far as the
    simulator holds the keys, so that what lies behind them is reached too.
    """

    name: str
    run: Callable[[Case], object]
    seeds: Callable[[], list[Case]]
    errors: tuple[type[Exception], ...] = (BadEvidence,)
    resign: Callable[[Case], Case] = unsigned


def data_of(case: Case) -> bytes:
    """The only item of a case, which an alteration may have dropped."""
    return case.items.get("data", b"")


def cases(*documents: bytes) -> list[Case]:
    """A case for each document."""
    return [Case({"data": document}) for document in documents]
