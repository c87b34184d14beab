"""What a GPU says of itself in the opaque data of its report. Source: NVIDIA/nvtrust, spdm_msrt_resp_msg.py."""

from typing import Final

from msgspec import Struct

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._nvidia import spdm
from attest_pipeline.verifiers._nvidia.spdm import State

_VBIOS_BYTES: Final = 8
_STATUS: Final = {0xAA: "enabled", 0x55: "disabled"}
_MODES: Final = {0: "spt", 1: "mpt", 2: "ppcie"}


class Gpu(Struct, frozen=True):
    """Versions of its firmware, its model, and how it is used; None is what the report leaves out.

    `mode` is `spt` (one GPU to a VM), `mpt` (several, NVLink encrypted) or `ppcie` (several, NVLink in the clear).
    """

    driver: str
    vbios: str
    project: str | None
    project_sku: str | None
    chip_sku: str | None
    board_id: int | None
    mode: str | None
    nvdec0: str | None
    protected_pcie: str | None

    @property
    def model(self) -> str:
        """Project, SKU and chip SKU, by which NVIDIA names RIMs of a VBIOS."""
        return "_".join(part or "" for part in (self.project, self.project_sku, self.chip_sku))


def read_gpu(state: State) -> Gpu:
    """The GPU of a report. Raises BadEvidence(MALFORMED) for the report of another device."""
    driver = state.text(spdm.DRIVER_VERSION)
    if driver is None:
        raise BadEvidence(Reason.MALFORMED, "report names no driver: it is not that of a GPU")
    return Gpu(
        driver=driver.upper(),
        vbios=_vbios(state.opaque.get(spdm.VBIOS_VERSION, b"")),
        project=state.text(spdm.PROJECT),
        project_sku=state.text(spdm.PROJECT_SKU),
        chip_sku=state.text(spdm.CHIP_SKU),
        board_id=state.number(spdm.BOARD_ID),
        mode=_word(state, spdm.FEATURE_FLAG, _MODES),
        nvdec0=_word(state, spdm.NVDEC0_STATUS, _STATUS),
        protected_pcie=_word(state, spdm.PROTECTED_PCIE_STATUS, _STATUS),
    )


def _vbios(value: bytes) -> str:
    """Printable form, such as 96.00.9F.00.01, of five bytes in an order of their own."""
    if len(value) != _VBIOS_BYTES or any(value[5:]):
        raise BadEvidence(Reason.MALFORMED, "report names no VBIOS of a GPU")
    return ".".join(f"{byte:02X}" for byte in (*value[3::-1], value[4]))


def _word(state: State, kind: int, words: dict[int, str]) -> str | None:
    number = state.number(kind)
    return None if number is None else words.get(number, f"unknown {number:#x}")
