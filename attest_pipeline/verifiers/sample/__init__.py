"""A TEE that proves nothing, for development: see `SampleVerifier`."""

from attest_pipeline.verifiers.sample.verify import SampleVerifier

__all__ = ["SampleVerifier"]
