"""What an Azure VM on TDX sends: the document, the TD quote in it, the TDREPORT that the paravisor stored before.

Source: Intel TDX Module 1.5 ABI, TDREPORT_STRUCT: REPORTMACSTRUCT at 0, TDINFO_STRUCT at 512.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Final, NamedTuple

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._azure.document import Document, read_tdx, with_quote
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

    `before` and `behind` are the bytes of that quote which share groups of base64 with its signature.
    """

    document: Document
    quote: Quote
    before: bytes
    behind: bytes


def read_td(data: bytes) -> Td:
    """Document and TD quote. Raises BadEvidence(EMPTY | TOO_LARGE | MALFORMED | UNSUPPORTED_FORMAT)."""
    return _recurring(data)


def _read_td(data: bytes) -> Td:
    document = read_tdx(data)
    quote = parse_quote(document.hardware)
    start, stop = quote.place, quote.place + len(quote.signature)
    before = document.hardware[start - start % _GROUP : start]
    behind = document.hardware[stop : stop + -stop % _GROUP]
    return Td(document._replace(hardware=b""), quote, before, behind)


def _changing(td: Td) -> tuple[bytes, ...]:
    """Message and signature of the vTPM's quote, and of the TD quote the part that holds its signature."""
    return *td.document.texts, urlsafe_b64encode(td.before + td.quote.signature + td.behind)


def _renewed(td: Td, fields: Sequence[bytes]) -> Td | None:
    """The same VM with another quote of its vTPM and another signature of the same TD quote, if no more differs."""
    known, quote, before, behind = td
    *texts, text = fields
    document = with_quote(known, texts)
    try:
        part = urlsafe_b64decode(text)
    except ValueError:
        return None
    signature = part[len(before) :][: len(quote.signature)]
    if document is None or urlsafe_b64encode(before + signature + behind) != text:
        return None
    return Td(document, Quote(quote.signed, quote.report_data, signature, quote.state), before, behind)


_recurring: Final = Recurring(_read_td, _changing, _renewed)


class TdReportStruct(NamedTuple):
    """The parts of a TDREPORT that a quote repeats."""

    report_data: bytes
    td_info: bytes


def parse_td_report(stored: bytes) -> TdReportStruct:
    """TDREPORT out of the hardware report area of an HCL report; zeros follow it. Raises BadEvidence(MALFORMED)."""
    if stored[0] != _TYPE_TDX or any(stored[_SIZE:]):
        raise BadEvidence(Reason.MALFORMED, "HCL report holds no TDREPORT")
    return TdReportStruct(stored[_REPORT_DATA], stored[_TD_INFO])
