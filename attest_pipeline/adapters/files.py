"""Files of the operator: what is wrong with one is said in one line that names it."""

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from attest_pipeline.errors import Misconfigured

T = TypeVar("T")


def read(path: Path) -> bytes:
    """Content of a file. Raises Misconfigured: it may have gone since it was listed, or belong to somebody else."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror}") from None


def below(directory: Path) -> list[Path]:
    """Everything below a directory, in order; what goes while it is listed is not there. Raises Misconfigured.

    `Path.rglob` fails where a directory goes, and passes over one that belongs to somebody else without a word.
    """

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise Misconfigured(f"{error.filename}: {error.strerror}")

    walked = os.walk(directory, onerror=fail)
    return sorted(Path(root, name) for root, directories, names in walked for name in (*directories, *names))


def decode_json(path: Path, data: bytes, kind: type[T]) -> T:
    """The JSON of a file, of that shape. Raises Misconfigured."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Misconfigured(f"{path}: {error}") from None
