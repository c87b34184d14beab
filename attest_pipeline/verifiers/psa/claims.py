"""Claims of a proven PSA token under canonical names."""

from functools import lru_cache
from typing import Final

from attest_pipeline.model import Claims, FieldValue
from attest_pipeline.verifiers._arm.anchor import Anchor
from attest_pipeline.verifiers._arm.token import Component, component_fields, component_measurements, is_debug
from attest_pipeline.verifiers._shared.recurring import renewed_claims
from attest_pipeline.verifiers.psa.abi import Device, Token

_PREFIX: Final = "psa-"
CHECKS: Final = ("token-format", "token-signature", "security-lifecycle")
"""What always holds; `challenge` may follow."""


def make_claims(token: Token, anchor: Anchor, *, challenge_verified: bool) -> Claims:
    """Claims of a proven token; the device is named by its instance id."""
    lasting = _lasting(token.device, anchor, challenge_verified)
    return renewed_claims(lasting, {"psa-nonce": token.nonce.hex()})


@lru_cache(maxsize=8192)
def _lasting(device: Device, anchor: Anchor, challenge_verified: bool) -> Claims:  # noqa: FBT001 - lru_cache is slow with keywords
    """Claims that a device makes time and again: all but the nonce."""
    values, measurements = _component_claims(device.components)
    return Claims(
        tee="psa",
        hardware_id=device.instance_id.hex(),
        debug=is_debug(device.lifecycle),
        tcb_status=None,
        measurements=dict(measurements),
        signer=anchor.signer,
        challenge_verified=challenge_verified,
        endorsements={"iak": anchor.document},
        fields={**values, **_fields(device)},
        checks=(*CHECKS, "challenge") if challenge_verified else CHECKS,
    )


@lru_cache(maxsize=8192)
def _component_claims(components: tuple[Component, ...]) -> tuple[dict[str, FieldValue], dict[str, str]]:
    """A fleet has few distinct sets of components."""
    return component_fields(components, _PREFIX), component_measurements(components, _PREFIX)


def _fields(device: Device) -> dict[str, FieldValue]:
    return {
        "eat-profile": device.profile,
        "psa-instance-id": device.instance_id.hex(),
        "psa-implementation-id": device.implementation_id.hex(),
        "psa-client-id": device.client_id,
        "psa-security-lifecycle": device.lifecycle,
        "psa-boot-seed": None if device.boot_seed is None else device.boot_seed.hex(),
        "psa-certification-reference": device.certification,
        "psa-verification-service": device.service,
        "psa-software-measured": bool(device.components),
    }
