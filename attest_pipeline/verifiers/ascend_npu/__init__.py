"""Ascend NPUs: the firmware that a host with iTrustee or a TPM measured for them (`docs/verifiers/ascend-npu.md`)."""

from attest_pipeline.verifiers.ascend_npu.verify import AscendNpuVerifier

__all__ = ["AscendNpuVerifier"]
