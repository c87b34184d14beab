"""Replay of measurement logs: what the measurement registers hold if the log is true.

A log proves nothing by itself. The caller compares the replayed registers with those that the TEE has signed; event
descriptions are not covered by the digests and are not read here, but for the locality in which a TPM was started.

Sources: TCG PC Client Platform Firmware Profile 1.06 section 10 (crypto-agile log), UEFI 2.10 section 38 (CCEL),
Linux security/integrity/ima/ima_fs.c and ima_template_lib.c (`ascii_runtime_measurements`).
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from attest_pipeline.errors import BadEvidence, Reason

MAX_LOG: Final = 1024 * 1024
MAX_EVENTS: Final = 4096
_ALGORITHM_IDS: Final = {"sha1": 0x0004, "sha256": 0x000B, "sha384": 0x000C, "sha512": 0x000D}
_EV_NO_ACTION: Final = 3
_SPEC_ID: Final = b"Spec ID Event03\0"
_STARTUP_LOCALITY: Final = b"StartupLocality\0"
_TEMPLATE_HASHES: Final = {20: "sha1", 32: "sha256"}


class _Event(NamedTuple):
    register: int
    kind: int
    digests: dict[int, bytes]
    data: bytes


class _Reader:
    """Reads little-endian fields; a field beyond the end is malformed."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        piece = self.data[self.at : self.at + size]
        if len(piece) != size:
            raise _malformed(f"event log ends inside a field at byte {len(self.data)}")
        self.at += size
        return piece

    def fields(self, layout: struct.Struct) -> tuple[int, ...]:
        return layout.unpack(self.take(layout.size))

    def at_end(self) -> bool:
        """Whether nothing is left but the fill of a firmware buffer (zero or 0xFF)."""
        rest = self.data[self.at : self.at + 8]
        if rest not in (b"\0" * len(rest), b"\xff" * len(rest)):
            return False
        if self.data[self.at :].strip(rest[:1]):
            raise _malformed(f"event log goes on behind its end mark at byte {self.at}")
        return True


_U16: Final = struct.Struct("<H")
_U32: Final = struct.Struct("<I")
_U16_PAIR: Final = struct.Struct("<HH")
_U32_PAIR: Final = struct.Struct("<II")


@lru_cache(maxsize=64)
def replay_tcg2(log: bytes, algorithm: str) -> Mapping[int, bytes]:
    """Final value of each register that a TCG2 crypto-agile log (CCEL) extends, by the log's own register number.

    `algorithm` is "sha1", "sha256", "sha384" or "sha512" and must be a bank of the log. Registers start as zeros, but
    register 0 ends with the locality that a StartupLocality event names. The log may stand in a larger buffer filled
    with zeros or 0xFF. Raises BadEvidence(MALFORMED | TOO_LARGE).
    """
    if len(log) > MAX_LOG:
        raise BadEvidence(Reason.TOO_LARGE, f"event log of {len(log)} bytes")
    reader = _Reader(log)
    sizes = _read_header(reader)
    wanted = _ALGORITHM_IDS[algorithm]
    if sizes.get(wanted) != hashlib.new(algorithm).digest_size:
        raise _malformed(f"event log has no {algorithm} bank")
    registers: dict[int, bytes] = {}
    locality = 0
    for event in _events(reader, sizes):
        if event.kind == _EV_NO_ACTION:
            locality = _startup_locality(event, locality)
            continue
        if wanted not in event.digests:
            raise _malformed(f"event without {algorithm} digest")
        if event.register == 0:
            registers.setdefault(0, locality.to_bytes(sizes[wanted]))
        _extend(registers, event.register, event.digests[wanted], algorithm)
    return MappingProxyType(registers)


def _startup_locality(event: _Event, before: int) -> int:
    """Locality of TPM2_Startup, with which PCR 0 starts (PC Client PFP 10.4.5.3); any other event leaves it alone."""
    if event.data[: len(_STARTUP_LOCALITY)] != _STARTUP_LOCALITY:
        return before
    if len(event.data) != len(_STARTUP_LOCALITY) + 1:
        raise _malformed("StartupLocality event of a wrong size")
    return event.data[-1]


def _extend(registers: dict[int, bytes], register: int, digest: bytes, algorithm: str) -> None:
    before = registers.get(register, bytes(len(digest)))
    registers[register] = hashlib.new(algorithm, before + digest).digest()


def _read_header(reader: _Reader) -> dict[int, int]:
    """Digest sizes by algorithm id, from the spec-ID event that opens the log in the old SHA-1 layout."""
    _, kind = reader.fields(_U32_PAIR)
    reader.take(20)
    (size,) = reader.fields(_U32)
    header = _Reader(reader.take(size))
    if kind != _EV_NO_ACTION or header.take(len(_SPEC_ID)) != _SPEC_ID:
        raise _malformed("event log does not begin with a spec-ID event")
    header.take(8)  # platform class, version, errata, size of UINTN
    (count,) = header.fields(_U32)
    if not 1 <= count <= 8:  # noqa: PLR2004 - TPMs have at most that many banks
        raise _malformed(f"event log of {count} algorithms")
    pairs = [header.fields(_U16_PAIR) for _ in range(count)]
    return {algorithm: size for algorithm, size in pairs}  # noqa: C416 - dict() would lose the type of a pair


def _events(reader: _Reader, sizes: Mapping[int, int]) -> Iterator[_Event]:
    count = 0
    while not reader.at_end():
        count += 1
        if count > MAX_EVENTS:
            raise BadEvidence(Reason.TOO_LARGE, f"event log of more than {MAX_EVENTS} events")
        register, kind = reader.fields(_U32_PAIR)
        digests = _read_digests(reader, sizes)
        (size,) = reader.fields(_U32)
        yield _Event(register, kind, digests, reader.take(size))


def _read_digests(reader: _Reader, sizes: Mapping[int, int]) -> dict[int, bytes]:
    (count,) = reader.fields(_U32)
    digests: dict[int, bytes] = {}
    for _ in range(count):
        (algorithm,) = reader.fields(_U16)
        if algorithm not in sizes or algorithm in digests:  # also ends a loop over an absurd count
            raise _malformed(f"event with unknown or repeated algorithm {algorithm:#x}")
        digests[algorithm] = reader.take(sizes[algorithm])
    return digests


class _ImaEntry(NamedTuple):
    register: int
    path: str
    digest: bytes


def replay_ima_ascii(log: bytes, algorithm: str, registers: frozenset[int]) -> Mapping[int, bytes]:
    """Final value of each register that an ASCII IMA log of template `ima-ng` or `ima-sig` extends, by its number.

    A register is extended with the hash of the template data, or with 0xFF for a violation (an entry whose template
    digest is zero), whatever bank (SHA-1 or SHA-256) the template digests in the text are of. `registers` are those
    that the TEE has. The kernel logs its `boot_aggregate` under its default PCR, so that entry alone may name another
    register and is then left out. Raises BadEvidence(MALFORMED | TOO_LARGE | LOG_MISMATCH).
    """
    if len(log) > MAX_LOG:
        raise BadEvidence(Reason.TOO_LARGE, f"IMA log of {len(log)} bytes")
    lines = log.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n")
    if len(lines) > MAX_EVENTS:
        raise BadEvidence(Reason.TOO_LARGE, f"IMA log of {len(lines)} entries")
    replayed: dict[int, bytes] = {}
    for entry in (_ima_entry(line, algorithm) for line in lines):
        if entry.register in registers:
            _extend(replayed, entry.register, entry.digest, algorithm)
        elif entry.path != "boot_aggregate":
            raise BadEvidence(Reason.LOG_MISMATCH, "IMA entry of a register that the TEE does not have")
    return MappingProxyType(replayed)


def _ima_entry(line: str, algorithm: str) -> _ImaEntry:
    try:
        register, template_digest, template, file_digest, rest = line.lstrip(" ").split(" ", 4)
        number, noted = int(register), bytes.fromhex(template_digest)
        path, data = _ima_template(template, file_digest, rest)
    except ValueError:
        raise _malformed("IMA log line is no ima-ng or ima-sig entry") from None
    if len(noted) not in _TEMPLATE_HASHES:
        raise _malformed("IMA log line with a template digest of an unknown size")
    if not any(noted):
        return _ImaEntry(number, path, b"\xff" * hashlib.new(algorithm).digest_size)
    if hashlib.new(_TEMPLATE_HASHES[len(noted)], data).digest() != noted:
        raise BadEvidence(Reason.LOG_MISMATCH, "IMA template digest is not that of its entry")
    return _ImaEntry(number, path, hashlib.new(algorithm, data).digest())


def _ima_template(template: str, file_digest: str, rest: str) -> tuple[str, bytes]:
    """Path and template data of an entry: length-prefixed digest with its algorithm, path and, in ima-sig, signature.

    A file without signature leaves that field empty, and the line ends in a space. Raises ValueError.
    """
    path, signature = rest, []
    if template == "ima-sig":
        path, _, text = rest.rpartition(" ")
        signature = [bytes.fromhex(text)]
    elif template != "ima-ng":
        raise ValueError(template)
    algorithm, _, digest = file_digest.partition(":")
    fields = [f"{algorithm}:\0".encode() + bytes.fromhex(digest), path.encode("utf-8", "surrogateescape") + b"\0"]
    return path, b"".join(_U32.pack(len(field)) + field for field in fields + signature)


def _malformed(detail: str) -> BadEvidence:
    return BadEvidence(Reason.MALFORMED, detail)
