"""Proof of a switch's report: that of any NVIDIA device, with one RIM."""

from attest_pipeline.verifiers._nvidia.firmware import Firmware
from attest_pipeline.verifiers._nvidia.spdm import State
from attest_pipeline.verifiers._nvidia.verifier import NvidiaVerifier
from attest_pipeline.verifiers.nvidia_switch.claims import switch_firmware


class NvidiaSwitchVerifier(NvidiaVerifier):
    """Proves reports of LS10 switches; their RIM is `rim_vbios`."""

    tee = "nvidia-switch"
    media_types = frozenset({"application/vnd.nvidia.switch.spdm-measurements"})

    @staticmethod
    def read(state: State, chip: str) -> Firmware:
        """Firmware of a switch. Raises BadEvidence(MALFORMED)."""
        return switch_firmware(state, chip)
