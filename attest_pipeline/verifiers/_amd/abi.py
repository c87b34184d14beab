"""The SEV-SNP attestation report: 1184 little-endian bytes → one frozen struct.

Source: AMD 56860 (SEV Secure Nested Paging Firmware ABI, rev. 1.58), table ATTESTATION_REPORT; versions 2, 3 and 5.
"""

from functools import lru_cache
from struct import Struct as Layout
from typing import Final

from msgspec import Struct

from attest_pipeline.errors import BadEvidence, Reason

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
)  # field by field as in Report


class Report(Struct, frozen=True):
    """The fields in the order of the bytes. TCB versions stay raw: their layout depends on the product (`kds`)."""

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
    report_data: bytes
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
    signature_r: bytes
    signature_s: bytes
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

    @property
    def signature(self) -> bytes:
        """The signature as big-endian r||s of 96 bytes, out of the report's little-endian halves."""
        return self.signature_r[_COORDINATE - 1 :: -1] + self.signature_s[_COORDINATE - 1 :: -1]


@lru_cache(maxsize=64)
def parse(data: bytes) -> Report:
    """Report out of exactly 1184 bytes, reserved fields and bits as the ABI says.

    Remembered for a moment, because its chain is asked for first and it is proven right after.
    PLATFORM_INFO is not held against its reserved bits: firmware sets new ones without a new version. Raises
    BadEvidence(EMPTY | MALFORMED).
    """
    if not data:
        raise BadEvidence(Reason.EMPTY, "no attestation report")
    if len(data) != SIZE:
        raise BadEvidence(Reason.MALFORMED, f"attestation report of {len(data)} bytes instead of {SIZE}")
    report = Report(*LAYOUT.unpack(data))
    if report.version not in VERSIONS:
        raise BadEvidence(Reason.MALFORMED, f"attestation report of unknown version {report.version}")
    _check_reserved(report)
    _check_bits(report)
    return report


def _check_reserved(report: Report) -> None:
    reserved = (
        report.reserved_4c,
        report.reserved_18b,
        report.reserved_1eb,
        report.reserved_1ef,
        report.reserved_208,
        report.reserved_330,
    )
    if reserved != _RESERVED:
        raise BadEvidence(Reason.MALFORMED, "reserved bytes of the attestation report are not zero")
    cpuid = report.cpuid_family | report.cpuid_model | report.cpuid_stepping
    if report.version < CPUID_SINCE and cpuid:
        raise BadEvidence(Reason.MALFORMED, "CPUID fields before report version 3")
    if report.version < MITIGATIONS_SINCE and (report.launch_mitigations | report.current_mitigations):
        raise BadEvidence(Reason.MALFORMED, "mitigation vectors before report version 5")


def _check_bits(report: Report) -> None:
    if not report.policy & _POLICY_MUST_BE_ONE or report.policy >> _POLICY_RESERVED_FROM:
        raise BadEvidence(Reason.MALFORMED, "reserved bits of the guest policy")
    if report.key_info >> _KEY_INFO_RESERVED_FROM:
        raise BadEvidence(Reason.MALFORMED, "reserved bits of KEY_INFO")
    if report.vmpl > _LAST_VMPL:
        raise BadEvidence(Reason.MALFORMED, f"VMPL {report.vmpl}: no guest asked for this report")
    if report.signature_algorithm != ECDSA_P384_SHA384:
        raise BadEvidence(Reason.MALFORMED, f"unknown signature algorithm {report.signature_algorithm}")
    if report.signature_r[_COORDINATE:] != _HIGH_ZEROS or report.signature_s[_COORDINATE:] != _HIGH_ZEROS:
        raise BadEvidence(Reason.MALFORMED, "signature is longer than P-384 allows")
