"""An NVIDIA attestation report: the SPDM request GET_MEASUREMENTS and its response → one frozen struct.

Nothing here is proven. Sources: DMTF DSP0274 1.1 (SPDM), 10.11; NVIDIA/nvtrust, spdm_msrt_req_msg.py and
spdm_msrt_resp_msg.py (opaque data).
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from struct import Struct as Layout
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared.recurring import Recurring

NONCE_BYTES: Final = 32
DIGEST_BYTES: Final = 48
SIGNATURE_BYTES: Final = 96
DRIVER_VERSION: Final = 3
VBIOS_VERSION: Final = 6
NVDEC0_STATUS: Final = 11
BOARD_ID: Final = 14
CHIP_SKU: Final = 15
PROJECT: Final = 17
PROJECT_SKU: Final = 18
FWID: Final = 20
PROTECTED_PCIE_STATUS: Final = 21
SWITCH_PDI: Final = 22
FEATURE_FLAG: Final = 36
"""Types of opaque data."""

_MAX_REPORT: Final = 16 * 1024
_VERSION_1_1: Final = 0x11
_REQUEST: Final = Layout("<BBBB32sB")
_RESPONSE: Final = Layout("<BBBBB3s")
_OPAQUE: Final = Layout("<HH")
_ALL_SIGNED: Final = (0xE0, 0x01, 0xFF)
"""GET_MEASUREMENTS with a signature over all measurements."""
_MEASUREMENTS: Final = 0x60
_BLOCK_BYTES: Final = 7 + DIGEST_BYTES
_KIND_AT: Final = 4
_SHA384_BLOCK: Final = {1: 1, 2: DIGEST_BYTES + 3, 3: 0, 5: DIGEST_BYTES, 6: 0}
"""Bytes of a block by their offset: specification (DMTF), size of the measurement, and of its value."""
_RAW: Final = 0x80
_TEXT: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_TRAILING: Final = 1
"""Bytes that some tools leave behind the signature."""


class State(Struct, frozen=True, eq=False):
    """What a device reports until it is started anew; remembered, and so one object for equal reports.

    `measurements` are SHA-384 by block index, from 1 without a gap; `opaque` is NVIDIA's data by type; `signed` is the
    length of what the signature covers.
    """

    measurements: tuple[bytes, ...]
    opaque: Mapping[int, bytes]
    signed: int

    def text(self, kind: int) -> str | None:
        """Opaque data that is text, without its padding; None if absent. Raises BadEvidence(MALFORMED)."""
        value = self.opaque.get(kind)
        if value is None:
            return None
        text = value.rstrip(b"\0")
        if not _TEXT.fullmatch(text):
            raise BadEvidence(Reason.MALFORMED, f"opaque data of type {kind} is no text")
        return text.decode()

    def number(self, kind: int) -> int | None:
        """Opaque data as a little-endian number; None if absent."""
        value = self.opaque.get(kind)
        return None if value is None else int.from_bytes(value, "little")


class Report(Struct, frozen=True):
    """A report, cut up: `nonce` is the requester's, `device_nonce` the device's own."""

    nonce: bytes
    device_nonce: bytes
    signature: bytes
    state: State


def parse(data: bytes) -> Report:
    """Report out of a request and its response. Raises BadEvidence(EMPTY | TOO_LARGE | MALFORMED).

    What lies behind the signature is refused, but for one byte that occurs in the field.
    """
    return _recurring(data)


def _read_report(data: bytes) -> Report:
    if not data:
        raise BadEvidence(Reason.EMPTY, "no attestation report")
    if len(data) > _MAX_REPORT:
        raise BadEvidence(Reason.TOO_LARGE, f"attestation report of {len(data)} bytes")
    cursor = _Cursor(data)
    nonce = _read_request(cursor)
    measurements = _read_measurements(cursor)
    device_nonce = cursor.take(NONCE_BYTES)
    opaque = _read_opaque(cursor.take(cursor.number(2)))
    signed = cursor.at
    signature = cursor.take(SIGNATURE_BYTES)
    if len(data) - cursor.at > _TRAILING:
        raise BadEvidence(Reason.MALFORMED, "bytes behind the attestation report")
    return Report(nonce, device_nonce, signature, State(measurements, opaque, signed))


def _renewed(report: Report, fields: Sequence[bytes]) -> Report:
    nonce, device_nonce, signature = fields
    return Report(nonce, device_nonce, signature, report.state)


_recurring: Final = Recurring(_read_report, attrgetter("nonce", "device_nonce", "signature"), _renewed)


class _Cursor:
    """Reads bytes in order and never past their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        taken = self._data[self.at : self.at + size]
        if len(taken) != size:
            raise BadEvidence(Reason.MALFORMED, "attestation report is cut short")
        self.at += size
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    @property
    def ended(self) -> bool:
        return self.at == len(self._data)


def _read_request(cursor: _Cursor) -> bytes:
    """Nonce of the requester."""
    version, *wanted, nonce, _slot = _REQUEST.unpack(cursor.take(_REQUEST.size))
    if tuple(wanted) != _ALL_SIGNED:
        raise BadEvidence(Reason.MALFORMED, "no SPDM request for all measurements and a signature")
    if version != _VERSION_1_1:
        raise BadEvidence(Reason.MALFORMED, f"SPDM of version {version:#04x} instead of 1.1")
    return bytes(nonce)


def _read_measurements(cursor: _Cursor) -> tuple[bytes, ...]:
    version, code, _, _, count, length = _RESPONSE.unpack(cursor.take(_RESPONSE.size))
    if (version, code) != (_VERSION_1_1, _MEASUREMENTS):
        raise BadEvidence(Reason.MALFORMED, "no SPDM response with measurements")
    record = cursor.take(int.from_bytes(length, "little"))
    if not count or len(record) != count * _BLOCK_BYTES:
        raise BadEvidence(Reason.MALFORMED, f"SPDM record is not {count} SHA-384 measurements")
    indexes, kinds = record[::_BLOCK_BYTES], record[_KIND_AT::_BLOCK_BYTES]
    if indexes != bytes(range(1, count + 1)) or max(kinds) >= _RAW:
        raise BadEvidence(Reason.MALFORMED, "SPDM measurement block out of order, or with a raw value")
    if any(record[at::_BLOCK_BYTES] != bytes((byte,)) * count for at, byte in _SHA384_BLOCK.items()):
        raise BadEvidence(Reason.MALFORMED, "SPDM measurement block that is no SHA-384 digest")
    return _values_of(count).unpack(record)


@lru_cache(maxsize=256)
def _values_of(count: int) -> Layout:
    """The values in a record of that many blocks: one by one, 255 blocks take longer to cut than their signature."""
    return Layout(f"<{f'{_BLOCK_BYTES - DIGEST_BYTES}x{DIGEST_BYTES}s' * count}")


@lru_cache(maxsize=256)
def _read_opaque(data: bytes) -> Mapping[int, bytes]:
    """Fields by type; devices with the same firmware send the same ones."""
    cursor, fields = _Cursor(data), {}
    while not cursor.ended:
        kind, size = _OPAQUE.unpack(cursor.take(_OPAQUE.size))
        if kind in fields:
            raise BadEvidence(Reason.MALFORMED, f"opaque data of type {kind} stands twice")
        fields[kind] = cursor.take(size)
    return MappingProxyType(fields)
