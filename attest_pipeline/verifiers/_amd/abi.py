"""The SEV-SNP attestation report: 1184 little-endian bytes → what a guest says time and again, and what is new in it.

Source: AMD 56860 (SEV Secure Nested Paging Firmware ABI, rev. 1.58), table ATTESTATION_REPORT; versions 2, 3 and 5.
"""

from collections.abc import Sequence
from struct import Struct as Layout
from typing import Final

from msgspec import Struct

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared.recurring import Recurring

SIZE: Final = 0x4A0
SIGNED: Final = 0x2A0
VERSIONS: Final = frozenset({2, 3, 5})
CPUID_SINCE: Final = 3
MITIGATIONS_SINCE: Final = 5
ECDSA_P384_SHA384: Final = 1
VCEK: Final = 0
VLEK: Final = 1

_COORDINATE: Final = 48
_HIGH_ZEROS: Final = bytes(72 - _COORDINATE)
_RESERVED: Final = (bytes(4), bytes(21), 0, 0, bytes(152), bytes(368))
_POLICY_MUST_BE_ONE: Final = 1 << 17
_POLICY_RESERVED_FROM: Final = 26
_KEY_INFO_RESERVED_FROM: Final = 5
_LAST_VMPL: Final = 3

LAYOUT: Final = Layout(
    "<IIQ16s16sII8sQI4s64s48s32s48s48s32s32s8sBBB21s64s8sBBBBBBBB8sQQ152s72s72s368s"
)  # field by field as in Guest, but for REPORT_DATA (its twelfth) and SIGNATURE (before the last)
_REPORT_DATA: Final = 11
_SIGNATURE: Final = -3


class Guest(Struct, frozen=True, eq=False):
    """What all reports of a guest say, in the order of the bytes; remembered, and so one object for equal ones.

    TCB versions stay raw: their layout depends on the product (`kds`).
    """

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    signature_algorithm: int
    current_tcb: bytes
    platform_info: int
    key_info: int
    reserved_4c: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    cpuid_family: int
    cpuid_model: int
    cpuid_stepping: int
    reserved_18b: bytes
    chip_id: bytes
    committed_tcb: bytes
    current_build: int
    current_minor: int
    current_major: int
    reserved_1eb: int
    committed_build: int
    committed_minor: int
    committed_major: int
    reserved_1ef: int
    launch_tcb: bytes
    launch_mitigations: int
    current_mitigations: int
    reserved_208: bytes
    reserved_330: bytes

    @property
    def signing_key(self) -> int:
        """Which key signed: VCEK, VLEK, or 7 for none."""
        return self.key_info >> 2 & 7

    @property
    def mask_chip_key(self) -> bool:
        """Whether the host forbids the chip's own key (MASK_CHIP_KEY)."""
        return bool(self.key_info & 2)

    @property
    def author_key(self) -> bool:
        """Whether `author_key_digest` is meaningful (AUTHOR_KEY_EN)."""
        return bool(self.key_info & 1)


class Report(Struct, frozen=True):
    """One report: the guest, its REPORT_DATA, and the signature as two big-endian numbers of 48 bytes."""

    guest: Guest
    report_data: bytes
    r: bytes
    s: bytes


def _read_report(data: bytes) -> Report:
    if not data:
        raise BadEvidence(Reason.EMPTY, "no attestation report")
    if len(data) != SIZE:
        raise BadEvidence(Reason.MALFORMED, f"attestation report of {len(data)} bytes instead of {SIZE}")
    fields = LAYOUT.unpack(data)
    lasting = (*fields[:_REPORT_DATA], *fields[_REPORT_DATA + 1 : _SIGNATURE], fields[-1])
    guest = Guest(*lasting)
    if guest.version not in VERSIONS:
        raise BadEvidence(Reason.MALFORMED, f"attestation report of unknown version {guest.version}")
    _check_reserved(guest)
    _check_bits(guest)
    r, s = map(_big_endian, fields[_SIGNATURE:-1])
    return Report(guest, fields[_REPORT_DATA], r, s)


def _changing(report: Report) -> Sequence[bytes]:
    return report.report_data, report.r[::-1], report.s[::-1]


def _renewed(report: Report, fields: Sequence[bytes]) -> Report:
    report_data, r, s = fields
    return Report(report.guest, report_data, r[::-1], s[::-1])


parse: Final = Recurring(_read_report, _changing, _renewed)
"""Report out of exactly 1184 bytes, reserved fields and bits as the ABI says.

PLATFORM_INFO is not held against its reserved bits: firmware sets new ones without a new version. Raises
BadEvidence(EMPTY | MALFORMED).
"""


def _check_reserved(guest: Guest) -> None:
    reserved = (
        guest.reserved_4c,
        guest.reserved_18b,
        guest.reserved_1eb,
        guest.reserved_1ef,
        guest.reserved_208,
        guest.reserved_330,
    )
    if reserved != _RESERVED:
        raise BadEvidence(Reason.MALFORMED, "reserved bytes of the attestation report are not zero")
    cpuid = guest.cpuid_family | guest.cpuid_model | guest.cpuid_stepping
    if guest.version < CPUID_SINCE and cpuid:
        raise BadEvidence(Reason.MALFORMED, "CPUID fields before report version 3")
    if guest.version < MITIGATIONS_SINCE and (guest.launch_mitigations | guest.current_mitigations):
        raise BadEvidence(Reason.MALFORMED, "mitigation vectors before report version 5")


def _check_bits(guest: Guest) -> None:
    if not guest.policy & _POLICY_MUST_BE_ONE or guest.policy >> _POLICY_RESERVED_FROM:
        raise BadEvidence(Reason.MALFORMED, "reserved bits of the guest policy")
    if guest.key_info >> _KEY_INFO_RESERVED_FROM:
        raise BadEvidence(Reason.MALFORMED, "reserved bits of KEY_INFO")
    if guest.vmpl > _LAST_VMPL:
        raise BadEvidence(Reason.MALFORMED, f"VMPL {guest.vmpl}: no guest asked for this report")
    if guest.signature_algorithm != ECDSA_P384_SHA384:
        raise BadEvidence(Reason.MALFORMED, f"unknown signature algorithm {guest.signature_algorithm}")


def _big_endian(number: bytes) -> bytes:
    """R or S, which are little-endian in 72 bytes."""
    if number[_COORDINATE:] != _HIGH_ZEROS:
        raise BadEvidence(Reason.MALFORMED, "signature is longer than P-384 allows")
    return number[_COORDINATE - 1 :: -1]
