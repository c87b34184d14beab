"""TCG2 crypto-agile logs (CCEL, TPM): replay, and the list of events.

A log proves nothing by itself: the caller compares the registers with those that the TEE has signed.

Sources: TCG PC Client Platform Firmware Profile 1.06 section 10 (crypto-agile log), UEFI 2.10 section 38 (CCEL).
"""

import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from attest_pipeline.model import LoggedEvent
from attest_pipeline.verifiers._shared.eventlog.banks import BANKS, extend
from attest_pipeline.verifiers._shared.eventlog.reader import (
    KEPT,
    REMEMBERED,
    Reader,
    check_count,
    check_size,
    malformed,
)
from attest_pipeline.verifiers._shared.eventlog.replay import Replay
from attest_pipeline.verifiers._shared.eventlog.text import event_text, type_name

_EV_NO_ACTION: Final = 3
_SPEC_ID: Final = b"Spec ID Event03\0"
_STARTUP_LOCALITY: Final = b"StartupLocality\0"
_WHAT: Final = "event log"


class _Event(NamedTuple):
    register: int
    kind: int
    digests: dict[int, bytes]
    data: bytes


_U16: Final = struct.Struct("<H")
_U32: Final = struct.Struct("<I")
_U16_PAIR: Final = struct.Struct("<HH")
_U32_PAIR: Final = struct.Struct("<II")
_EVENT_HEAD: Final = struct.Struct("<III")


def read_tcg2(log: bytes, bank: str) -> Replay:
    """Replay of a log in one of its banks: "sha1", "sha256", "sha384", "sha512" or "sm3".

    Registers start as zeros, but register 0 ends with the locality that a StartupLocality event names. Events of type
    EV_NO_ACTION extend nothing and are not listed. The log may stand in a larger buffer filled with zeros or 0xFF.
    Raises BadEvidence(MALFORMED | TOO_LARGE).
    """
    return (_remembered if len(log) <= REMEMBERED else _read)(log, bank)


def _read(log: bytes, bank: str) -> Replay:
    check_size(log, _WHAT)
    reader = Reader(log, _WHAT)
    sizes, (algorithm, size, hashed) = _read_header(reader), BANKS[bank]
    if sizes.get(algorithm) != size:
        raise malformed(f"event log has no {bank} bank")
    registers: dict[int, bytes] = {}
    listed: list[LoggedEvent] = []
    locality = 0
    for event in _events(reader, sizes):
        if event.kind == _EV_NO_ACTION:
            locality = _startup_locality(event, locality)
            continue
        if algorithm not in event.digests:
            raise malformed(f"event without {bank} digest")
        if event.register == 0:
            registers.setdefault(0, locality.to_bytes(size))
        digest = event.digests[algorithm]
        extend(registers, event.register, digest, BANKS[bank])
        text = event_text(event.data, digest, hashed)
        listed.append(LoggedEvent(event.register, type_name(event.kind), digest.hex(), *text))
    return Replay(MappingProxyType(registers), tuple(listed))


_remembered: Final = lru_cache(maxsize=KEPT)(_read)


def _startup_locality(event: _Event, before: int) -> int:
    """Locality of TPM2_Startup, with which PCR 0 starts (PC Client PFP 10.4.5.3); any other event leaves it alone."""
    if event.data[: len(_STARTUP_LOCALITY)] != _STARTUP_LOCALITY:
        return before
    if len(event.data) != len(_STARTUP_LOCALITY) + 1:
        raise malformed("StartupLocality event of a wrong size")
    return event.data[-1]


def _read_header(reader: Reader) -> dict[int, int]:
    """Digest sizes by algorithm id, from the spec-ID event that opens the log in the old SHA-1 layout."""
    _, kind = reader.fields(_U32_PAIR)
    reader.take(20)
    (size,) = reader.fields(_U32)
    header = Reader(reader.take(size), _WHAT)
    if kind != _EV_NO_ACTION or header.take(len(_SPEC_ID)) != _SPEC_ID:
        raise malformed("event log does not begin with a spec-ID event")
    header.take(8)  # platform class, version, errata, size of UINTN
    (count,) = header.fields(_U32)
    if not 1 <= count <= 8:  # noqa: PLR2004 - TPMs have at most that many banks
        raise malformed(f"event log of {count} algorithms")
    pairs = [header.fields(_U16_PAIR) for _ in range(count)]
    return {algorithm: size for algorithm, size in pairs}  # noqa: C416 - dict() would lose the type of a pair


def _events(reader: Reader, sizes: Mapping[int, int]) -> Iterator[_Event]:
    count = 0
    while not _at_end(reader):
        count += 1
        check_count(count, _WHAT)
        register, kind, digest_count = reader.fields(_EVENT_HEAD)
        digests = _read_digests(reader, sizes, digest_count)
        (size,) = reader.fields(_U32)
        yield _Event(register, kind, digests, reader.take(size))


def _at_end(reader: Reader) -> bool:
    """Whether nothing is left but the fill of a firmware buffer (zero or 0xFF)."""
    rest = reader.data[reader.at : reader.at + 8]
    if rest not in (b"\0" * len(rest), b"\xff" * len(rest)):
        return False
    if reader.data[reader.at :].strip(rest[:1]):
        raise malformed(f"event log goes on behind its end mark at byte {reader.at}")
    return True


def _read_digests(reader: Reader, sizes: Mapping[int, int], count: int) -> dict[int, bytes]:
    digests: dict[int, bytes] = {}
    for _ in range(count):
        (algorithm,) = reader.fields(_U16)
        if algorithm not in sizes or algorithm in digests:  # also ends a loop over an absurd count
            raise malformed(f"event with unknown or repeated algorithm {algorithm:#x}")
        digests[algorithm] = reader.take(sizes[algorithm])
    return digests
