"""A bounded map that forgets what was used least recently."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Bounded(Generic[T]):
    """Values by name, at most `max_count` of them and `max_bytes` in all; `size` weighs one (bytes)."""

    def __init__(self, size: Callable[[T], int], *, max_count: int, max_bytes: int) -> None:
        self._size = size
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._held: OrderedDict[str, T] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._held.values()))

    def peek(self, name: str) -> T | None:
        """The value, without counting as a use."""
        return self._held.get(name)

    def get(self, name: str) -> T | None:
        """The value, now the most recently used."""
        value = self._held.get(name)
        if value is not None:
            self._held.move_to_end(name)
        return value

    def put(self, name: str, value: T) -> list[str]:
        """Hold a value in place of any of that name; names of those that had to go, perhaps its own."""
        self.drop(name)
        self._held[name] = value
        self.bytes += self._size(value)
        gone = []
        while len(self._held) > self._max_count or self.bytes > self._max_bytes:
            oldest = next(iter(self._held))
            self.drop(oldest)
            gone.append(oldest)
        return gone

    def drop(self, name: str) -> None:
        """Forget a value, if there is one."""
        value = self._held.pop(name, None)
        if value is not None:
            self.bytes -= self._size(value)
