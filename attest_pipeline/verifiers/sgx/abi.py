"""The SGX enclave report inside a quote."""

from functools import lru_cache

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._intel.abi import BodyType, SgxReport, State, parse_sgx_report


@lru_cache(maxsize=8192)
def enclave_report(state: State) -> SgxReport:
    """Report of the application enclave. Raises BadEvidence(MALFORMED) for a quote over anything else."""
    if state.body_type is not BodyType.SGX:
        raise BadEvidence(Reason.MALFORMED, f"quote over {state.body_type.name}, not over an SGX enclave")
    return parse_sgx_report(state.report)
