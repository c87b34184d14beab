"""Simulated AMD vendor: SEV-SNP guests, one on each simulated chip, with a chain of their own."""

import hashlib
import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from awscrt.crypto import EC, ECExportFormat, ECType
from cryptography.hazmat.primitives.asymmetric import ec

from attest_pipeline.errors import Reason
from attest_pipeline.model import EndorsementKind, Evidence, ReferenceValueSet, TrustAnchor
from attest_pipeline.simulator.amd_pki import SILICON, AmdPki, Silicon
from attest_pipeline.simulator.device import COMMON_FAULTS, Fault

SIGNED: Final = 0x2A0
SIZE: Final = 0x4A0
GUEST_POLICY: Final = 1 << 17 | 1 << 16
DEBUG: Final = 1 << 19
MEASUREMENT: Final = hashlib.sha384(b"simulated SNP guest").digest()

_REVOKED_SERIAL: Final = 0x5E5E
_TRUNCATED: Final = 1000
_FIRMWARE: Final = bytes((29, 55, 1, 0))
_PLATFORM_INFO: Final = 0x25


class Chip(NamedTuple):
    """One processor: its versioned key, the certificate of that key (DER), chip id and TCB version."""

    key: EC
    leaf: bytes
    chip_id: bytes
    tcb: bytes


class AmdVendor:
    """Test vendor for `snp` on one product: Milan and Genoa (report v3), Turin (report v5), under VCEKs or VLEKs.

    Certificates are valid from a day before `now` for a year, the CRL for 30 days. It revokes one serial number from
    the start, which REVOKED devices have, so it never changes. Leaf certificates ride with the Evidence.
    """

    tee = "snp"

    def __init__(self, now: datetime, product: str = "Milan", *, vlek: bool = False) -> None:
        self.pki = AmdPki(now, product, vlek=vlek)
        self._product = product.lower()
        self._silicon = SILICON[product]
        self._vlek = vlek
        self._chips: dict[str, Chip] = {}
        self._crl = self.pki.crl((_REVOKED_SERIAL,))

    def trust_anchors(self) -> tuple[TrustAnchor, ...]:
        """The simulated root key, under the vendor name `amd`."""
        return (TrustAnchor("amd", self.pki.root_spki),)

    def endorsements(self) -> Mapping[str, tuple[bytes, ...]]:
        """Intermediate, root and CRL of the product: the same for all devices."""
        chain = f"{EndorsementKind.AMD_CHAIN}/{self._product}"
        return {
            f"{chain}/{'asvk' if self._vlek else 'ask'}": (self.pki.ask,),
            f"{chain}/ark": (self.pki.ark,),
            f"{EndorsementKind.AMD_CRL}/{self._product}": (self._crl,),
        }

    def reference_values(self) -> ReferenceValueSet:
        """Launch measurement of the simulated guest, and the current TCB version."""
        return ReferenceValueSet(
            name=f"simulated-snp-{self._product}",
            version="1",
            tee="snp",
            values={"measurement": (MEASUREMENT.hex(),), "reported_tcb": (self._silicon.tcb.hex(),)},
        )

    def faults(self) -> Mapping[Fault, Reason | None]:
        """Every fault of the contract but those that the caller makes."""
        return COMMON_FAULTS

    def evidence(self, serial: int, challenge: bytes, fault: Fault | None = None) -> Evidence:
        """Report of device `serial` over the challenge; REVOKED, OUTDATED_TCB and FOREIGN_CHAIN are other chips."""
        chip = self.chip(serial, fault)
        body = make_report(
            self._silicon,
            chip,
            report_data=challenge,
            measurement=bytes(reversed(MEASUREMENT)) if fault is Fault.UNKNOWN_MEASUREMENT else MEASUREMENT,
            policy=GUEST_POLICY | DEBUG if fault is Fault.DEBUG else GUEST_POLICY,
            vlek=self._vlek,
        )
        report = sign_report(chip.key, body)
        if fault is Fault.BAD_SIGNATURE:
            report = report[:SIGNED] + bytes((report[SIGNED] ^ 1,)) + report[SIGNED + 1 :]
        if fault is Fault.TRUNCATED:
            report = report[:_TRUNCATED]
        return Evidence("snp", {"report": report, "leaf": chip.leaf})

    def chip(self, serial: int, fault: Fault | None = None) -> Chip:
        """The chip of that device; made when first asked for."""
        odd = fault in {Fault.REVOKED, Fault.OUTDATED_TCB, Fault.FOREIGN_CHAIN}
        name = f"chip {serial} {fault}" if odd else f"chip {serial}"
        if name not in self._chips:
            self._chips[name] = self._make_chip(name, fault)
        return self._chips[name]

    def _make_chip(self, name: str, fault: Fault | None) -> Chip:
        key = EC.new_generate(ECType.P_384)
        identity = hashlib.sha512(name.encode()).digest()[: self._silicon.hwid].ljust(64, b"\0")
        tcb = self._silicon.outdated_tcb if fault is Fault.OUTDATED_TCB else self._silicon.tcb
        leaf = self.pki.leaf(
            key.export_key(ECExportFormat.SPKI),
            self.pki.extensions(tcb, identity),
            serial=_REVOKED_SERIAL if fault is Fault.REVOKED else None,
            signer=ec.generate_private_key(ec.SECP384R1()) if fault is Fault.FOREIGN_CHAIN else None,
        )
        return Chip(key, leaf, bytes(64) if self._vlek else identity, tcb)


def make_report(
    silicon: Silicon, chip: Chip, *, report_data: bytes, measurement: bytes, policy: int, vlek: bool
) -> bytes:
    """The signed part of an attestation report, 0x2A0 bytes (AMD 56860, table ATTESTATION_REPORT)."""
    body = bytearray(SIGNED)
    struct.pack_into("<IIQ", body, 0x00, silicon.report_version, 0, policy)
    struct.pack_into("<II8sQI", body, 0x30, 0, 1, chip.tcb, _PLATFORM_INFO, vlek << 2)
    struct.pack_into("<64s48s", body, 0x50, report_data, measurement)
    struct.pack_into("<32s32s", body, 0x140, hashlib.sha256(chip.chip_id).digest(), b"\xff" * 32)
    struct.pack_into("<8s3B", body, 0x180, chip.tcb, *silicon.cpuid)
    struct.pack_into("<64s8s4s4s8s", body, 0x1A0, chip.chip_id, chip.tcb, _FIRMWARE, _FIRMWARE, chip.tcb)
    return bytes(body)


def sign_report(key: EC, body: bytes) -> bytes:
    """The whole report: its signed part and r and s, each little-endian in 72 bytes, then zeros."""
    signature = key.sign(hashlib.sha384(body).digest())
    pair = bytes(EC.decode_der_signature_to_padded_pair(signature, 48))
    return (body + pair[47::-1].ljust(72, b"\0") + pair[:47:-1].ljust(72, b"\0")).ljust(SIZE, b"\0")
