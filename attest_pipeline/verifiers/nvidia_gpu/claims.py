"""What of a GPU becomes claims, and which RIMs belong to it."""

from attest_pipeline.verifiers._nvidia.firmware import Firmware, WantedRim
from attest_pipeline.verifiers._nvidia.spdm import State
from attest_pipeline.verifiers.nvidia_gpu.abi import read_gpu


def gpu_firmware(state: State, chip: str) -> Firmware:
    """Firmware of a GPU. Raises BadEvidence(MALFORMED) for the report of another device."""
    gpu = read_gpu(state)
    fields = {
        "driver_version": gpu.driver,
        "vbios_version": gpu.vbios,
        "project": gpu.project,
        "project_sku": gpu.project_sku,
        "chip_sku": gpu.chip_sku,
        "board_id": gpu.board_id,
        "mode": gpu.mode,
        "nvdec0": gpu.nvdec0,
        "protected_pcie": gpu.protected_pcie,
    }
    rims = (
        WantedRim("rim_driver", gpu.driver, f"driver/{gpu.driver}/{chip}".lower()),
        WantedRim("rim_vbios", gpu.vbios, f"vbios/{gpu.vbios}/{gpu.model}".lower()),
    )
    return Firmware(fields, rims)
