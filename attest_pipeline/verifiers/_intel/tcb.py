"""TCB status: which signed TCB levels a platform, its TDX module and its QE reach, and what they come to together.

Source: Intel SGX/TDX DCAP Quote Verification Library, Verifiers/Checks (TcbLevelCheck, TdxModuleCheck,
TDRelaunchCheck), and the "Get TCB Info" pages of Intel PCS API v4, which give the same algorithm in words.
"""

from functools import lru_cache
from typing import Final, NamedTuple

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._intel.documents import (
    EnclaveIdentity,
    PlatformTcb,
    SvnLevel,
    TcbInfo,
    TcbLevel,
    TcbStatus,
    TdxModule,
)

_OUTDATED: Final = {
    TcbStatus.UP_TO_DATE: TcbStatus.OUT_OF_DATE,
    TcbStatus.SW_HARDENING_NEEDED: TcbStatus.OUT_OF_DATE,
    TcbStatus.CONFIGURATION_NEEDED: TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED: TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
}
_CURRENT: Final = frozenset(_OUTDATED)
_NEEDS_CONFIGURATION: Final = frozenset({
    TcbStatus.CONFIGURATION_NEEDED,
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
})  # fmt: skip


class Svns(NamedTuple):
    """What the Evidence says of its TCB: SGX component SVNs and PCESVN (PCK), QE's ISVSVN, and for TDX its own SVNs.

    `tdx` is TEE_TCB_SVN: module SVN, module version, then component SVNs. `tdx_loaded` is TEE_TCB_SVN_2, that of the
    module loaded now, which a TD launched under an older module reports as well (TD report 1.5).
    """

    sgx: bytes
    pcesvn: int
    qe: int
    tdx: bytes | None = None
    tdx_loaded: bytes | None = None


class Verdict(NamedTuple):
    """TCB status of the whole and of each part (`module` is None without a TDX module identity), and advisories."""

    status: TcbStatus
    platform: TcbStatus
    module: TcbStatus | None
    qe: TcbStatus
    tcb_date: str
    advisories: tuple[str, ...]


@lru_cache(maxsize=65536)
def judge_tcb(tcb_info: TcbInfo, identity: EnclaveIdentity, svns: Svns) -> Verdict:
    """Status of a platform under signed TCB info and QE identity. Raises BadEvidence(TCB_NOT_FOUND)."""
    candidates = [level for level in tcb_info.tcb_levels if _reaches_sgx(svns, level.tcb)]
    platform = _first([level for level in candidates if _reaches_tdx(svns, level.tcb)])
    qe = _level_of(identity.tcb_levels, svns.qe, "QE")
    module = _module_level(tcb_info, svns)
    status = platform.tcb_status
    if module is not None:
        status = _converge(status, module.tcb_status)
    if module is not None and qe.tcb_status is TcbStatus.UP_TO_DATE and svns.tdx_loaded is not None:
        status = _relaunch(tcb_info, svns.tdx_loaded, candidates[0].tcb_status, module, status)
    levels = [level for level in (platform, module, qe) if level is not None]
    return Verdict(
        status=_converge(status, qe.tcb_status),
        platform=platform.tcb_status,
        module=None if module is None else module.tcb_status,
        qe=qe.tcb_status,
        tcb_date=platform.tcb_date,
        advisories=tuple(sorted({advisory for level in levels for advisory in level.advisories})),
    )


def module_identity(tcb_info: TcbInfo, version: int) -> TdxModule:
    """Identity of the TDX module of that version. Raises BadEvidence(TCB_NOT_FOUND | BAD_ENDORSEMENT)."""
    if version == 0:
        if tcb_info.tdx_module is None:
            raise BadEvidence(Reason.BAD_ENDORSEMENT, "TCB info for TDX has no TDX module")
        return tcb_info.tdx_module
    for identity in tcb_info.tdx_module_identities:
        if identity.id.upper() == f"TDX_{version:02X}":
            return identity
    raise BadEvidence(Reason.TCB_NOT_FOUND, f"TCB info knows no TDX module of version {version}")


def _reaches_sgx(svns: Svns, tcb: PlatformTcb) -> bool:
    return svns.pcesvn >= tcb.pcesvn and all(map(int.__ge__, svns.sgx, tcb.sgx))


def _reaches_tdx(svns: Svns, tcb: PlatformTcb) -> bool:
    """Since module version 1 the first two SVNs are those of the module, judged by its own identity."""
    if svns.tdx is None:
        return True
    start = 2 if svns.tdx[1] else 0
    return len(tcb.tdx) == len(svns.tdx) and all(map(int.__ge__, svns.tdx[start:], tcb.tdx[start:]))


def _first(levels: list[TcbLevel]) -> TcbLevel:
    if not levels:
        raise BadEvidence(Reason.TCB_NOT_FOUND, "no TCB level of the TCB info matches this platform")
    return levels[0]


def _level_of(levels: tuple[SvnLevel, ...], svn: int, what: str) -> SvnLevel:
    for level in levels:
        if svn >= level.tcb.isvsvn:
            return level
    raise BadEvidence(Reason.TCB_NOT_FOUND, f"no TCB level matches the {what} with SVN {svn}")


def _module_level(tcb_info: TcbInfo, svns: Svns) -> SvnLevel | None:
    if svns.tdx is None or svns.tdx[1] == 0:
        return None
    return _level_of(module_identity(tcb_info, svns.tdx[1]).tcb_levels, svns.tdx[0], "TDX module")


def _converge(status: TcbStatus, part: TcbStatus) -> TcbStatus:
    """Status of a platform one part of which (TDX module or QE) has a status of its own."""
    if part is TcbStatus.REVOKED:
        return part
    return status if part is TcbStatus.UP_TO_DATE else _OUTDATED.get(status, status)


def _relaunch(tcb_info: TcbInfo, loaded: bytes, sgx: TcbStatus, module: SvnLevel, status: TcbStatus) -> TcbStatus:
    """Out of date only because the TD was launched before the module was updated: relaunching it is enough.

    `sgx` is the status of the best level that the SGX components alone reach.
    """
    outdated = status in {TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED}
    if not outdated or sgx not in _CURRENT or module.tcb_status is not TcbStatus.OUT_OF_DATE:
        return status
    latest = tcb_info.tcb_levels[0].tcb.tdx
    wanted = module_identity(tcb_info, loaded[1]).tcb_levels[0].tcb.isvsvn if loaded[1] else latest[0]
    if loaded[0] < wanted or loaded[2] < latest[2]:
        return status
    if {sgx, status} & _NEEDS_CONFIGURATION:
        return TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
    return TcbStatus.TD_RELAUNCH_ADVISED
