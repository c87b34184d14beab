"""The HCL report: what Azure's paravisor says of its VM, bound by a hash to a hardware report of its own.

The paravisor (host compatibility layer) runs in front of the guest, emulates its TPM, and puts the hash of the run-time
data, the AK of that TPM among them, into REPORT_DATA when it asks the hardware for a report.

Source: kinvolk/azure-cvm-tooling, az-cvm-vtpm/src/hcl; Microsoft Learn, "Azure confidential VM guest attestation".
"""

import hashlib
from binascii import unhexlify
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from struct import Struct as Layout
from typing import Any, Final, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from attest_pipeline import strict_json
from attest_pipeline.crypto import EcKey, RsaKey, wrap
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import FieldValue
from attest_pipeline.verifiers._azure.document import decode_base64url
from attest_pipeline.verifiers._shared.recurring import Recurring

SNP: Final = 2
TDX: Final = 4
MAX_REPORT: Final = 16 * 1024
HARDWARE: Final = 0x20
RUNTIME: Final = 0x4C0

_HEADER: Final = Layout("<4s4I12s")
_RUNTIME: Final = Layout("<5I")
_VERSIONS: Final = frozenset({1, 2})
_REQUEST_REPORT: Final = 2
_RUNTIME_VERSION: Final = 1
_HASHES: Final = {1: hashlib.sha256, 2: hashlib.sha384, 3: hashlib.sha512}
_REPORT_DATA_BYTES: Final = 64
_AK_NAME: Final = "HCLAkPub"
_WHAT: Final = "run-time data of the HCL report"


class Vm(msgspec.Struct, frozen=True, eq=False):
    """What run-time data says of a VM until it boots anew; remembered, and so one object for equal data.

    `fields` are claims.
    """

    ak: EcKey | RsaKey
    fields: Mapping[str, FieldValue]


class RuntimeData(NamedTuple):
    """The vTPM's AK and all claims of run-time data; `user_data` is in lower case.

    `text` is that as it stands in the run-time data, and empty if this cannot be told.
    """

    vm: Vm
    user_data: str | None
    text: bytes


class Hcl(NamedTuple):
    """An HCL report: the hardware's report as stored (1184 bytes), what its REPORT_DATA must be, the run-time data."""

    hardware: bytes
    report_data: bytes
    runtime: RuntimeData


class _Key(msgspec.Struct):
    kid: str = ""
    kty: str = ""
    n: str = ""
    e: str = ""


class _Configuration(msgspec.Struct):
    secure_boot: bool | None = msgspec.field(name="secure-boot", default=None)
    console_enabled: bool | None = msgspec.field(name="console-enabled", default=None)
    tpm_persisted: bool | None = msgspec.field(name="tpm-persisted", default=None)
    unique_id: str | None = msgspec.field(name="vmUniqueId", default=None)


class _RuntimeData(msgspec.Struct):
    keys: list[_Key]
    vm: _Configuration = msgspec.field(name="vm-configuration", default_factory=_Configuration)
    user_data: str | None = msgspec.field(name="user-data", default=None)


@lru_cache(maxsize=64)
def parse_hcl(data: bytes, kind: int) -> Hcl:
    """HCL report over a hardware report of that kind (SNP or TDX). Raises BadEvidence(TOO_LARGE | MALFORMED).

    Remembered for a moment, because the hardware's chain is asked for first and it is proven right after.
    """
    runtime, algorithm = _cut_runtime(data, kind)
    report_data = algorithm(runtime).digest().ljust(_REPORT_DATA_BYTES, b"\0")
    return Hcl(data[HARDWARE:RUNTIME], report_data, read_runtime(runtime))


def read_runtime(data: bytes) -> RuntimeData:
    """Run-time data out of its JSON. Raises BadEvidence(MALFORMED)."""
    return _recurring(data)


def _read_runtime(data: bytes) -> RuntimeData:
    document = strict_json.decode(data, _RuntimeData, _WHAT)
    fields: dict[str, FieldValue] = {
        "secure_boot": document.vm.secure_boot,
        "console_enabled": document.vm.console_enabled,
        "tpm_persisted": document.vm.tpm_persisted,
        "vm_unique_id": document.vm.unique_id,
    }
    text = document.user_data
    known = b"" if text is None or b"\\" in data else text.encode()
    return RuntimeData(Vm(_read_ak(document.keys), fields), None if text is None else text.lower(), known)


def _renewed(known: RuntimeData, fields: Sequence[bytes]) -> RuntimeData | None:
    """The same VM with other user-data, if that is hexadecimal and nothing else."""
    (text,) = fields
    try:
        return RuntimeData(known.vm, unhexlify(text).hex(), text)
    except ValueError:
        return None


_recurring: Final = Recurring(_read_runtime, lambda known: (known.text,), _renewed)


def check_binding(hcl: Hcl, report_data: bytes) -> None:
    """Require that the hardware vouches for the run-time data. Raises BadEvidence(UNBOUND)."""
    if report_data != hcl.report_data:
        raise BadEvidence(Reason.UNBOUND, "REPORT_DATA of the hardware is not the hash of the run-time data")


def _cut_runtime(data: bytes, kind: int) -> tuple[bytes, Callable[[bytes], Any]]:
    """Run-time data and the hash that binds it; all sizes must agree, and zeros fill the rest."""
    if len(data) > MAX_REPORT:
        raise BadEvidence(Reason.TOO_LARGE, f"HCL report of {len(data)} bytes")
    start = RUNTIME + _RUNTIME.size
    if len(data) < start:
        raise BadEvidence(Reason.MALFORMED, f"HCL report of {len(data)} bytes")
    magic, version, size, request, status, reserved = _HEADER.unpack_from(data)
    runtime_size, runtime_version, found, hash_type, length = _RUNTIME.unpack_from(data, RUNTIME)
    if magic != b"HCLA" or version not in _VERSIONS or request != _REQUEST_REPORT or status or any(reserved):
        raise BadEvidence(Reason.MALFORMED, "header of the HCL report")
    if runtime_version != _RUNTIME_VERSION or found != kind or hash_type not in _HASHES:
        raise BadEvidence(Reason.MALFORMED, f"run-time claims for a hardware report of type {found}")
    if runtime_size != _RUNTIME.size + length or size != RUNTIME + runtime_size or size > len(data):
        raise BadEvidence(Reason.MALFORMED, "sizes in the HCL report do not agree")
    if data[size:].strip(b"\0"):
        raise BadEvidence(Reason.MALFORMED, "bytes other than zeros behind the run-time data")
    return data[start:size], _HASHES[hash_type]


def _read_ak(keys: list[_Key]) -> EcKey | RsaKey:
    named = [key for key in keys if key.kid == _AK_NAME]
    if len(named) != 1 or named[0].kty != "RSA":
        raise BadEvidence(Reason.MALFORMED, f"run-time data without the one RSA key {_AK_NAME}")
    exponent, modulus = (int.from_bytes(decode_base64url(text)) for text in (named[0].e, named[0].n))
    try:
        return wrap(rsa.RSAPublicNumbers(exponent, modulus).public_key())
    except ValueError as error:
        raise BadEvidence(Reason.MALFORMED, f"{_AK_NAME}: {str(error)[:80]}") from None
