"""What an NVSwitch says of itself in the opaque data of its report. Source: NVIDIA/nvtrust, nv_switch_verifier."""

from typing import Final

from msgspec import Struct

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._nvidia import spdm
from attest_pipeline.verifiers._nvidia.spdm import State

_PDI_BYTES: Final = 8


class Switch(Struct, frozen=True):
    """Version of its BIOS, and the physical device id (hexadecimal) by which GPUs name it."""

    vbios: str
    pdi: str


def read_switch(state: State) -> Switch:
    """The switch of a report. Raises BadEvidence(MALFORMED) for the report of another device."""
    pdi = state.opaque.get(spdm.SWITCH_PDI, b"")
    if spdm.DRIVER_VERSION in state.opaque or len(pdi) != _PDI_BYTES:
        raise BadEvidence(Reason.MALFORMED, "report is not that of a switch")
    vbios = state.text(spdm.VBIOS_VERSION)
    if vbios is None:
        raise BadEvidence(Reason.MALFORMED, "report names no BIOS")
    return Switch(vbios.upper(), pdi.hex())
