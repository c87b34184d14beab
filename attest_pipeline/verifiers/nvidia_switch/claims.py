"""What of a switch becomes claims, and which RIM belongs to it."""

from attest_pipeline.verifiers._nvidia.firmware import Firmware, WantedRim
from attest_pipeline.verifiers._nvidia.spdm import State
from attest_pipeline.verifiers.nvidia_switch.abi import read_switch


def switch_firmware(state: State, chip: str) -> Firmware:
    """Firmware of a switch. Raises BadEvidence(MALFORMED) for the report of another device."""
    switch = read_switch(state)
    rim = WantedRim("rim_vbios", switch.vbios, f"switch/{switch.vbios}/{chip}".lower())
    return Firmware({"vbios_version": switch.vbios, "pdi": switch.pdi}, (rim,))
