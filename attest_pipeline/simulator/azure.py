"""Simulated Azure: confidential VMs whose paravisor runs on the hardware of a simulated vendor and emulates a TPM.

The HCL report is laid out as in kinvolk/azure-cvm-tooling; the JSON is that of confidential-containers/trustee.
"""

import base64
import hashlib
import json
import ssl
import struct
import uuid
from collections.abc import Mapping
from typing import Final, NamedTuple

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from attest_pipeline.errors import Reason
from attest_pipeline.model import Evidence, ReferenceValueSet, TrustAnchor
from attest_pipeline.simulator import tpm_quote
from attest_pipeline.simulator.device import Fault, Vendor

_HCL_SIZE: Final = 2600
_RUNTIME: Final = 0x4C0
_SNP, _TDX = 2, 4
_QUOTE_TD_INFO: Final = slice(48 + 120, 48 + 520)
_USER_DATA: Final = 64
_FIRST_WITH_CHALLENGE: Final = 2
_HARDWARE_FAULTS: Final = frozenset({Fault.DEBUG, Fault.REVOKED, Fault.OUTDATED_TCB, Fault.FOREIGN_CHAIN})


class _Quote(NamedTuple):
    """What a vTPM gives: a quote, its signature, the PCRs from the first on."""

    message: bytes
    signature: bytes
    pcrs: list[bytes]


class AzureVendor:
    """Test vendor for `az-snp-vtpm` or `az-tdx-vtpm`, on the chips or platforms of an `snp` or `tdx` vendor.

    Each VM has an RSA-2048 AK, which takes some 50 ms to make. The hardware's vendor brings roots and Endorsements.
    `version` is that of the JSON, 0 to 2; the hardware sees the challenge in version 2 alone.
    """

    def __init__(self, hardware: Vendor, version: int = 2) -> None:
        self.tee = f"az-{hardware.tee}-vtpm"
        self._hardware = hardware
        self._version = version
        self._keys: dict[tuple[int, Fault | None], rsa.RSAPrivateKey] = {}

    def trust_anchors(self) -> tuple[TrustAnchor, ...]:
        """Those of the hardware."""
        return self._hardware.trust_anchors()

    def endorsements(self) -> Mapping[str, tuple[bytes, ...]]:
        """Those of the hardware."""
        return self._hardware.endorsements()

    def reference_values(self) -> ReferenceValueSet:
        """Those of the hardware, where they stand for the paravisor, and PCRs of the simulated boot."""
        values = {**self._hardware.reference_values().values, **tpm_quote.reference_values(tpm_quote.BOOT)}
        return ReferenceValueSet(name=f"simulated-{self.tee}", version="1", tee=self.tee, values=values)

    def faults(self) -> Mapping[Fault, Reason | None]:
        """Those of the hardware; signature, measurement and truncation are the vTPM's."""
        return self._hardware.faults()

    def evidence(self, serial: int, challenge: bytes, fault: Fault | None = None) -> Evidence:
        """Evidence of VM `serial` over the beginning of the challenge, as one line of JSON.

        The paravisor asks the hardware for a report, and has a TD quoted, for each Evidence anew.
        """
        hardware_fault = fault if fault in _HARDWARE_FAULTS else None
        key = self.attestation_key(serial, hardware_fault)
        boot = tpm_quote.OTHER_BOOT if fault is Fault.UNKNOWN_MEASUREMENT else tpm_quote.BOOT
        pcrs = tpm_quote.replay(tpm_quote.boot_digests(boot))
        message = tpm_quote.make_quote(pcrs, challenge, _spki(key))
        signature = bytearray(key.sign(message, padding.PKCS1v15(), hashes.SHA256()))
        if fault is Fault.BAD_SIGNATURE:
            signature[-1] ^= 1
        if fault is Fault.TRUNCATED:
            message = message[: len(message) // 2]
        user_data = challenge[: tpm_quote.CHALLENGE] if self._version >= _FIRST_WITH_CHALLENGE else b""
        hcl_report, proof = self._vouched(serial, hardware_fault, _runtime_data(key, serial, user_data))
        quote = _Quote(message, bytes(signature), [pcrs[number] for number in sorted(pcrs)])
        document = (self._new if self._version else self._old)(quote, hcl_report, proof)
        return Evidence(self.tee, {"evidence": json.dumps(document).encode()})

    def attestation_key(self, serial: int, fault: Fault | None = None) -> rsa.RSAPrivateKey:
        """The AK of that VM's TPM; made when first asked for."""
        if (serial, fault) not in self._keys:
            self._keys[serial, fault] = rsa.generate_private_key(65537, 2048)
        return self._keys[serial, fault]

    def _vouched(self, serial: int, fault: Fault | None, runtime: bytes) -> tuple[bytes, bytes]:
        """HCL report around a report of the hardware over the run-time data; and VCEK or TD quote."""
        report_data = hashlib.sha256(runtime).digest().ljust(64, b"\0")
        items = self._hardware.evidence(serial, report_data, fault).items
        if self._hardware.tee == "snp":
            return make_hcl(_SNP, items["report"], runtime), items["leaf"]
        return make_hcl(_TDX, td_report(items["quote"], report_data), runtime), items["quote"]

    def _new(self, quote: _Quote, hcl_report: bytes, proof: bytes) -> dict[str, object]:
        """Document of version 1 or 2."""
        message, signature, pcrs = quote.message.hex(), quote.signature.hex(), [value.hex() for value in quote.pcrs]
        return {
            "version": self._version,
            "tpm_quote": {"message": message, "signature": signature, "pcrs": pcrs},
            "hcl_report": _base64url(hcl_report),
            "vcek" if self._hardware.tee == "snp" else "td_quote": _base64url(proof),
        }

    def _old(self, quote: _Quote, hcl_report: bytes, proof: bytes) -> dict[str, object]:
        """Document of version 0, which says nothing of its version."""
        message, signature, pcrs = [*quote.message], [*quote.signature], [[*value] for value in quote.pcrs]
        numbers = {"message": message, "signature": signature, "pcrs": pcrs}
        if self._hardware.tee == "snp":
            return {"quote": numbers, "report": [*hcl_report], "vcek": ssl.DER_cert_to_PEM_cert(proof)}
        return {"tpm_quote": numbers, "hcl_report": [*hcl_report], "td_quote": [*proof]}


def make_hcl(kind: int, hardware: bytes, runtime: bytes) -> bytes:
    """HCL report around a hardware report (2 is SNP, 4 is TDX) and the run-time data that it vouches for."""
    claims = struct.pack("<5I", 20 + len(runtime), 1, kind, 1, len(runtime)) + runtime
    header = struct.pack("<4s4I12x", b"HCLA", 2, _RUNTIME + len(claims), 2, 0)
    return ((header + hardware).ljust(_RUNTIME, b"\0") + claims).ljust(_HCL_SIZE, b"\0")


def td_report(quote: bytes, report_data: bytes) -> bytes:
    """TDREPORT (1024 bytes) from which that quote would have been made; without a MAC, which nobody else can check."""
    report = bytearray(1024)
    report[0] = 0x81
    report[128:192] = report_data
    report[512:912] = quote[_QUOTE_TD_INFO]
    return bytes(report)


def _runtime_data(key: rsa.RSAPrivateKey, serial: int, user_data: bytes) -> bytes:
    numbers = key.public_key().public_numbers()
    ak = {
        "kid": "HCLAkPub",
        "key_ops": ["sign"],
        "kty": "RSA",
        "e": _base64url(numbers.e.to_bytes(3)),
        "n": _base64url(numbers.n.to_bytes(256)),
    }
    vm = {"console-enabled": True, "secure-boot": True, "tpm-enabled": True, "vmUniqueId": str(uuid.UUID(int=serial))}
    return json.dumps(
        {"keys": [ak], "vm-configuration": vm, "user-data": user_data.ljust(_USER_DATA, b"\0").hex().upper()}
    ).encode()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _spki(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
