"""Logs of Linux IMA, ASCII or binary: replay, and the list of measured files.

An entry's template data holds the file's digest and path, and their hash is what was extended: both are authentic
where the register is. A violation (IMA could not know what was read) extends a constant and proves nothing it says.

Sources: Linux, security/integrity/ima/ima_fs.c (`ascii_` and `binary_runtime_measurements`), ima_template_lib.c.
"""

import struct
from collections.abc import Iterator
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import LoggedEvent
from attest_pipeline.verifiers._shared.eventlog.banks import BANKS, Bank, extend
from attest_pipeline.verifiers._shared.eventlog.reader import (
    KEPT,
    REMEMBERED,
    Reader,
    check_count,
    check_size,
    malformed,
)
from attest_pipeline.verifiers._shared.eventlog.replay import Replay
from attest_pipeline.verifiers._shared.eventlog.text import printable

VIOLATION: Final = "violation"
"""Kind of an event whose file nobody knows the content of; its digest is empty."""

_BOOT_AGGREGATE: Final = b"boot_aggregate"
_TEMPLATE_HASHES: Final = {20: BANKS["sha1"], 32: BANKS["sha256"]}
"""Bytes of an entry's template digest → what hash that is."""
_WHAT: Final = "IMA log"
_U32: Final = struct.Struct("<I")


class BootAggregate(NamedTuple):
    """The kernel's digest of the PCRs of the boot, in the bank of that algorithm: what it logs before any file."""

    algorithm: str
    digest: bytes


class _Template(NamedTuple):
    name: str
    fields: int


_TEMPLATES: Final = {b"ima-ng": _Template("ima-ng", 2), b"ima-sig": _Template("ima-sig", 3)}
"""Fields are the file's digest, its path and, in the second, its signature."""


class _Entry(NamedTuple):
    register: int
    noted: bytes
    template: _Template
    data: bytes


class _Measured(NamedTuple):
    algorithm: str
    digest: bytes
    path: bytes


def read_ima(log: bytes, bank: str, registers: frozenset[int]) -> tuple[Replay, BootAggregate | None]:
    """Replay of a log of template `ima-ng` or `ima-sig` in a bank, and the boot aggregate that it begins with.

    A register is extended with the hash of the template data, or with 0xFF for a violation (an entry whose template
    digest is zero), whatever bank (SHA-1 or SHA-256) the template digests in the log are of. `registers` are those that
    the TEE has. The kernel logs the boot aggregate under its default PCR, so that alone may name another register; then
    it extends nothing, proves nothing, and is left out. Else it is the first event of the list.
    Raises BadEvidence(MALFORMED | TOO_LARGE | LOG_MISMATCH).
    """
    return (_remembered if len(log) <= REMEMBERED else _read)(log, bank, registers)


def _read(log: bytes, bank: str, registers: frozenset[int]) -> tuple[Replay, BootAggregate | None]:
    check_size(log, _WHAT)
    values: dict[int, bytes] = {}
    listed: list[LoggedEvent] = []
    aggregate = None
    entries = _binary_entries(log) if log[1:4] == b"\0\0\0" else _ascii_entries(log)
    for number, entry in enumerate(entries):
        check_count(number + 1, _WHAT)
        measured, violated = _measured(entry), not any(entry.noted)
        is_aggregate = number == 0 and measured.path == _BOOT_AGGREGATE and not violated
        digest = _extension(entry, BANKS[bank], violated=violated)
        if entry.register in registers:
            extend(values, entry.register, digest, BANKS[bank])
            listed.append(_listed(entry, measured, violated=violated))
            if is_aggregate:
                aggregate = BootAggregate(measured.algorithm, measured.digest)
        elif not is_aggregate:
            raise BadEvidence(Reason.LOG_MISMATCH, "IMA entry of a register that the TEE does not have")
    return Replay(MappingProxyType(values), tuple(listed)), aggregate


_remembered: Final = lru_cache(maxsize=KEPT)(_read)


def _listed(entry: _Entry, measured: _Measured, *, violated: bool) -> LoggedEvent:
    path, whole = printable(measured.path.decode("utf-8", "surrogateescape"))
    if violated:
        return LoggedEvent(entry.register, VIOLATION, "", path, text_authenticated=False)
    return LoggedEvent(entry.register, entry.template.name, measured.digest.hex(), path, whole)


def _extension(entry: _Entry, bank: Bank, *, violated: bool) -> bytes:
    """What the kernel extended for an entry, whose template digest must be that of its data."""
    if violated:
        return b"\xff" * bank.size
    digest = bank.digest(entry.data)
    noted_by = _TEMPLATE_HASHES[len(entry.noted)]
    if entry.noted != (digest if noted_by is bank else noted_by.digest(entry.data)):
        raise BadEvidence(Reason.LOG_MISMATCH, "IMA template digest is not that of its entry")
    return digest


def _measured(entry: _Entry) -> _Measured:
    """Fields of an entry's template data: `<algorithm>:`, NUL and digest; path and NUL; and a signature, not read."""
    reader = Reader(entry.data, "IMA template data")
    digest, path, *_ = [reader.take(*reader.fields(_U32)) for _ in range(entry.template.fields)]
    algorithm, mark, value = digest.partition(b":\0")
    if reader.at != len(entry.data) or not mark or path[-1:] != b"\0":
        raise malformed("IMA template data are not those of their template")
    return _Measured(algorithm.decode("ascii", "replace"), value, path[:-1])


# ── binary_runtime_measurements ───────────────────────────────────────────────────────────────────────────────────────
def _binary_entries(log: bytes) -> Iterator[_Entry]:
    """Entries in the byte order of x86 and Arm; every template digest has the size of the first."""
    reader = Reader(log, _WHAT)
    size = next((size for size in _TEMPLATE_HASHES if _names_template(log, 4 + size)), None)
    if size is None:
        raise malformed("IMA log does not begin with an ima-ng or ima-sig entry")
    while reader.at < len(log):
        (register,) = reader.fields(_U32)
        noted = reader.take(size)
        template = _TEMPLATES.get(reader.take(*reader.fields(_U32)))
        if template is None:
            raise malformed("IMA entry of another template than ima-ng and ima-sig")
        yield _Entry(register, noted, template, reader.take(*reader.fields(_U32)))


def _names_template(log: bytes, at: int) -> bool:
    return any(log.startswith(_U32.pack(len(name)) + name, at) for name in _TEMPLATES)


# ── ascii_runtime_measurements ────────────────────────────────────────────────────────────────────────────────────────
def _ascii_entries(log: bytes) -> Iterator[_Entry]:
    for line in log.removesuffix(b"\n").split(b"\n"):
        try:
            register, noted, name, digest, rest = line.lstrip(b" ").split(b" ", 4)
            template = _TEMPLATES[name]
            entry = _Entry(int(register), _octets(noted), template, _template_data(template, digest, rest))
        except (ValueError, KeyError):
            raise malformed("IMA log line is no ima-ng or ima-sig entry") from None
        if len(entry.noted) not in _TEMPLATE_HASHES:
            raise malformed("IMA log line with a template digest of an unknown size")
        yield entry


def _template_data(template: _Template, file_digest: bytes, rest: bytes) -> bytes:
    """Template data that a line was printed from. Raises ValueError.

    A file without signature leaves that field empty, and the line ends in a space.
    """
    path, signature = rest, []
    if template.name == "ima-sig":
        path, _, text = rest.rpartition(b" ")
        signature = [_octets(text)]
    algorithm, _, digest = file_digest.partition(b":")
    fields = (algorithm + b":\0" + _octets(digest), path + b"\0", *signature)
    return b"".join(_U32.pack(len(field)) + field for field in fields)


def _octets(text: bytes) -> bytes:
    """Bytes of hexadecimal. Raises ValueError."""
    return bytes.fromhex(text.decode("ascii"))
