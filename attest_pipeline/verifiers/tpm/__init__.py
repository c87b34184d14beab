"""TPM 2.0: quotes under an attestation key that is enrolled or certified (`docs/verifiers/tpm.md`)."""

from attest_pipeline.verifiers.tpm.verify import TpmVerifier

__all__ = ["TpmVerifier"]
