"""NVIDIA GPUs in confidential computing mode: attestation reports of Hopper and Blackwell."""

from attest_pipeline.verifiers.nvidia_gpu.verify import NvidiaGpuVerifier

__all__ = ["NvidiaGpuVerifier"]
