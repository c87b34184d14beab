"""Claims of a trust domain."""

from attest_pipeline.model import Claims, EventLog
from attest_pipeline.verifiers._intel.quote import CHECKS, Proof
from attest_pipeline.verifiers._intel.tcb import Verdict
from attest_pipeline.verifiers._intel.td import TdReport, is_debug, td_fields, td_measurements
from attest_pipeline.verifiers._intel.verifier import COLLATERAL, platform_fields
from attest_pipeline.verifiers._shared.eventlog.replay import log_fields


def make_claims(report: TdReport, proof: Proof, verdict: Verdict, logs: tuple[EventLog, ...], *, bound: bool) -> Claims:
    """Claims of a proven TD; `logs` replay to RTMRs. `bound` says whether a challenge was compared and equal."""
    explained = [register - 1 for log in logs for register in log.registers]
    replayed = tuple(f"event_log_rtmr{index}" for index in explained)
    checks = (*CHECKS, "tdx_module_identity", *replayed)
    fields = td_fields(report)
    return Claims(
        tee="tdx",
        hardware_id=proof.attestation.pck.platform.ppid.hex(),
        debug=is_debug(report),
        tcb_status=verdict.status.value,
        measurements=td_measurements(fields),
        signer=proof.attestation.signer,
        challenge_verified=bound,
        endorsements={COLLATERAL: proof.collateral.digest},
        fields={
            **fields,
            **platform_fields(proof, verdict),
            "tdx_module_tcb_status": None if verdict.module is None else verdict.module.value,
            "event_log_rtmrs": ",".join(map(str, explained)),
            **log_fields(logs),
        },
        checks=(*checks, "challenge") if bound else checks,
        logs=logs,
    )
