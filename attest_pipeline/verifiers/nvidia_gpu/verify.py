"""Proof of a GPU's report: that of any NVIDIA device, with two RIMs."""

from attest_pipeline.verifiers._nvidia.firmware import Firmware
from attest_pipeline.verifiers._nvidia.spdm import State
from attest_pipeline.verifiers._nvidia.verifier import NvidiaVerifier
from attest_pipeline.verifiers.nvidia_gpu.claims import gpu_firmware


class NvidiaGpuVerifier(NvidiaVerifier):
    """Proves reports of Hopper and Blackwell GPUs; RIMs are `rim_driver` and `rim_vbios`."""

    tee = "nvidia-gpu"
    media_types = frozenset({"application/vnd.nvidia.gpu.spdm-measurements"})

    @staticmethod
    def read(state: State, chip: str) -> Firmware:
        """Firmware of a GPU. Raises BadEvidence(MALFORMED)."""
        return gpu_firmware(state, chip)
