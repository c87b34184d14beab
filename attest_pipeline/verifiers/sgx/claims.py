"""Claims of an SGX enclave."""

from functools import lru_cache

from attest_pipeline.model import Claims
from attest_pipeline.verifiers._intel.abi import Quote, SgxReport
from attest_pipeline.verifiers._intel.quote import CHECKS, Proof
from attest_pipeline.verifiers._intel.tcb import Verdict
from attest_pipeline.verifiers._intel.verifier import COLLATERAL, platform_fields
from attest_pipeline.verifiers._shared.recurring import renewed_claims


def make_claims(quote: Quote, report: SgxReport, proof: Proof, verdict: Verdict, *, bound: bool) -> Claims:
    """Claims of a proven enclave; `bound` says whether a challenge was compared and equal."""
    return renewed_claims(_lasting(report, proof, verdict, bound), {"report_data": quote.report_data.hex()})


@lru_cache(maxsize=8192)
def _lasting(report: SgxReport, proof: Proof, verdict: Verdict, bound: bool) -> Claims:  # noqa: FBT001 - lru_cache is slow with keywords
    """Claims that an enclave makes time and again: all but report_data."""
    measurements = {"mrenclave": report.mrenclave.hex(), "mrsigner": report.mrsigner.hex()}
    return Claims(
        tee="sgx",
        hardware_id=proof.attestation.pck.platform.ppid.hex(),
        debug=report.debug,
        tcb_status=verdict.status.value,
        measurements=measurements,
        signer=proof.attestation.signer,
        challenge_verified=bound,
        endorsements={COLLATERAL: proof.collateral.digest},
        fields={
            **{name: value.hex() if isinstance(value, bytes) else value for name, value in report._asdict().items()},
            **platform_fields(proof, verdict),
        },
        checks=(*CHECKS, "challenge") if bound else CHECKS,
    )
