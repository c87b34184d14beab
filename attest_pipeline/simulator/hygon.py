"""Simulated Hygon vendor: CSV guests, 64 on each simulated chip, with a chain of their own."""

import hashlib
import itertools
import secrets
import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from cryptography.hazmat.primitives import hashes, hmac

from attest_pipeline import gm
from attest_pipeline.errors import Reason
from attest_pipeline.model import Evidence, FieldValue, ReferenceValueSet, TrustAnchor
from attest_pipeline.simulator.device import COMMON_FAULTS, Fault
from attest_pipeline.simulator.hygon_pki import PEK, SM2, Holder, HygonPki

CHIP_SIZE: Final = 64
MEASURE: Final = gm.sm3(b"simulated CSV guest")
NODBG: Final = 1
POLICY: Final = NODBG | 1 << 2 | 1 << 5
"""A CSV2 guest: no debugging, registers encrypted, CSV platforms only."""
BUILD: Final = 2331

_FAULTS: Final = {fault: reason for fault, reason in COMMON_FAULTS.items() if fault is not Fault.REVOKED}
"""Hygon revokes nothing."""
_V1_MASKED: Final = 188
_V1_SIGNATURE: Final = 192
_V2_SIGNATURE: Final = 1024
_TRUNCATED: Final = 1500


class Chip(NamedTuple):
    """One processor: its serial number, the certificates of HSK and CEK, and the key that signs reports."""

    serial: bytes
    hsk_cek: bytes
    pek: Holder


class CsvVendor:
    """Test vendor for `csv`, reports of version 1 or 2; an outdated build shows in version 2 alone.

    The certificates ride with the Evidence, and none has dates.
    """

    tee = "csv"

    def __init__(self, version: int = 2) -> None:
        self._version = version
        self._pki, self._forger = HygonPki(secrets.token_bytes(16)), HygonPki(secrets.token_bytes(16))
        self._chips: dict[tuple[int, bool], Chip] = {}

    def trust_anchors(self) -> tuple[TrustAnchor, ...]:
        """The simulated root key, under the vendor name `hygon`."""
        return (TrustAnchor("hygon", self._pki.root.public.spki),)

    def endorsements(self) -> Mapping[str, tuple[bytes, ...]]:
        """None: each Evidence brings its chip's."""
        return {}

    def reference_values(self) -> ReferenceValueSet:
        """Launch measurement of the simulated guest; in version 2 also its registers and the firmware's build."""
        values: dict[str, tuple[FieldValue, ...]] = {"measure": (MEASURE.hex(),)}
        registers = {f"rtmr{number}": (value.hex(),) for number, value in enumerate(_registers(MEASURE))}
        return ReferenceValueSet(
            name=f"simulated-csv-v{self._version}",
            version="1",
            tee="csv",
            values=values if self._version == 1 else {**values, **registers, "build": (BUILD,)},
        )

    def faults(self) -> Mapping[Fault, Reason | None]:
        """The faults of the contract but a revoked certificate, and an outdated build in version 2 alone."""
        return {fault: _FAULTS[fault] for fault in _FAULTS if fault is not Fault.OUTDATED_TCB or self._version > 1}

    def evidence(self, serial: int, challenge: bytes, fault: Fault | None = None) -> Evidence:
        """Report of device `serial` over the challenge; FOREIGN_CHAIN is the same chip of a forger."""
        chip = self.chip(serial, foreign=fault is Fault.FOREIGN_CHAIN)
        measure = gm.sm3(MEASURE) if fault is Fault.UNKNOWN_MEASUREMENT else MEASURE
        policy = POLICY & ~NODBG if fault is Fault.DEBUG else POLICY
        head = make_head(challenge, measure, policy)
        if self._version == 1:
            report, signature_at = make_v1(head, chip, anonce=challenge[:4]), _V1_SIGNATURE
        else:
            build = BUILD - 1 if fault is Fault.OUTDATED_TCB else BUILD
            report, signature_at = make_v2(head, chip, build, _registers(measure)), 20 + _V2_SIGNATURE
        if fault is Fault.BAD_SIGNATURE:
            report = report[:signature_at] + bytes((report[signature_at] ^ 1,)) + report[signature_at + 1 :]
        items = {"report": report[:_TRUNCATED] if fault is Fault.TRUNCATED else report, "hsk_cek": chip.hsk_cek}
        return Evidence("csv", items)

    def chip(self, serial: int, *, foreign: bool = False) -> Chip:
        """The chip that hosts that device; made when first asked for."""
        identity = serial // CHIP_SIZE, foreign
        if identity not in self._chips:
            pki = self._forger if foreign else self._pki
            cek, pek = pki.chip(f"chip {identity[0]}")
            self._chips[identity] = Chip(b"SIM%08d" % identity[0], pki.hsk.certificate + cek.certificate, pek)
        return self._chips[identity]


def _registers(measure: bytes) -> tuple[bytes, ...]:
    """RTMR 0, which repeats the launch measurement, to RTMR 4."""
    return (measure, *(gm.sm3(b"simulated rtmr%d" % number) for number in (1, 2)), bytes(32), bytes(32))


def make_head(report_data: bytes, measure: bytes, policy: int) -> bytes:
    """The fields that both versions have in common, in clear, 188 bytes; the nonce of the guest is derived."""
    mnonce = hashlib.sha256(report_data).digest()[:16]
    named = bytes(32), b"simulated guest".ljust(16, b"\0"), bytes(16)
    return struct.pack("<32s16s16s64s16s32sIII", *named, report_data, mnonce, measure, policy, PEK, SM2)


def make_v1(head: bytes, chip: Chip, *, anonce: bytes) -> bytes:
    """Report of version 1: all but the signature is masked with `anonce`, and the signature covers masked bytes."""
    masked = mask(head, anonce)
    signature = chip.pek.signer.sign_field(masked[:180], chip.pek.user_id)
    signer = mask(chip.pek.certificate + chip.serial.ljust(64, b"\0"), anonce) + bytes(32)
    return masked + anonce + signature + signer + _mac(head, signer)


def make_v2(head: bytes, chip: Chip, build: int, registers: tuple[bytes, ...]) -> bytes:
    """Report of version 2 in the wrapper of the guest's driver, padded to its page."""
    body = (head + struct.pack("<IH14x", build, 1) + b"".join(registers)).ljust(_V2_SIGNATURE, b"\0")
    signature = chip.pek.signer.sign_field(body, chip.pek.user_id)
    signer = chip.pek.certificate + chip.serial.ljust(64, b"\0") + bytes(32)
    report = body + signature + signer + _mac(head, signer)
    return b"ATTESTATION_EXT\0" + struct.pack("<I", 1) + report.ljust(4096, b"\0")


def mask(data: bytes, anonce: bytes) -> bytes:
    """The bytes with the four of `anonce` laid over them again and again."""
    return bytes(byte ^ over for byte, over in zip(data, itertools.cycle(anonce), strict=False))


def _mac(head: bytes, signer: bytes) -> bytes:
    """HMAC-SM3 over the signer's part with the guest's nonce, which stands in the report itself."""
    state = hmac.HMAC(head[128:144], hashes.SM3())
    state.update(signer)
    return state.finalize()
