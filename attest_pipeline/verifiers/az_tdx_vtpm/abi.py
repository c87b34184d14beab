"""The TDREPORT that the paravisor stored in the HCL report.

Source: Intel TDX Module 1.5 ABI, TDREPORT_STRUCT: REPORTMACSTRUCT at 0, TDINFO_STRUCT at 512.
"""

from typing import Final, NamedTuple

from attest_pipeline.errors import BadEvidence, Reason

_SIZE: Final = 1024
_TYPE_TDX: Final = 0x81
_REPORT_DATA: Final = slice(128, 192)
_TD_INFO: Final = slice(512, 912)
"""ATTRIBUTES to RTMR3; a quote body has the same fields in the same order."""


class TdReportStruct(NamedTuple):
    """The parts of a TDREPORT that a quote repeats."""

    report_data: bytes
    td_info: bytes


def parse_td_report(stored: bytes) -> TdReportStruct:
    """TDREPORT out of the hardware report area of an HCL report; zeros follow it. Raises BadEvidence(MALFORMED)."""
    if stored[0] != _TYPE_TDX or any(stored[_SIZE:]):
        raise BadEvidence(Reason.MALFORMED, "HCL report holds no TDREPORT")
    return TdReportStruct(stored[_REPORT_DATA], stored[_TD_INFO])
