"""DCAP quotes, bytes to struct: header, body, signature data, SGX report. All numbers are little-endian.

Source: Intel SGX ECDSA QuoteLibReference (quote v3), Intel TDX DCAP Quoting Library API, appendix A.3 (quote v4, v5).
"""

from collections.abc import Sequence
from enum import IntEnum
from struct import Struct as Layout
from typing import Final, NamedTuple

from msgspec import Struct

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared.recurring import Recurring

MAX_QUOTE: Final = 64 * 1024
INTEL_QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_ECDSA_P256: Final = 2
_TEE_SGX: Final = 0
_TEE_TDX: Final = 0x81
_QE_REPORT_CERTIFICATION: Final = 6
_PCK_CHAIN: Final = 5

_HEADER: Final = Layout("<HHIHH16s20s")
_BODY_HEAD: Final = Layout("<HI")
_LENGTH: Final = Layout("<I")
_CERTIFICATION: Final = Layout("<HI")
_QE_HEAD: Final = Layout("<384s64sH")
_SGX_REPORT: Final = Layout("<16s4s12x16s16s32s32x32s32x64sHHH42x16s")


class BodyType(IntEnum):
    """What a quote reports on; the numbers of quote v5."""

    SGX = 1
    TD_1_0 = 2
    TD_1_5 = 3


_BODY_SIZE: Final = {BodyType.SGX: 384, BodyType.TD_1_0: 584, BodyType.TD_1_5: 648}
SGX_REPORT_DATA: Final = 320
_REPORT_DATA: Final = {BodyType.SGX: SGX_REPORT_DATA, BodyType.TD_1_0: 520, BodyType.TD_1_5: 520}
"""Where the 64 bytes of report_data stand in a body; they are the last of an SGX report."""
_REPORT_DATA_SIZE: Final = 64
_FIXED_BODY: Final = {(3, _TEE_SGX): BodyType.SGX, (4, _TEE_TDX): BodyType.TD_1_0}
_NAMED_BODIES: Final = {BodyType.TD_1_0, BodyType.TD_1_5}
_OTHER_BODIES: Final = {1, 4}
"""SGX enclaves in quote v5, and TD reports 1.5 with service TDs: defined, and not read here."""


class State(Struct, frozen=True):
    """What a TEE quotes until it is changed, and who quotes it: the same in every quote, but for a challenge.

    `report` is the body without its report_data. `certification` is the attestation key and what vouches for it.
    """

    version: int
    body_type: BodyType
    report: bytes
    certification: bytes


class Quote(NamedTuple):
    """A quote, cut up: `signed` runs from the header to the end of the body, `signature` is r||s over it."""

    signed: bytes
    report_data: bytes
    signature: bytes
    state: State

    @property
    def places(self) -> tuple[int, int]:
        """Where report_data and the signature begin in the bytes of the quote."""
        behind = _BODY_SIZE[self.state.body_type] - _REPORT_DATA[self.state.body_type]
        return len(self.signed) - behind, len(self.signed) + _LENGTH.size


class Certification(NamedTuple):
    """What vouches for the attestation key (x||y): the QE's report, signed by the PCK, and the PCK chain as sent."""

    attestation_key: bytes
    qe_report: bytes
    qe_signature: bytes
    qe_auth: bytes
    pck_chain: bytes


class SgxReport(NamedTuple):
    """An SGX enclave report but for its report_data, of an application enclave or of the QE (sgx_report.h)."""

    cpusvn: bytes
    miscselect: bytes
    isvextprodid: bytes
    attributes: bytes
    mrenclave: bytes
    mrsigner: bytes
    configid: bytes
    isvprodid: int
    isvsvn: int
    configsvn: int
    isvfamilyid: bytes

    @property
    def debug(self) -> bool:
        """Whether the enclave can be read by a debugger (ATTRIBUTES.DEBUG, bit 1)."""
        return bool(self.attributes[0] & 0b10)


def parse_quote(data: bytes) -> Quote:
    """SGX quote v3, or TDX quote v4 or v5, out of its bytes; zeros after it are allowed, because transports pad.

    Raises BadEvidence(EMPTY | TOO_LARGE | MALFORMED | UNSUPPORTED_FORMAT).
    """
    return _recurring(data)


def _read_quote(data: bytes) -> Quote:
    if not data:
        raise BadEvidence(Reason.EMPTY, "no quote")
    if len(data) > MAX_QUOTE:
        raise BadEvidence(Reason.TOO_LARGE, f"quote of {len(data)} bytes")
    version, key_type, tee_type, _, _, vendor, _ = _HEADER.unpack(_cut(data, 0, _HEADER.size, "header"))
    body_type, start = _locate_body(data, version, tee_type)
    if key_type != _ECDSA_P256 or vendor != INTEL_QE_VENDOR:
        raise BadEvidence(Reason.MALFORMED, f"attestation key type {key_type}, QE vendor {vendor.hex()}")
    end = start + _BODY_SIZE[body_type]
    body = _cut(data, start, _BODY_SIZE[body_type], "body")
    (length,) = _LENGTH.unpack(_cut(data, end, _LENGTH.size, "signature length"))
    signature_data = _cut(data, end + _LENGTH.size, length, "signature data")
    if data[end + _LENGTH.size + length :].strip(b"\0"):
        raise BadEvidence(Reason.MALFORMED, "bytes other than zeros after the quote")
    at = _REPORT_DATA[body_type]
    state = State(version, body_type, body[:at] + body[at + _REPORT_DATA_SIZE :], signature_data[64:])
    return Quote(data[:end], body[at : at + _REPORT_DATA_SIZE], signature_data[:64], state)


def _changing(quote: Quote) -> tuple[bytes, bytes]:
    return quote.report_data, quote.signature


def _renewed(quote: Quote, fields: Sequence[bytes]) -> Quote:
    report_data, signature = fields
    signed = quote.signed.replace(quote.report_data, report_data)  # where it stands once
    return Quote(signed, report_data, signature, quote.state)


_recurring: Final = Recurring(_read_quote, _changing, _renewed)


def parse_certification(data: bytes, version: int) -> Certification:
    """The certification of a quote of that version; every length must fit exactly.

    Raises BadEvidence(MALFORMED | MISSING_ENDORSEMENT), the latter if a PPID stands in place of the PCK chain.
    """
    key, rest = _cut(data, 0, 64, "attestation key"), data[64:]
    if version > 3:  # noqa: PLR2004 - since v4 the QE part is itself certification data, of type 6
        kind, rest = _certification_data(rest)
        if kind != _QE_REPORT_CERTIFICATION:
            raise BadEvidence(Reason.MALFORMED, f"certification data of type {kind} around the QE report")
    report, signature, auth_length = _QE_HEAD.unpack(_cut(rest, 0, _QE_HEAD.size, "QE report"))
    auth = _cut(rest, _QE_HEAD.size, auth_length, "QE authentication data")
    kind, chain = _certification_data(rest[_QE_HEAD.size + auth_length :])
    if kind != _PCK_CHAIN:
        raise BadEvidence(Reason.MISSING_ENDORSEMENT, f"certification data of type {kind} brings no PCK certificate")
    return Certification(key, report, signature, auth, chain)


def parse_sgx_report(report: bytes) -> SgxReport:
    """SGX report out of its 320 bytes before report_data."""
    return SgxReport(*_SGX_REPORT.unpack(report))


def _locate_body(data: bytes, version: int, tee_type: int) -> tuple[BodyType, int]:
    """Type and offset of the body. Quote v5 says its type and size; before, version and TEE decide."""
    if (version, tee_type) in _FIXED_BODY:
        return _FIXED_BODY[version, tee_type], _HEADER.size
    if (version, tee_type) != (5, _TEE_TDX):
        raise BadEvidence(Reason.MALFORMED, f"no SGX quote v3 nor TDX quote: version {version}, TEE {tee_type:#x}")
    number, size = _BODY_HEAD.unpack(_cut(data, _HEADER.size, _BODY_HEAD.size, "body type"))
    if number not in _NAMED_BODIES:
        reason = Reason.UNSUPPORTED_FORMAT if number in _OTHER_BODIES else Reason.MALFORMED
        raise BadEvidence(reason, f"quote body of type {number}")
    body_type = BodyType(number)
    if size != _BODY_SIZE[body_type]:
        raise BadEvidence(Reason.MALFORMED, f"quote body of type {number} with {size} bytes")
    return body_type, _HEADER.size + _BODY_HEAD.size


def _certification_data(data: bytes) -> tuple[int, bytes]:
    """Type and content of certification data that must fill `data`."""
    kind, length = _CERTIFICATION.unpack(_cut(data, 0, _CERTIFICATION.size, "certification data"))
    if length != len(data) - _CERTIFICATION.size:
        raise BadEvidence(Reason.MALFORMED, f"certification data says {length} bytes")
    return kind, data[_CERTIFICATION.size :]


def _cut(data: bytes, start: int, size: int, what: str) -> bytes:
    piece = data[start : start + size]
    if len(piece) != size:
        raise BadEvidence(Reason.MALFORMED, f"quote ends inside its {what}")
    return piece
