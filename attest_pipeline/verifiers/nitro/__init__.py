"""Verifier of AWS Nitro Enclaves attestation documents (`docs/verifiers/nitro.md`)."""

from attest_pipeline.verifiers.nitro.verify import NitroVerifier

__all__ = ["NitroVerifier"]
