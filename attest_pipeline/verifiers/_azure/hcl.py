"""The HCL report: what Azure's paravisor says of its VM, bound by a hash to a hardware report of its own.

The paravisor (host compatibility layer) runs in front of the guest, emulates its TPM, and puts the hash of the run-time
data, the AK of that TPM among them, into REPORT_DATA when it asks the hardware for a report.

Source: kinvolk/azure-cvm-tooling, az-cvm-vtpm/src/hcl; Microsoft Learn, "Azure confidential VM guest attestation".
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from struct import Struct as Layout
from typing import Final, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from attest_pipeline import strict_json
from attest_pipeline.crypto import EcKey, RsaKey, wrap
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import FieldValue
from attest_pipeline.verifiers._azure.document import decode_base64url

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
_HASHES: Final = {1: "sha256", 2: "sha384", 3: "sha512"}
_AK_NAME: Final = "HCLAkPub"
_WHAT: Final = "run-time data of the HCL report"


class Hcl(NamedTuple):
    """An HCL report: the hardware's report as stored (1184 bytes), what its REPORT_DATA must be, the vTPM's AK.

    `fields` are claims that the run-time data makes.
    """

    hardware: bytes
    report_data: bytes
    ak: EcKey | RsaKey
    fields: Mapping[str, FieldValue]


class _Key(msgspec.Struct):
    kid: str = ""
    kty: str = ""
    n: str = ""
    e: str = ""


class _Vm(msgspec.Struct):
    secure_boot: bool | None = msgspec.field(name="secure-boot", default=None)
    console_enabled: bool | None = msgspec.field(name="console-enabled", default=None)
    tpm_persisted: bool | None = msgspec.field(name="tpm-persisted", default=None)
    unique_id: str | None = msgspec.field(name="vmUniqueId", default=None)


class _RuntimeData(msgspec.Struct):
    keys: list[_Key]
    vm: _Vm = msgspec.field(name="vm-configuration", default_factory=_Vm)
    user_data: str | None = msgspec.field(name="user-data", default=None)


@lru_cache(maxsize=1024)
def parse_hcl(data: bytes, kind: int) -> Hcl:
    """HCL report over a hardware report of that kind (SNP or TDX). Raises BadEvidence(TOO_LARGE | MALFORMED)."""
    runtime, hash_name = _runtime_data(data, kind)
    document = strict_json.decode(runtime, _RuntimeData, _WHAT)
    fields: dict[str, FieldValue] = {
        "secure_boot": document.vm.secure_boot,
        "console_enabled": document.vm.console_enabled,
        "tpm_persisted": document.vm.tpm_persisted,
        "vm_unique_id": document.vm.unique_id,
        "user_data": None if document.user_data is None else document.user_data.lower(),
    }
    digest = hashlib.new(hash_name, runtime).digest()
    return Hcl(data[HARDWARE:RUNTIME], digest.ljust(64, b"\0"), _read_ak(document.keys), fields)


def check_binding(hcl: Hcl, report_data: bytes) -> None:
    """Require that the hardware vouches for the run-time data. Raises BadEvidence(UNBOUND)."""
    if report_data != hcl.report_data:
        raise BadEvidence(Reason.UNBOUND, "REPORT_DATA of the hardware is not the hash of the run-time data")


def _runtime_data(data: bytes, kind: int) -> tuple[bytes, str]:
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
    if any(data[size:]):
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
