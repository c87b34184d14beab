"""NVIDIA NVSwitch: attestation reports of the third generation (LS10)."""

from attest_pipeline.verifiers.nvidia_switch.verify import NvidiaSwitchVerifier

__all__ = ["NvidiaSwitchVerifier"]
