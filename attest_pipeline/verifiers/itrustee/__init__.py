"""Huawei iTrustee: reports of the quoting TA, format "TEE.RA.1.0" (`docs/verifiers/itrustee.md`)."""

from attest_pipeline.verifiers.itrustee.verify import ItrusteeVerifier

__all__ = ["ItrusteeVerifier"]
