"""Claims of a trust domain."""

from attest_pipeline.model import Claims, FieldValue
from attest_pipeline.verifiers._intel.quote import CHECKS, Proof
from attest_pipeline.verifiers._intel.tcb import Verdict
from attest_pipeline.verifiers._intel.verifier import COLLATERAL, platform_fields
from attest_pipeline.verifiers.tdx.abi import (
    KEY_LOCKER,
    KNOWN_ATTRIBUTES,
    MIGRATABLE,
    PERFMON,
    PKS,
    SEPT_VE_DISABLE,
    UNDER_DEBUG,
    TdReport,
)

_MEASUREMENTS = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrseam")


def make_claims(report: TdReport, proof: Proof, verdict: Verdict, explained: tuple[int, ...], *, bound: bool) -> Claims:
    """Claims of a proven TD; `explained` are the RTMRs that an event log replays to.

    `bound` says whether a challenge was compared and equal.
    """
    replayed = tuple(f"event_log_rtmr{index}" for index in explained)
    checks = (*CHECKS, "tdx_module_identity", *replayed)
    raw = {name: value.hex() for name, value in report._asdict().items() if value is not None}
    return Claims(
        tee="tdx",
        hardware_id=proof.attestation.pck.platform.ppid.hex(),
        debug=bool(_bits(report) & UNDER_DEBUG),
        tcb_status=verdict.status.value,
        measurements={name: raw[name] for name in _MEASUREMENTS},
        signer=proof.attestation.signer,
        challenge_verified=bound,
        endorsements={COLLATERAL: proof.collateral.digest},
        fields={
            **raw,
            **_attributes(report),
            **platform_fields(proof, verdict),
            "tdx_module_tcb_status": None if verdict.module is None else verdict.module.value,
            "event_log_rtmrs": ",".join(map(str, explained)),
        },
        checks=(*checks, "challenge") if bound else checks,
    )


def _attributes(report: TdReport) -> dict[str, FieldValue]:
    """What a policy asks of TD attributes, so that Rego needs no bit arithmetic."""
    bits = _bits(report)
    return {
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
