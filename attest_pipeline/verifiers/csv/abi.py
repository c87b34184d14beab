"""Hygon CSV attestation reports and certificates: bytes to structs. Nothing here is proven.

Every number is little-endian; so are the coordinates and the halves of a signature, 72 bytes each. Source: Hygon's
csv-rs, src/api/guest/types.rs (reports), src/certs/ca/cert/mod.rs and src/certs/csv/cert/mod.rs (certificates).
"""

import struct
from typing import Final, NamedTuple

from attest_pipeline.crypto import UnusableKey
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.gm import Sm2Key, load_point

CA_CERT: Final = 832
CSV_CERT: Final = 2084
V1_SIZE: Final = 2548
V2_SIZE: Final = 3380
PAGE: Final = 4096
WRAPPER: Final = 20
MAGIC: Final = b"ATTESTATION_EXT\0"

HRK: Final = 0
HSK: Final = 0x13
CEK: Final = 0x1004
PEK: Final = 0x1002
_SM2: Final = 4
_SM2_CURVE: Final = 3
_CA_SIGNED: Final = 576
_CSV_SIGNED: Final = 1044
_V1_SIGNED: Final = 180
_V2_SIGNED: Final = 1024
_V1_MASKED: Final = 188
_V1_PEK: Final = 336
_V2_PEK: Final = 1168
_USAGE_AT: Final = 8
_SIGNATURES: Final = (1044, 1564)
_HALF: Final = 72
_MAX_USER_ID: Final = 254
_MAX_SERIAL: Final = 64

_HEAD: Final = struct.Struct("<32s16s16s64s16s32sIII")
_EXTENSION: Final = struct.Struct("<IH14x32s32s32s32s32s")


class Signature(NamedTuple):
    """An SM2 signature and the usage (HRK, HSK, …) of the key that is said to have made it."""

    usage: int
    r: int
    s: int


class Certificate(NamedTuple):
    """A certificate of any of Hygon's two forms: the bytes that are signed, the key with its usage, the signatures."""

    usage: int
    key: Sm2Key
    user_id: bytes
    signed: bytes
    signatures: tuple[Signature, ...]


class Report(NamedTuple):
    """An attestation report, fields unmasked. `extension` is None in version 1; `pek` is the encoded certificate."""

    signed: bytes
    signature: Signature
    user_pubkey_digest: bytes
    vm_id: bytes
    vm_version: bytes
    report_data: bytes
    measure: bytes
    policy: int
    extension: "Extension | None"
    pek: bytes
    serial: bytes


class Extension(NamedTuple):
    """What version 2 adds: build of the firmware, version and values of the runtime registers."""

    build: int
    rtmr_version: int
    rtmrs: tuple[bytes, ...]


def parse(data: bytes) -> Report:
    """Report: version 1 bare, or either version in the wrapper of the guest's driver, with or without zero padding.

    Raises BadEvidence(MALFORMED).
    """
    if len(data) != WRAPPER + PAGE:
        return _parse_v1(_unpadded(data, V1_SIZE))
    magic, flags = struct.unpack_from("<16sI", data)
    if magic == bytes(16) or (magic, flags) == (MAGIC, 0):
        return _parse_v1(_unpadded(data[WRAPPER:], V1_SIZE))
    if (magic, flags) == (MAGIC, 1):
        return _parse_v2(_unpadded(data[WRAPPER:], V2_SIZE))
    raise BadEvidence(Reason.MALFORMED, "report in an unknown wrapper")


def _unpadded(data: bytes, size: int) -> bytes:
    if not size <= len(data) <= PAGE or data[size:].strip(b"\0"):
        raise BadEvidence(Reason.MALFORMED, f"report of {len(data)} bytes, not {size} and zeros up to a page")
    return data[:size]


def _parse_v1(data: bytes) -> Report:
    """Version 1: the fields are masked with `anonce`; its PEK and serial number are too, unless the agent undid it."""
    anonce = data[_V1_MASKED : _V1_MASKED + 4]
    pek, serial = data[_V1_PEK : _V1_PEK + CSV_CERT], data[_V1_PEK + CSV_CERT :][:_MAX_SERIAL]
    if pek[_USAGE_AT : _USAGE_AT + 4] != PEK.to_bytes(4, "little"):
        pek, serial = _unmask(pek, anonce), _unmask(serial, anonce)
    return _report(
        _unmask(data[:_V1_MASKED], anonce),
        data[:_V1_SIGNED],
        _signature(data, _V1_MASKED + 4, PEK),
        None,
        (pek, serial),
    )


def _parse_v2(data: bytes) -> Report:
    build, rtmr_version, *rtmrs = _EXTENSION.unpack_from(data, _HEAD.size)
    return _report(
        data[: _HEAD.size],
        data[:_V2_SIGNED],
        _signature(data, _V2_SIGNED, PEK),
        Extension(build, rtmr_version, tuple(rtmrs)),
        (data[_V2_PEK : _V2_PEK + CSV_CERT], data[_V2_PEK + CSV_CERT :][:_MAX_SERIAL]),
    )


def _report(
    head: bytes, signed: bytes, signature: Signature, extension: Extension | None, signer: tuple[bytes, bytes]
) -> Report:
    digest, vm_id, vm_version, report_data, _, measure, policy, usage, algorithm = _HEAD.unpack(head)
    if (usage, algorithm) != (PEK, _SM2):
        raise BadEvidence(Reason.MALFORMED, "report does not say that a PEK signed it by SM2")
    pek, serial = signer
    return Report(
        signed, signature, digest, vm_id, vm_version, report_data, measure, policy, extension, pek, serial.rstrip(b"\0")
    )


def _unmask(data: bytes, anonce: bytes) -> bytes:
    mask = (anonce * (len(data) // len(anonce) + 1))[: len(data)]
    return (int.from_bytes(data) ^ int.from_bytes(mask)).to_bytes(len(data))


def read_ca(data: bytes) -> Certificate:
    """Certificate of an HRK or HSK, 832 bytes. Raises BadEvidence(MALFORMED)."""
    (usage,) = struct.unpack_from("<I", data, 36)
    return Certificate(
        usage, *_key(data, curve=64, user_id=212), data[:_CA_SIGNED], (_signature(data, _CA_SIGNED, HRK),)
    )


def read_csv(data: bytes) -> Certificate:
    """Certificate of a CEK or PEK, 2084 bytes, with up to two signatures. Raises BadEvidence(MALFORMED)."""
    usage, algorithm = struct.unpack_from("<II", data, _USAGE_AT)
    if algorithm != _SM2:
        raise BadEvidence(Reason.MALFORMED, "certificate of another key than for SM2 signatures")
    blocks = [(at, *struct.unpack_from("<II", data, at)) for at in _SIGNATURES]
    signatures = tuple(_signature(data, at + 8, by) for at, by, algorithm in blocks if algorithm == _SM2)
    return Certificate(usage, *_key(data, curve=16, user_id=164), data[:_CSV_SIGNED], signatures)


def _key(data: bytes, *, curve: int, user_id: int) -> tuple[Sm2Key, bytes]:
    """Key and user id: curve, x, y at one offset, length and text of the id at the other."""
    x_at, y_at = curve + 4, curve + 4 + _HALF
    (name,), (length,) = struct.unpack_from("<I", data, curve), struct.unpack_from("<H", data, user_id)
    if name != _SM2_CURVE or length > _MAX_USER_ID:
        raise BadEvidence(Reason.MALFORMED, "certificate without a key of the SM2 curve or its user id")
    x, y = (int.from_bytes(data[at : at + _HALF], "little") for at in (x_at, y_at))
    try:
        return load_point(x, y), data[user_id + 2 : user_id + 2 + length]
    except UnusableKey:
        raise BadEvidence(Reason.MALFORMED, "certificate whose key is off the curve") from None


def _signature(data: bytes, at: int, usage: int) -> Signature:
    r, s = (int.from_bytes(data[start : start + _HALF], "little") for start in (at, at + _HALF))
    return Signature(usage, r, s)
