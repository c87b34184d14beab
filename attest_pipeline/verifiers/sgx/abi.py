"""The SGX enclave report inside a quote."""

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._intel.abi import BodyType, Quote, SgxReport, parse_sgx_report


def enclave_report(quote: Quote) -> SgxReport:
    """Report of the application enclave. Raises BadEvidence(MALFORMED) for a quote over anything else."""
    if quote.body_type is not BodyType.SGX:
        raise BadEvidence(Reason.MALFORMED, f"quote over {quote.body_type.name}, not over an SGX enclave")
    return parse_sgx_report(quote.body)
