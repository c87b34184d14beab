"""The TD report inside a quote: bytes to struct, TDX module identity, and claims under canonical names.

Source: Intel TDX DCAP Quoting Library API, appendix A.3 (TD Quote Body); Intel TDX Module 1.5 ABI, "ATTRIBUTES".
"""

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct as Layout
from typing import Final, NamedTuple

from msgspec import Struct

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import FieldValue
from attest_pipeline.verifiers._intel.abi import BodyType, Quote
from attest_pipeline.verifiers._intel.documents import TcbInfo
from attest_pipeline.verifiers._intel.quote import Proof
from attest_pipeline.verifiers._intel.tcb import Verdict, module_identity
from attest_pipeline.verifiers._intel.verifier import judge_platform

_TD_1_0: Final = Layout("<16s48s48s8s8s8s48s48s48s48s48s48s48s48s")
_TD_1_5: Final = Layout(_TD_1_0.format + "16s48s")

UNDER_DEBUG: Final = 0xFF
"""Group TUD: with any of these bits, DEBUG (bit 0) among them, the host can see into the TD."""

SEPT_VE_DISABLE, MIGRATABLE, PKS, KEY_LOCKER, PERFMON = (1 << bit for bit in (28, 29, 30, 31, 63))
_LASS, _TPA = 1 << 27, 1 << 62
KNOWN_ATTRIBUTES: Final = UNDER_DEBUG | _LASS | SEPT_VE_DISABLE | MIGRATABLE | PKS | KEY_LOCKER | _TPA | PERFMON

_MEASUREMENTS: Final = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrseam")


class TdReport(NamedTuple):
    """A TD report but for its report_data; the last two fields are None in version 1.0."""

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
    tee_tcb_svn2: bytes | None = None
    mrservicetd: bytes | None = None

    @property
    def rtmrs(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The four run-time measurement registers."""
        return self.rtmr0, self.rtmr1, self.rtmr2, self.rtmr3


class Td(Struct, frozen=True, eq=False):
    """A TD whose quote was proven, and its TCB; one object while its proof is."""

    report: TdReport
    proof: Proof
    verdict: Verdict


def check_td(quote: Quote) -> None:
    """Require a quote over a TD. Raises BadEvidence(MALFORMED)."""
    if quote.state.body_type is BodyType.SGX:
        raise BadEvidence(Reason.MALFORMED, "quote over an SGX enclave, not over a TD")


@lru_cache(maxsize=8192)
def judge_td(proof: Proof) -> Td:
    """TCB of a proven TD, whose TDX module must be the one that Intel signed.

    Raises BadEvidence(IDENTITY_MISMATCH | TCB_NOT_FOUND | BAD_ENDORSEMENT).
    """
    layout = _TD_1_0 if proof.state.body_type is BodyType.TD_1_0 else _TD_1_5
    report = TdReport(*layout.unpack(proof.state.report))
    check_module(report, proof.collateral.tcb_info)
    return Td(report, proof, judge_platform(proof, report.tee_tcb_svn, report.tee_tcb_svn2))


def check_module(report: TdReport, tcb_info: TcbInfo) -> None:
    """Require the TDX module that Intel signed for this version, without attributes, as Intel's QVL does.

    Raises BadEvidence(IDENTITY_MISMATCH | TCB_NOT_FOUND | BAD_ENDORSEMENT).
    """
    identity = module_identity(tcb_info, report.tee_tcb_svn[1])
    if report.mrsignerseam != identity.mrsigner:
        raise BadEvidence(Reason.IDENTITY_MISMATCH, "MRSIGNERSEAM is not that of the TDX module identity")
    if any(report.seamattributes) or report.seamattributes != identity.attributes:
        raise BadEvidence(Reason.IDENTITY_MISMATCH, "SEAMATTRIBUTES are not those of the TDX module identity")


def is_debug(report: TdReport) -> bool:
    """Whether the host can see into the TD."""
    return bool(_bits(report) & UNDER_DEBUG)


def td_measurements(fields: Mapping[str, FieldValue]) -> dict[str, str]:
    """The digests among the fields of a report: image, run-time registers, TDX module."""
    return {name: str(fields[name]) for name in _MEASUREMENTS}


def td_fields(report: TdReport) -> dict[str, FieldValue]:
    """The fields of the report, and what a policy asks of TD attributes, so that Rego needs no bit arithmetic."""
    bits = _bits(report)
    return {
        **{name: value.hex() for name, value in report._asdict().items() if value is not None},
        "sept_ve_disable": bool(bits & SEPT_VE_DISABLE),
        "migratable": bool(bits & MIGRATABLE),
        "pks": bool(bits & PKS),
        "key_locker": bool(bits & KEY_LOCKER),
        "perfmon": bool(bits & PERFMON),
        "reserved_tdattributes": bool(bits & ~KNOWN_ATTRIBUTES),
        "service_td": report.mrservicetd is not None and any(report.mrservicetd),
    }


def _bits(report: TdReport) -> int:
    return int.from_bytes(report.tdattributes, "little")
