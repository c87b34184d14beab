"""The TD report inside a quote, and the bits of TD attributes.

Source: Intel TDX DCAP Quoting Library API, appendix A.3 (TD Quote Body); Intel TDX Module 1.5 ABI, "ATTRIBUTES".
"""

from struct import Struct
from typing import Final, NamedTuple

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._intel.abi import BodyType, Quote

_TD_1_0: Final = Struct("<16s48s48s8s8s8s48s48s48s48s48s48s48s48s64s")
_TD_1_5: Final = Struct(_TD_1_0.format + "16s48s")

UNDER_DEBUG: Final = 0xFF
"""Group TUD: with any of these bits, DEBUG (bit 0) among them, the host can see into the TD."""

SEPT_VE_DISABLE, MIGRATABLE, PKS, KEY_LOCKER, PERFMON = (1 << bit for bit in (28, 29, 30, 31, 63))
_LASS, _TPA = 1 << 27, 1 << 62
KNOWN_ATTRIBUTES: Final = UNDER_DEBUG | _LASS | SEPT_VE_DISABLE | MIGRATABLE | PKS | KEY_LOCKER | _TPA | PERFMON


class TdReport(NamedTuple):
    """A TD report; the last two fields are None in version 1.0."""

    tee_tcb_svn: bytes
    mrseam: bytes
    mrsignerseam: bytes
    seamattributes: bytes
    tdattributes: bytes
    xfam: bytes
    mrtd: bytes
    mrconfigid: bytes
    mrowner: bytes
    mrownerconfig: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes
    rtmr3: bytes
    report_data: bytes
    tee_tcb_svn2: bytes | None = None
    mrservicetd: bytes | None = None

    @property
    def rtmrs(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The four run-time measurement registers."""
        return self.rtmr0, self.rtmr1, self.rtmr2, self.rtmr3


def td_report(quote: Quote) -> TdReport:
    """TD report of a quote. Raises BadEvidence(MALFORMED) for a quote over anything else."""
    if quote.body_type is BodyType.SGX:
        raise BadEvidence(Reason.MALFORMED, "quote over an SGX enclave, not over a TD")
    layout = _TD_1_0 if quote.body_type is BodyType.TD_1_0 else _TD_1_5
    return TdReport(*layout.unpack(quote.body))
