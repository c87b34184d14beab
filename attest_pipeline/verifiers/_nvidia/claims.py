"""Claims of an NVIDIA device."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from attest_pipeline.model import Claims
from attest_pipeline.verifiers._nvidia.firmware import Firmware
from attest_pipeline.verifiers._nvidia.proof import Proof
from attest_pipeline.verifiers._nvidia.spdm import DIGEST_BYTES, Report, State
from attest_pipeline.verifiers._shared.recurring import renewed_claims

_NAMES: Final = tuple(f"measurement_{index}" for index in range(1, 256))
_UNUSED: Final = bytes(DIGEST_BYTES).hex()


def make_claims(tee: str, report: Report, firmware: Firmware, proof: Proof) -> Claims:
    """Claims of a proven report.

    Among the measurements are those that are not zero; the fields have them all. A report does not say whether the
    device is in debug mode: firmware that is has other measurements.
    """
    return renewed_claims(_lasting(tee, report.state, firmware, proof), {"nonce": report.nonce.hex()})


@lru_cache(maxsize=8192)
def _lasting(tee: str, state: State, firmware: Firmware, proof: Proof) -> Claims:
    """Claims that a device makes time and again: all but the nonce."""
    measured, used = _measured(state.measurements)
    items = {item for item, _ in proof.rims}
    return Claims(
        tee=tee,
        hardware_id=proof.device.name,
        debug=None,
        tcb_status=None,
        measurements=dict(used),
        signer=proof.device.signer,
        challenge_verified=proof.bound,
        endorsements=proof.documents,
        fields={
            **measured,
            **firmware.fields,
            "chip": proof.device.chip,
            **{rim.item: rim.item in items for rim in firmware.rims},
            "revocation_checked": proof.not_revoked,
        },
        checks=proof.checks,
    )


@lru_cache(maxsize=256)
def _measured(measurements: tuple[bytes, ...]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """All measurements by name, and those that are not zero. Devices with the same firmware have the same ones."""
    measured = dict(zip(_NAMES, map(bytes.hex, measurements), strict=False))
    return measured, {name: value for name, value in measured.items() if value != _UNUSED}
