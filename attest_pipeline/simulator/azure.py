"""Simulated Azure: confidential VMs whose paravisor runs on the hardware of a simulated vendor and emulates a TPM.

The HCL report is laid out as in kinvolk/azure-cvm-tooling; the JSON is version 1 of confidential-containers/trustee.
"""

import base64
import hashlib
import json
import struct
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
_HARDWARE_FAULTS: Final = frozenset({Fault.DEBUG, Fault.REVOKED, Fault.OUTDATED_TCB, Fault.FOREIGN_CHAIN})


class Vm(NamedTuple):
    """One VM since its boot: the vTPM's AK, REPORT_DATA of its hardware, the HCL report, and on SEV-SNP the VCEK."""

    key: rsa.RSAPrivateKey
    report_data: bytes
    hcl_report: bytes
    vcek: bytes | None


class AzureVendor:
    """Test vendor for `az-snp-vtpm` or `az-tdx-vtpm`, on the chips or platforms of an `snp` or `tdx` vendor.

    Each VM has an RSA-2048 AK, which takes some 50 ms to make. The hardware's vendor brings roots and Endorsements.
    """

    def __init__(self, hardware: Vendor) -> None:
        self.tee = f"az-{hardware.tee}-vtpm"
        self._hardware = hardware
        self._vms: dict[tuple[int, Fault | None], Vm] = {}

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

        A TD quote is made anew for each Evidence, as Azure's metadata service does.
        """
        hardware_fault = fault if fault in _HARDWARE_FAULTS else None
        vm = self._vm(serial, hardware_fault)
        boot = tpm_quote.OTHER_BOOT if fault is Fault.UNKNOWN_MEASUREMENT else tpm_quote.BOOT
        pcrs = tpm_quote.replay(tpm_quote.boot_digests(boot))
        message = tpm_quote.make_quote(pcrs, challenge, _spki(vm.key))
        signature = bytearray(vm.key.sign(message, padding.PKCS1v15(), hashes.SHA256()))
        if fault is Fault.BAD_SIGNATURE:
            signature[-1] ^= 1
        if fault is Fault.TRUNCATED:
            message = message[: len(message) // 2]
        quote = {"message": message.hex(), "signature": signature.hex(), "pcrs": [pcrs[n].hex() for n in sorted(pcrs)]}
        document = {"version": 1, "tpm_quote": quote, "hcl_report": _base64url(vm.hcl_report)}
        if vm.vcek is None:
            document["td_quote"] = _base64url(self._report(serial, vm.report_data, hardware_fault)["quote"])
        else:
            document["vcek"] = _base64url(vm.vcek)
        return Evidence(self.tee, {"evidence": json.dumps(document).encode()})

    def _vm(self, serial: int, fault: Fault | None) -> Vm:
        if (serial, fault) not in self._vms:
            key = rsa.generate_private_key(65537, 2048)
            runtime = _runtime_data(key, serial)
            report_data = hashlib.sha256(runtime).digest().ljust(64, b"\0")
            items = self._report(serial, report_data, fault)
            if self._hardware.tee == "snp":
                vm = Vm(key, report_data, make_hcl(_SNP, items["report"], runtime), items["leaf"])
            else:
                vm = Vm(key, report_data, make_hcl(_TDX, td_report(items["quote"], report_data), runtime), None)
            self._vms[serial, fault] = vm
        return self._vms[serial, fault]

    def _report(self, serial: int, report_data: bytes, fault: Fault | None) -> Mapping[str, bytes]:
        """Items of the hardware's Evidence."""
        return self._hardware.evidence(serial, report_data, fault).items


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


def _runtime_data(key: rsa.RSAPrivateKey, serial: int) -> bytes:
    numbers = key.public_key().public_numbers()
    ak = {
        "kid": "HCLAkPub",
        "key_ops": ["sign"],
        "kty": "RSA",
        "e": _base64url(numbers.e.to_bytes(3)),
        "n": _base64url(numbers.n.to_bytes(256)),
    }
    vm = {"console-enabled": True, "secure-boot": True, "tpm-enabled": True, "vmUniqueId": f"simulated-{serial}"}
    return json.dumps({"keys": [ak], "vm-configuration": vm, "user-data": "00" * 64}).encode()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _spki(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
