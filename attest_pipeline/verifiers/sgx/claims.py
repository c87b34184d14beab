"""Claims of an SGX enclave."""

from attest_pipeline.model import Claims
from attest_pipeline.verifiers._intel.abi import SgxReport
from attest_pipeline.verifiers._intel.quote import CHECKS, Proof
from attest_pipeline.verifiers._intel.tcb import Verdict
from attest_pipeline.verifiers._intel.verifier import COLLATERAL, platform_fields


def make_claims(report: SgxReport, proof: Proof, verdict: Verdict, *, bound: bool) -> Claims:
    """Claims of a proven enclave; `bound` says whether a challenge was compared and equal."""
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
