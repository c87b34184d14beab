"""Intel SGX: quotes v3 over an enclave report."""

from attest_pipeline.verifiers.sgx.verify import SgxVerifier

__all__ = ["SgxVerifier"]
