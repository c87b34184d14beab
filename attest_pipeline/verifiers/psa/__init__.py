"""Verifier of PSA attestation tokens (`docs/verifiers/psa.md`)."""

from attest_pipeline.verifiers.psa.verify import PsaVerifier

__all__ = ["PsaVerifier"]
