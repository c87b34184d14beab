"""Collateral on disk: a SQLite file with one writer, so that a restart asks no vendor for what is known.

`synchronous=FULL`: what was fetched under a vendor's budget is not lost to a power cut. One connection writes and
checkpoints (SQLite before 3.51.3 can damage a WAL that two connections reset); readers open the file read-only.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Self

import aiosqlite
import msgspec

from attest_pipeline.collateral.records import Record
from attest_pipeline.errors import Misconfigured, Unavailable

FILE: Final = "collateral.db"
_VERSION: Final = 1
_SETTINGS: Final = (
    "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA trusted_schema=OFF", "PRAGMA busy_timeout=5000",
)  # fmt: skip
_TABLE: Final = "CREATE TABLE IF NOT EXISTS record (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID"
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Record)
_log: Final = logging.getLogger(__name__)


class CollateralStore:
    """Records by name in `<state>/collateral.db`. Made by `open`; one process writes it."""

    def __init__(self, database: aiosqlite.Connection) -> None:
        self._database = database
        self._writing = asyncio.Lock()

    @classmethod
    async def open(cls, state: Path) -> Self:
        """Open or make the file. Raises Misconfigured if it cannot be used: it is a cache, so it may be removed."""
        path = state / FILE
        try:
            await asyncio.to_thread(state.mkdir, 0o700, parents=True, exist_ok=True)
            database = await aiosqlite.connect(path, isolation_level=None)
        except (sqlite3.Error, OSError) as error:
            raise _unusable(path, error) from None
        try:
            await _prepare(database)
        except sqlite3.Error as error:
            await database.close()
            raise _unusable(path, error) from None
        return cls(database)

    async def load(self) -> list[Record]:
        """Every record that can be read, oldest first."""
        rows = await self._database.execute_fetchall("SELECT body FROM record")
        return _records(body for (body,) in rows)

    async def save(self, records: Sequence[Record], gone: Iterable[str]) -> None:
        """Write records and forget others, together; on disk when this returns.

        Raises Unavailable if the disk takes nothing; the next call may succeed.
        """
        try:
            async with self._writing:
                await self._database.execute("BEGIN IMMEDIATE")
                await self._database.executemany(
                    "INSERT OR REPLACE INTO record VALUES (?, ?)",
                    [(record.name, _encoder.encode(record)) for record in records],
                )
                await self._database.executemany("DELETE FROM record WHERE name = ?", [(name,) for name in gone])
                await self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise Unavailable(f"{FILE}: {error}") from None

    async def close(self) -> None:
        """Close the file."""
        await self._database.close()


def read(state: Path) -> list[Record]:
    """Every record of a store that another process may be writing, oldest first, but for unreadable ones.

    Raises Misconfigured.
    """
    path = state / FILE
    if not path.exists():
        return []
    try:
        database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            return _records(body for (body,) in database.execute("SELECT body FROM record"))
        finally:
            database.close()
    except sqlite3.Error as error:
        raise Misconfigured(f"{path} cannot be read: {error}") from None


def _records(bodies: Iterable[bytes]) -> list[Record]:
    return sorted(filter(None, map(_decoded, bodies)), key=lambda record: record.fetched_at)


def _decoded(body: bytes) -> Record | None:
    """The record; what is none, or one of another release, is as good as nothing: it is fetched anew."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        _log.warning("stored collateral not read", extra={"why": str(error)})
        return None


async def _prepare(database: aiosqlite.Connection) -> None:
    """Settings and table; a file of another version is left alone: a newer release may come back to it."""
    for statement in _SETTINGS:
        await database.execute(statement)
    ((found,),) = await database.execute_fetchall("PRAGMA user_version")
    if found not in (0, _VERSION):
        raise sqlite3.DatabaseError(f"it is of version {found}, not {_VERSION}")
    await database.execute(_TABLE)
    await database.execute(f"PRAGMA user_version={_VERSION}")


def _unusable(path: Path, error: Exception) -> Misconfigured:
    return Misconfigured(f"{path} cannot be used ({error}); it is a cache and may be removed")
