"""Reading what a device sends again: bytes that differ from earlier ones only in fields that change every time.

A device that is attested every minute sends the same token with another challenge and another signature. To read it as
if it were the first costs as much as to check its signature; to see that all the rest is known costs a look-up.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final, Generic, TypeVar

from msgspec.structs import replace

from attest_pipeline.model import Claims, FieldValue

T = TypeVar("T")
_Spans = tuple[tuple[int, int], ...]
"""Where the fields stand, first and behind the last byte, ascending."""

_KEPT: Final = 8192
_KEPT_BYTES: Final = 8 * 1024 * 1024
"""Of bytes that do not change; the values made of them take a few times as much."""
_FIELD: Final = 16
"""Bytes of the shortest field: a shorter one may well stand elsewhere too."""


class Recurring(Generic[T]):
    """A reader with a memory for everything but the fields that change.

    `read` makes a value of bytes. `changing` names those parts of a value that change, each as it stands in the bytes
    and in that order. `renewed` is the value with others of the same lengths instead, or None if it cannot say.

    This gives what `read` gives only if a field may hold any bytes of its length without anything else being read
    differently: the content of a byte string of CBOR, not that of a string of JSON, unless `renewed` looks at it.
    """

    def __init__(
        self,
        read: Callable[[bytes], T],
        changing: Callable[[T], Sequence[bytes]],
        renewed: Callable[[T, Sequence[bytes]], T | None],
    ) -> None:
        self._read = read
        self._changing = changing
        self._renewed = renewed
        self._spans: dict[int, _Spans] = {}
        self._known: dict[tuple[object, ...], T] = {}
        self._bytes = 0

    def __call__(self, data: bytes) -> T:
        """What `read` makes of the bytes. Raises what `read` raises."""
        spans = self._spans.get(len(data))
        if spans is not None:
            known = self._known.get(_rest(data, spans))
            value = None if known is None else self._renewed(known, [data[start:stop] for start, stop in spans])
            if value is not None:
                return value
        value = self._read(data)
        self._learn(data, value)
        return value

    def _learn(self, data: bytes, value: T) -> None:
        """Remember the value, unless it cannot be told where its fields stand; a full memory is begun anew."""
        spans = _places(data, self._changing(value))
        if spans is None:
            return
        if len(self._known) >= _KEPT or self._bytes + len(data) > _KEPT_BYTES:
            self._known.clear()
            self._spans.clear()
            self._bytes = 0
        self._spans[len(data)] = spans
        self._known[_rest(data, spans)] = value
        self._bytes += len(data)


def renewed_claims(lasting: Claims, fields: Mapping[str, FieldValue]) -> Claims:
    """Claims that a device makes time and again, with the fields that change; they are the caller's own."""
    return replace(
        lasting,
        measurements=dict(lasting.measurements),
        endorsements=dict(lasting.endorsements),
        fields={**lasting.fields, **fields},
    )


def _places(data: bytes, fields: Sequence[bytes]) -> _Spans | None:
    """Where the fields stand; None if one is short, stands more than once, or not in that order."""
    if any(len(field) < _FIELD or data.count(field) != 1 for field in fields):
        return None
    spans = tuple((start, start + len(field)) for field in fields if (start := data.find(field)) >= 0)
    return spans if all(one[1] <= other[0] for one, other in pairwise(spans)) else None


def _rest(data: bytes, spans: _Spans) -> tuple[object, ...]:
    """The bytes outside of the fields, and where these are."""
    parts: list[object] = [spans]
    begin = 0
    for start, stop in spans:
        parts.append(data[begin:start])
        begin = stop
    parts.append(data[begin:])
    return tuple(parts)
