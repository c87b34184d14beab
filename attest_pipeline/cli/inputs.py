"""What people type and name: files, times, hexadecimal, `name=path`. What is wrong with them is said in one line."""

import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer
from msgspec import Meta

from attest_pipeline.adapters import files
from attest_pipeline.errors import Misconfigured
from attest_pipeline.jws import Jwk, Jwks

Moment = Annotated[datetime, Meta(tz=True)]
"""A time with its offset (RFC 3339)."""
AgentsOption = Annotated[
    list[str] | None, typer.Option(help="Agent to make credentials for (may be repeated); it keeps them.")
]
GatewaysOption = Annotated[
    list[str] | None,
    typer.Option(help="Gateway to make credentials for (may be repeated): it may send Evidence of every agent."),
]
T = TypeVar("T")


def read(path: Path) -> bytes:
    """Content of a file, or of standard input for `-`. Raises Misconfigured."""
    return sys.stdin.buffer.read() if str(path) == "-" else files.read(path)


def read_json(path: Path, kind: type[T]) -> T:
    """JSON file of that shape. Raises Misconfigured."""
    return files.decode_json(path, read(path), kind)


def read_keys(path: Path) -> tuple[Jwk, ...]:
    """Keys of a JWKS file. Raises Misconfigured."""
    return read_json(path, Jwks).keys


def named_files(pairs: Iterable[str]) -> dict[str, tuple[bytes, ...]]:
    """Contents of `name=path` pairs; a name may come several times. Raises Misconfigured."""
    found: dict[str, tuple[bytes, ...]] = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if not (name and path):
            raise Misconfigured(f"{pair!r} is not of the form name=path")
        found[name] = (*found.get(name, ()), read(Path(path)))
    return found


def from_hex(text: str | None, what: str) -> bytes | None:
    """Bytes of hexadecimal text. Raises Misconfigured."""
    try:
        return None if text is None else bytes.fromhex(text)
    except ValueError:
        raise Misconfigured(f"{what} is no hexadecimal text") from None


def seconds(moment: str) -> int:
    """Seconds since 1970 of an RFC 3339 time. Raises Misconfigured."""
    try:
        return int(msgspec.convert(moment, Moment).timestamp())
    except msgspec.ValidationError:
        raise Misconfigured(f"{moment!r} is no time such as 2026-11-23T12:00:00Z") from None
