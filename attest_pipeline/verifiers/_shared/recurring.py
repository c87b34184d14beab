"""Reading what a device sends again: bytes that differ from earlier ones only in fields that change every time.

A device that is attested every minute sends the same token with another challenge and another signature. To read it as
if it were the first costs as much as to check its signature; to see that all the rest is known costs a look-up.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from operator import attrgetter, itemgetter
from typing import Any, Final, Generic, NamedTuple, TypeVar

from msgspec.structs import replace

from attest_pipeline.model import Claims, EventLog, FieldValue

T = TypeVar("T")
_Cut = Callable[[bytes], tuple[bytes, ...]]

_KEPT: Final = 8192
_KEPT_BYTES: Final = 8 * 1024 * 1024
"""Of bytes that do not change; the values made of them take a few times as much."""
_PARTS_BYTES: Final = 4 * 1024 * 1024
"""Of parts that are remembered; what is made of a log takes two to six times as much."""
_LARGEST: Final = 128 * 1024
"""Bytes of the parts of one device that are: a machine sends the log of its boot in a buffer of usually half that."""
_PATIENCE: Final = 8
"""Values for each that is known, which a full memory does not take before it is begun anew."""
_FIELD: Final = 12
"""Bytes of the shortest field: a shorter one may well stand elsewhere too."""


class _Layout(NamedTuple):
    """How bytes of one length are cut into the fields and the rest, and the values that are known by their rest."""

    spans: Sequence[slice]
    fields: _Cut
    rest: _Cut
    known: dict[tuple[bytes, ...], Any]


class _Room:
    """How much is remembered, and whether more is to be.

    A full memory serves those that it knows for a while: were the oldest forgotten for the newest, a fleet that takes
    turns and is larger than the memory would find nothing in it. Then it is begun anew, for another fleet.
    """

    def __init__(self, most: int) -> None:
        """Let there be room for that many bytes."""
        self._most = most
        self.clear()

    def clear(self) -> None:
        self._count = self._bytes = self._missed = 0

    def is_full(self, size: int) -> bool:
        return self._count >= _KEPT or self._bytes + size > self._most

    def refuses(self, size: int) -> bool:
        """Whether something of that many bytes is not to be remembered; a full memory is to be emptied before it is."""
        refused = self.is_full(size) and self._missed < _PATIENCE * self._count
        self._missed += refused
        return refused

    def take(self, size: int) -> None:
        self._count += 1
        self._bytes += size


class Recurring(Generic[T]):
    """A reader with a memory for everything but the fields that change, and for the very bytes that it read last.

    Evidence is read to learn what Endorsements it asks for, and right after to be proven: not a byte of it is looked at
    again.

    `read` makes a value of bytes. `changing` names those parts of a value that change, each as it stands in the bytes,
    or none if it cannot say. `renewed` is the value with others of the same lengths instead, or None if it cannot say.

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
        self._layouts: dict[int, _Layout] = {}
        self._room = _Room(_KEPT_BYTES)
        self._last: tuple[bytes, T] | None = None

    def __call__(self, data: bytes) -> T:
        """What `read` makes of the bytes. Raises what `read` raises."""
        last = self._last
        if last is not None and last[0] is data:
            return last[1]
        layout = self._layouts.get(len(data))
        known = None if layout is None else layout.known.get(layout.rest(data))
        value = None if layout is None or known is None else self._renewed(known, layout.fields(data))
        if value is None:
            value = self._read(data)
            self._learn(data, value)
        self._last = (data, value)
        return value

    def forget(self) -> None:
        """Remember nothing of what was read before."""
        self._layouts.clear()
        self._room.clear()
        self._last = None

    def _learn(self, data: bytes, value: T) -> None:
        """Remember the value, unless it cannot be told where its fields stand, or there is no room."""
        if self._room.refuses(len(data)):
            return
        spans = _places(data, self._changing(value))
        if not spans:
            return
        if self._room.is_full(len(data)):
            self.forget()
        layout = self._layouts.get(len(data))
        if layout is None or layout.spans != spans:
            layout = self._layouts[len(data)] = _layout(spans)
        layout.known[layout.rest(data)] = value
        self._room.take(len(data))


class Latest(Generic[T]):
    """A function of parts that a device sends again, with a memory of what it made of them.

    Which parts a device sent last is found by the device and compared: to hash them takes seven times as long. Devices
    that send equal parts share what was made of them, and no part is kept twice.
    """

    def __init__(self, make: Callable[..., T]) -> None:
        self._make = make
        self._of: dict[object, tuple[tuple[object, ...], T]] = {}
        self._equal: dict[tuple[object, ...], tuple[tuple[object, ...], T]] = {}
        self._room = _Room(_PARTS_BYTES)

    def __call__(self, device: object, *parts: object) -> T:
        """What `make` makes of the parts, whatever the device. Raises what `make` raises."""
        latest = self._of.get(device)
        return latest[1] if latest is not None and latest[0] == parts else self._find(device, parts)

    def forget(self) -> None:
        """Remember nothing of what was made before."""
        self._of.clear()
        self._equal.clear()
        self._room.clear()

    def _find(self, device: object, parts: tuple[object, ...]) -> T:
        made = self._equal.get(parts)
        if made is None:
            made = (parts, self._make(*parts))
            size = sum(len(part) for part in parts if isinstance(part, bytes))
            if size > _LARGEST or self._room.refuses(size):
                return made[1]
            if self._room.is_full(size):
                self.forget()
            self._equal[parts] = made
            self._room.take(size)
        if len(self._of) >= _KEPT:
            self._of.clear()
        self._of[device] = made
        return made[1]


def renewed_claims(lasting: Claims, fields: Mapping[str, FieldValue], logs: tuple[EventLog, ...] = ()) -> Claims:
    """Claims that a device makes time and again, with the fields that change; they are the caller's own."""
    return replace(
        lasting,
        measurements=dict(lasting.measurements),
        endorsements=dict(lasting.endorsements),
        fields={**lasting.fields, **fields},
        logs=logs,
    )


def _places(data: bytes, fields: Sequence[bytes]) -> list[slice] | None:
    """Where the fields stand, in their order; None if one is short, stands more than once, or overlaps another."""
    if any(len(field) < _FIELD or not 0 <= data.find(field) == data.rfind(field) for field in fields):
        return None  # also where it overlaps itself: a field of the bytes that say its length seems to begin with them
    spans = [slice(start, start + len(field)) for start, field in zip(map(data.find, fields), fields, strict=True)]
    return spans if all(one.stop <= other.start for one, other in pairwise(_ascending(spans))) else None


def _layout(spans: Sequence[slice]) -> _Layout:
    fields = [slice(0, 0), *_ascending(spans), slice(None, None)]
    between = [slice(one.stop, other.start) for one, other in pairwise(fields)]
    return _Layout(spans, _cut(spans), _cut(between), {})


def _ascending(spans: Sequence[slice]) -> list[slice]:
    return sorted(spans, key=attrgetter("start"))


def _cut(spans: Sequence[slice]) -> _Cut:
    """Takes the bytes at the spans."""
    if len(spans) == 1:
        return lambda data: (data[spans[0]],)
    return itemgetter(*spans)
