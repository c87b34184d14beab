"""What an Azure VM on TDX sends: the document, the TD quote in it, the TDREPORT that the paravisor stored before.

Source: Intel TDX Module 1.5 ABI, TDREPORT_STRUCT: REPORTMACSTRUCT at 0, TDINFO_STRUCT at 512.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Final, NamedTuple

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._azure.document import Document, read_tdx, with_texts
from attest_pipeline.verifiers._intel.abi import Quote, parse_quote
from attest_pipeline.verifiers._shared.recurring import Recurring

_SIZE: Final = 1024
_TYPE_TDX: Final = 0x81
_REPORT_DATA: Final = slice(128, 192)
_TD_INFO: Final = slice(512, 912)
"""ATTRIBUTES to RTMR3; a quote body has the same fields in the same order."""
_GROUP: Final = 3
"""Bytes that four characters of base64 stand for."""


class Td(NamedTuple):
    """What a VM sends: the document without its `hardware`, and the TD quote that this is.

    `before`, `between` and `behind` are the bytes of that quote around its report_data and its signature, from the
    beginning to the end of a group of base64.
    """

    document: Document
    quote: Quote
    before: bytes
    between: bytes
    behind: bytes


def read_td(data: bytes) -> Td:
    """Document and TD quote. Raises BadEvidence(EMPTY | TOO_LARGE | MALFORMED | UNSUPPORTED_FORMAT)."""
    return _recurring(data)


def _read_td(data: bytes) -> Td:
    document = read_tdx(data)
    quote, whole = parse_quote(document.hardware), document.hardware
    start, place = quote.places
    stop = place + len(quote.signature)
    before, between = whole[start - start % _GROUP : start], whole[start + len(quote.report_data) : place]
    return Td(document._replace(hardware=b""), quote, before, between, whole[stop : stop + -stop % _GROUP])


def _changing(td: Td) -> tuple[bytes, ...]:
    """The texts of the document, and of that of the TD quote the part from report_data to the signature."""
    return *td.document.texts, _part(td, td.quote.report_data, td.quote.signature)


def _renewed(td: Td, fields: Sequence[bytes]) -> Td | None:
    """The same VM with other texts, if nothing but report_data and signature is another in that of its TD quote."""
    text, quote = fields[-1], td.quote
    document = with_texts(td.document, fields[:-1])
    try:
        part = urlsafe_b64decode(text)
    except ValueError:
        return None
    report_data = part[len(td.before) :][: len(quote.report_data)]
    signature = part[: len(part) - len(td.behind)][-len(quote.signature) :]
    if document is None or _part(td, report_data, signature) != text:
        return None
    start, _ = quote.places
    signed = quote.signed[:start] + report_data + quote.signed[start + len(report_data) :]
    return Td(document, Quote(signed, report_data, signature, quote.state), td.before, td.between, td.behind)


def _part(td: Td, report_data: bytes, signature: bytes) -> bytes:
    return urlsafe_b64encode(td.before + report_data + td.between + signature + td.behind)


_recurring: Final = Recurring(_read_td, _changing, _renewed)


class TdReportStruct(NamedTuple):
    """The parts of a TDREPORT that a quote repeats."""

    report_data: bytes
    td_info: bytes


def parse_td_report(stored: bytes) -> TdReportStruct:
    """TDREPORT out of the hardware report area of an HCL report; zeros follow it. Raises BadEvidence(MALFORMED)."""
    if stored[0] != _TYPE_TDX or stored[_SIZE:].strip(b"\0"):
        raise BadEvidence(Reason.MALFORMED, "HCL report holds no TDREPORT")
    return TdReportStruct(stored[_REPORT_DATA], stored[_TD_INFO])
