"""DER (X.690) as far as attestation needs it beside `cryptography`: the elements of a value, one after the other."""

from collections.abc import Iterator
from typing import Final

SEQUENCE: Final = 0x30


def elements(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Tag, value and whole text of each element (tags of one byte, definite lengths). Raises ValueError, IndexError."""
    at = 0
    while at < len(data):
        tag, length, start = data[at], data[at + 1], at + 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[at + 2 : start])
        end = start + length
        if end > len(data):
            raise ValueError("element runs over the end")
        yield tag, data[start:end], data[at:end]
        at = end
