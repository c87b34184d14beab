"""One piece of collateral as it is kept: documents, where they came from, how long they hold, what supersedes them."""

import hashlib
from typing import Final

from msgspec import Struct

MINUTE: Final = 60
DAY: Final = 86_400
WEEK: Final = 7 * DAY
FOREVER: Final = 1 << 33
"""Seconds since 1970 until which a document without dates holds."""
MAX_RECORD: Final = 768 * 1024
"""Bytes of all documents of a record: it must fit into one message of the broker."""

_AHEAD: Final = 4
"""A record is refreshed before its last fourth begins, or its last week if that is shorter."""
_SPREAD: Final = 10
"""Records fetched together are refreshed up to a tenth of their time apart."""


class Lifetime(Struct, frozen=True):
    """How a kind ages, in seconds after it was fetched: fetched anew after the one, called stale after the other."""

    refresh_after: int
    stale_after: int


class Record(Struct, frozen=True, kw_only=True):
    """Documents of one reference, each proven under a pinned root before it got here.

    `name` is `<kind>/<key>`, `source` says who gave them. Times are seconds since 1970: `valid_from` and `valid_until`
    are the window in which every document holds. `sequence` counts versions, part by part (TCB evaluation data
    numbers, CRL numbers).
    """

    name: str
    documents: tuple[bytes, ...]
    source: str
    fetched_at: int
    valid_from: int
    valid_until: int
    sequence: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all documents."""
        return sum(map(len, self.documents))

    @property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of each document."""
        return tuple(hashlib.sha256(document).hexdigest() for document in self.documents)


def is_usable(record: Record, now: float) -> bool:
    """Whether every document still holds. What does not is never served: it would condemn Evidence that only waits."""
    return now < record.valid_until


def stale_at(record: Record, lifetime: Lifetime) -> int:
    """From when on the record is served with a word about its age: refreshing it has failed for long."""
    return record.fetched_at + lifetime.stale_after


def due_at(record: Record, lifetime: Lifetime) -> int:
    """When to fetch the record anew: after its kind's time, but well ahead of its end.

    The spread comes from the name, so that records of one moment are not asked for in one moment again.
    """
    spread = int.from_bytes(hashlib.sha256(record.name.encode()).digest()[:2])
    refresh_after = lifetime.refresh_after - lifetime.refresh_after * spread // (_SPREAD << 16)
    ahead = min(WEEK, (record.valid_until - record.fetched_at) // _AHEAD)
    return min(record.fetched_at + refresh_after, record.valid_until - ahead)


def rolls_back(record: Record, known: Record | None) -> bool:
    """Whether any part of the record is of an earlier version than what is known."""
    if known is None or len(known.sequence) != len(record.sequence):
        return False
    return any(new < old for new, old in zip(record.sequence, known.sequence, strict=True))
