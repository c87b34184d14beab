"""Simulated NVIDIA vendor: GPUs and NVSwitches with device certificates, RIMs and OCSP responses of their own."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from struct import Struct as Layout
from typing import Final, NamedTuple

from cryptography.hazmat.primitives import hashes

from attest_pipeline.errors import Reason
from attest_pipeline.model import EndorsementKind, Evidence, ReferenceValueSet, TrustAnchor
from attest_pipeline.simulator.device import COMMON_FAULTS, Fault
from attest_pipeline.simulator.nvidia_pki import Chip, NvidiaPki
from attest_pipeline.simulator.nvidia_rim import make_rim, sign_rim

NONCE: Final = 32
_BLOCK: Final = Layout("<BBHBH48s")
_OPAQUE: Final = Layout("<HH")
_FWID: Final = hashlib.sha384(b"simulated GSP firmware").digest()
_UNUSED: Final = bytes(48)
_FAULTS: Final[Mapping[Fault, Reason | None]] = {
    **{fault: COMMON_FAULTS[fault] for fault in COMMON_FAULTS if fault is not Fault.DEBUG},
    Fault.UNKNOWN_MEASUREMENT: Reason.MEASUREMENT_MISMATCH,
    Fault.FOREIGN_CHAIN: Reason.UNTRUSTED_ROOT,
}
"""Reports have no debug flag, RIMs find wrong measurements, and a chain brings its root: a forger's is a stranger."""


class FirmwareRim(NamedTuple):
    """A RIM of a kind of device: its version as the RIM and as the host's key spell it, and the indexes it covers."""

    version: str
    key: str
    indexes: range


class Kind(NamedTuple):
    """A kind of device: chip, number of measurement blocks, RIMs, fields that a baseline names, and opaque data.

    `prefix` is how the serial number of its chips begins.
    """

    chip: str
    prefix: str
    blocks: int
    rims: tuple[FirmwareRim, ...]
    versions: Mapping[str, str]
    opaque: Callable[[bool], Mapping[int, bytes]]


def _gpu_opaque(old: bool) -> Mapping[int, bytes]:  # noqa: FBT001 - whether the firmware is outdated
    return {
        3: b"570.00.09\0" if old else b"580.95.05\0",
        6: bytes.fromhex("0074009601000000"),
        11: b"\x55",
        14: b"\xb1\x03\0\0",
        15: b"882\0",
        17: b"1010\0",
        18: b"0200\0",
        20: _FWID,
        21: b"\x55",
        36: b"\0\0",
    }


def _switch_opaque(old: bool) -> Mapping[int, bytes]:  # noqa: FBT001 - whether the firmware is outdated
    return {6: b"96.10.54.00.09" if old else b"96.10.55.00.01", 22: bytes.fromhex("203eb31ad9ed0008")}


KINDS: Final[Mapping[str, Kind]] = {
    "nvidia-gpu": Kind(
        "GH100",
        "41",
        64,
        (
            FirmwareRim("580.95.05", "driver/580.95.05/gh100", range(21, 42)),
            FirmwareRim("96.00.74.00.01", "vbios/96.00.74.00.01/1010_0200_882", range(1, 13)),
        ),
        {"driver_version": "580.95.05", "vbios_version": "96.00.74.00.01"},
        _gpu_opaque,
    ),
    "nvidia-switch": Kind(
        "LS_10",
        "50",
        31,
        (FirmwareRim("96.10.55.00.01", "switch/96.10.55.00.01/ls_10", range(31)),),
        {"vbios_version": "96.10.55.00.01"},
        _switch_opaque,
    ),
}


class NvidiaVendor:
    """Test vendor for `nvidia-gpu` (Hopper, alone) or `nvidia-switch`; the nonce is the challenge's first 32 bytes.

    Certificates and OCSP responses are valid from a day before `now` to 30 days after it.
    """

    def __init__(self, tee: str, now: datetime) -> None:
        self.tee = tee
        self.kind = KINDS[tee]
        self.pki = NvidiaPki(now)
        self._forger = NvidiaPki(now)
        self._chips: dict[tuple[int, Fault | None], Chip] = {}
        self._rims = {f"{EndorsementKind.NVIDIA_RIM}/{rim.key}": (self._rim(rim),) for rim in self.kind.rims}

    def trust_anchors(self) -> tuple[TrustAnchor, ...]:
        """The simulated root keys, under the vendor names `nvidia` and `nvidia-rim`."""
        return (TrustAnchor("nvidia", self.pki.root.spki), TrustAnchor("nvidia-rim", self.pki.rim_root.spki))

    def endorsements(self) -> Mapping[str, tuple[bytes, ...]]:
        """RIMs of the current firmware, and OCSP responses for each device made so far."""
        answers = {
            f"{EndorsementKind.NVIDIA_OCSP}/{self._name(*identity)}": self.pki.ocsp(
                chip, revoked=identity[1] is Fault.REVOKED
            )
            for identity, chip in self._chips.items()
            if identity[1] is not Fault.FOREIGN_CHAIN
        }
        return self._rims | answers

    def reference_values(self) -> ReferenceValueSet:
        """Versions of the current firmware."""
        values = {name: (version,) for name, version in self.kind.versions.items()}
        return ReferenceValueSet(name=f"simulated-{self.tee}", version="1", tee=self.tee, values={**values})

    def faults(self) -> Mapping[Fault, Reason | None]:
        """Every fault of the contract but debug mode and those that the caller makes."""
        return _FAULTS

    def evidence(self, serial: int, challenge: bytes, fault: Fault | None = None) -> Evidence:
        """Report of device `serial` over the challenge; REVOKED and FOREIGN_CHAIN are other devices."""
        chip = self._chip(serial, fault if fault in {Fault.REVOKED, Fault.FOREIGN_CHAIN} else None)
        measurements = [self.measurement(index) for index in range(self.kind.blocks)]
        if fault is Fault.UNKNOWN_MEASUREMENT:
            measurements[self.kind.rims[0].indexes[0]] = hashlib.sha384(b"something else").digest()
        opaque = self.kind.opaque(fault is Fault.OUTDATED_TCB)
        body = make_report(challenge[:NONCE], measurements, opaque)
        report = body + chip.firmware.sign_raw(body, hashes.SHA384())
        if fault is Fault.BAD_SIGNATURE:
            report = report[:-1] + bytes([report[-1] ^ 1])
        if fault is Fault.TRUNCATED:
            report = report[: len(report) // 2]
        return Evidence(self.tee, {"report": report, "cert_chain": chip.chain})

    def measurement(self, index: int) -> bytes:
        """What a healthy device measures at an index, which counts from 0."""
        used = any(index in rim.indexes for rim in self.kind.rims)
        return hashlib.sha384(f"{self.tee} {index}".encode()).digest() if used else _UNUSED

    def _rim(self, rim: FirmwareRim) -> bytes:
        golden = {index: (_UNUSED, self.measurement(index)) for index in rim.indexes}
        tag = make_rim(self.kind.chip, rim.version, golden, self.kind.blocks)
        return sign_rim(tag, self.pki.signer.key, self.pki.rim_chain())

    def _chip(self, serial: int, fault: Fault | None) -> Chip:
        if (serial, fault) not in self._chips:
            pki = self._forger if fault is Fault.FOREIGN_CHAIN else self.pki
            self._chips[serial, fault] = pki.chip(self.kind.chip, self._name(serial, fault), _FWID)
        return self._chips[serial, fault]

    def _name(self, serial: int, fault: Fault | None) -> str:
        return f"{self.kind.prefix}{'ff' if fault is Fault.REVOKED else '00'}{serial:014x}"


def make_report(nonce: bytes, measurements: list[bytes], opaque: Mapping[int, bytes]) -> bytes:
    """The signed part of a report: SPDM 1.1 GET_MEASUREMENTS, and MEASUREMENTS up to its signature."""
    request = b"\x11\xe0\x01\xff" + nonce + b"\0"
    record = b"".join(_BLOCK.pack(index, 1, 51, 1, 48, value) for index, value in enumerate(measurements, 1))
    head = b"\x11\x60\0\0" + bytes([len(measurements)]) + len(record).to_bytes(3, "little")
    fields = b"".join(_OPAQUE.pack(kind, len(value)) + value for kind, value in opaque.items())
    own = hashlib.sha256(b"nonce of the device" + nonce).digest()
    return request + head + record + own + len(fields).to_bytes(2, "little") + fields
