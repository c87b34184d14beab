"""The JSON that an Azure confidential VM sends, in its three versions, to bytes.

Source: confidential-containers/trustee, deps/verifier/src/az_snp_vtpm and az_tdx_vtpm. Version 0 has no version number
and lists bytes as numbers; versions 1 and 2 have hexadecimal for the TPM and base64url for all else.
"""

import base64
from binascii import unhexlify
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
_Octets = list[Annotated[int, Meta(ge=0, le=255)]]


class Document(NamedTuple):
    """What a VM sends: its HCL report, the vTPM's quote over `pcrs`, and `hardware`, the VCEK or the TD quote.

    `version` is the JSON's own word, and proven by nothing but what it promises. `texts` are message and signature as
    they stand in the JSON, of either case; empty if that cannot be told.
    """

    version: int
    hcl_report: bytes
    message: bytes
    signature: bytes
    pcrs: Pcrs
    hardware: bytes
    texts: Sequence[bytes] = (b"", b"")


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


@lru_cache(maxsize=64)
def read_snp(data: bytes) -> Document:
    """Document of a VM on SEV-SNP; `hardware` is its VCEK certificate. Raises BadEvidence(EMPTY | … | MALFORMED)."""
    return _recurring_snp(data)


def _read_snp(data: bytes) -> Document:
    document = _load(data)
    if "version" in document:
        new = strict_json.convert(document, _Snp, _WHAT)
        return _document(data, new, _decode_kept(new.vcek))
    old = strict_json.convert(document, _OldSnp, _WHAT)
    if not old.vcek.isascii():
        raise BadEvidence(Reason.MALFORMED, "VCEK is no PEM")
    return _old_document(old.report, old.quote, old.vcek.encode())


def with_quote(document: Document, texts: Sequence[bytes]) -> Document | None:
    """The same document around another quote of the vTPM, if its texts are hexadecimal and nothing else."""
    try:
        message, signature = map(unhexlify, texts)
    except ValueError:
        return None
    return document._replace(message=message, signature=signature, texts=texts)


_recurring_snp: Final = Recurring(_read_snp, attrgetter("texts"), with_quote)


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
    bare = text.rstrip("=")
    try:
        found = base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)
    except ValueError:
        found = b""
    padded = base64.urlsafe_b64encode(found).decode()
    if text not in (padded, padded.rstrip("=")):
        raise BadEvidence(Reason.MALFORMED, "base64url that no encoder writes")
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
    texts = (b"", b"") if b"\\" in data else (quote.message.encode(), quote.signature.encode())
    return Document(new.version, _decode_kept(new.hcl_report), message, signature, pcrs, hardware, texts)


def _old_document(hcl_report: _Octets, quote: _OldQuote, hardware: bytes) -> Document:
    pcrs = make_pcrs(dict(enumerate(map(bytes, quote.pcrs))))
    return Document(0, bytes(hcl_report), bytes(quote.message), bytes(quote.signature), pcrs, hardware)


@lru_cache(maxsize=1024)
def _decode_kept(text: str) -> bytes:
    """Bytes of base64url that a VM sends again until it boots anew: HCL report and VCEK."""
    return decode_base64url(text)


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
