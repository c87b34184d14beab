"""Claims of a trust domain."""

from functools import lru_cache

from attest_pipeline.model import Claims, EventLog
from attest_pipeline.verifiers._intel.abi import Quote
from attest_pipeline.verifiers._intel.quote import CHECKS
from attest_pipeline.verifiers._intel.td import Td, is_debug, td_fields, td_measurements
from attest_pipeline.verifiers._intel.verifier import COLLATERAL, platform_fields
from attest_pipeline.verifiers._shared.eventlog.replay import log_fields
from attest_pipeline.verifiers._shared.recurring import renewed_claims


def make_claims(quote: Quote, td: Td, log: EventLog | None, *, bound: bool) -> Claims:
    """Claims of a proven TD; `log` replays to RTMRs. `bound` says whether a challenge was compared and equal."""
    logs, registers = ((), ()) if log is None else ((log,), log.registers)
    fields = {"report_data": quote.report_data.hex(), **log_fields(logs)}
    return renewed_claims(_lasting(td, registers, bound), fields, logs)


@lru_cache(maxsize=8192)
def _lasting(td: Td, registers: tuple[int, ...], bound: bool) -> Claims:  # noqa: FBT001 - lru_cache is slow with keywords
    """Claims that a TD makes time and again: all but report_data, and what its log says."""
    report, proof, verdict = td.report, td.proof, td.verdict
    explained = [register - 1 for register in registers]
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
        },
        checks=(*checks, "challenge") if bound else checks,
    )
