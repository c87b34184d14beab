"""The JSON that an Azure confidential VM sends, in its three versions, to bytes.

Source: confidential-containers/trustee, deps/verifier/src/az_snp_vtpm and az_tdx_vtpm. Version 0 has no version number
and lists bytes as numbers; versions 1 and 2 have hexadecimal for the TPM and base64url for all else.
"""

from binascii import a2b_base64, b2a_base64, unhexlify
from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Final, Literal, NamedTuple

from msgspec import Meta, Struct

from attest_pipeline import strict_json
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared.recurring import Recurring
from attest_pipeline.verifiers._tpm.quote import Pcrs, make_pcrs

MAX_DOCUMENT: Final = 128 * 1024
_WHAT: Final = "Azure evidence"
_STANDARD: Final = bytes.maketrans(b"-_+/", b"+/!!")
"""The alphabet of base64url to that of base64, whose own two letters are none of base64url's."""
_UNKNOWN: Final = (b"", b"", b"")
_Octets = list[Annotated[int, Meta(ge=0, le=255)]]


class Document(NamedTuple):
    """What a VM sends: its HCL report, the vTPM's quote over `pcrs`, and `hardware`, the VCEK or the TD quote.

    `version` is the JSON's own word, and proven by nothing but what it promises. `texts` are message, signature and
    HCL report as they stand in the JSON; empty if that cannot be told.
    """

    version: int
    hcl_report: bytes
    message: bytes
    signature: bytes
    pcrs: Pcrs
    hardware: bytes
    texts: Sequence[bytes] = _UNKNOWN


class _OldQuote(Struct, forbid_unknown_fields=True):
    message: _Octets
    signature: _Octets
    pcrs: list[_Octets]


class _OldSnp(Struct, forbid_unknown_fields=True):
    quote: _OldQuote
    report: _Octets
    vcek: str


class _OldTdx(Struct, forbid_unknown_fields=True):
    tpm_quote: _OldQuote
    hcl_report: _Octets
    td_quote: _Octets


class _Quote(Struct, forbid_unknown_fields=True):
    message: str
    signature: str
    pcrs: list[str]


class _Snp(Struct, forbid_unknown_fields=True):
    version: Literal[1, 2]
    tpm_quote: _Quote
    hcl_report: str
    vcek: str


class _Tdx(Struct, forbid_unknown_fields=True):
    version: Literal[1, 2]
    tpm_quote: _Quote
    hcl_report: str
    td_quote: str


def read_snp(data: bytes) -> Document:
    """Document of a VM on SEV-SNP; `hardware` is its VCEK certificate. Raises BadEvidence(EMPTY | … | MALFORMED)."""
    return _recurring_snp(data)


def _read_snp(data: bytes) -> Document:
    document = _load(data)
    if "version" in document:
        new = strict_json.convert(document, _Snp, _WHAT)
        return _document(data, new, decode_base64url(new.vcek))
    old = strict_json.convert(document, _OldSnp, _WHAT)
    if not old.vcek.isascii():
        raise BadEvidence(Reason.MALFORMED, "VCEK is no PEM")
    return _old_document(old.report, old.quote, old.vcek.encode())


def with_texts(document: Document, texts: Sequence[bytes]) -> Document | None:
    """The same document with other `texts`, if these are hexadecimal or base64url and nothing else."""
    message, signature, hcl_report = texts
    try:
        return Document(
            document.version,
            _decode(hcl_report),
            unhexlify(message),
            unhexlify(signature),
            document.pcrs,
            document.hardware,
            texts,
        )
    except ValueError:
        return None


_recurring_snp: Final = Recurring(_read_snp, attrgetter("texts"), with_texts)


def read_tdx(data: bytes) -> Document:
    """Document of a VM on TDX; `hardware` is its TD quote. Raises BadEvidence(EMPTY | TOO_LARGE | MALFORMED)."""
    document = _load(data)
    if "version" in document:
        new = strict_json.convert(document, _Tdx, _WHAT)
        return _document(data, new, decode_base64url(new.td_quote))
    old = strict_json.convert(document, _OldTdx, _WHAT)
    return _old_document(old.hcl_report, old.tpm_quote, bytes(old.td_quote))


def decode_base64url(text: str) -> bytes:
    """Bytes of base64url as an encoder writes it, with padding or without. Raises BadEvidence(MALFORMED)."""
    try:
        return _decode(text.encode())
    except ValueError:
        raise BadEvidence(Reason.MALFORMED, "base64url that no encoder writes") from None


def _decode(text: bytes) -> bytes:
    """The same of bytes. Raises ValueError."""
    bare = text.rstrip(b"=").translate(_STANDARD)
    padded = bare + b"=" * (-len(bare) % 4)
    found = a2b_base64(padded, strict_mode=True)
    odd = len(found) % 3  # bytes that do not fill the last group, where bits are left over
    written = b2a_base64(found[-odd:], newline=False) if odd else b""
    if not padded.endswith(written) or len(text) not in (len(bare), len(padded)):
        raise ValueError(text)
    return found


def _load(data: bytes) -> dict[str, object]:
    if not data:
        raise BadEvidence(Reason.EMPTY, "no Azure evidence")
    if len(data) > MAX_DOCUMENT:
        raise BadEvidence(Reason.TOO_LARGE, f"Azure evidence of {len(data)} bytes")
    document = strict_json.load(data)
    if not isinstance(document, dict):
        raise BadEvidence(Reason.MALFORMED, "Azure evidence is no JSON object")
    return document


def _document(data: bytes, new: _Snp | _Tdx, hardware: bytes) -> Document:
    quote = new.tpm_quote
    pcrs = _read_pcrs(tuple(quote.pcrs))
    message, signature = _decode_hex(quote.message), _decode_hex(quote.signature)
    hcl_report = decode_base64url(new.hcl_report)
    texts = (quote.message.encode(), quote.signature.encode(), new.hcl_report.encode())
    return Document(new.version, hcl_report, message, signature, pcrs, hardware, _UNKNOWN if b"\\" in data else texts)


def _old_document(hcl_report: _Octets, quote: _OldQuote, hardware: bytes) -> Document:
    pcrs = make_pcrs(dict(enumerate(map(bytes, quote.pcrs))))
    return Document(0, bytes(hcl_report), bytes(quote.message), bytes(quote.signature), pcrs, hardware)


@lru_cache(maxsize=1024)
def _read_pcrs(values: tuple[str, ...]) -> Pcrs:
    """PCRs from the first on. Remembered by content: a VM sends the same ones until it measures something new."""
    return make_pcrs(dict(enumerate(map(_decode_hex, values))))


def _decode_hex(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if 2 * len(found) != len(text):
        raise BadEvidence(Reason.MALFORMED, "TPM value is no hexadecimal")
    return found
