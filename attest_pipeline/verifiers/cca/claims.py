"""Claims of a proven Arm CCA token under canonical names."""

from functools import lru_cache
from typing import Final

from attest_pipeline.model import Claims, FieldValue
from attest_pipeline.verifiers._arm.token import Realm, component_measurements, is_debug, platform_fields
from attest_pipeline.verifiers._shared.recurring import renewed_claims
from attest_pipeline.verifiers.cca.rmm2 import Device, PlatformAdditions, RealmAdditions
from attest_pipeline.verifiers.cca.verify import CHECKS, EndorsedPlatform, Proof

_PLATFORM: Final = "cca-platform-"
_REALM: Final = "cca-realm-"


def claims_of(proof: Proof, *, challenge_verified: bool) -> Claims:
    """Claims of the realm and its platform; the hardware is named by the platform's instance id."""
    lasting = _lasting(proof.platform, proof.realm, proof.additions, challenge_verified)
    return renewed_claims(lasting, {f"{_REALM}challenge": proof.challenge.hex()})


@lru_cache(maxsize=8192)
def _lasting(
    endorsed: EndorsedPlatform,
    realm: Realm,
    additions: RealmAdditions | None,
    challenge_verified: bool,  # noqa: FBT001 - lru_cache is slow with keywords
) -> Claims:
    """Claims that a realm makes time and again: all but the challenge."""
    platform = endorsed.claims
    realm_digests = _realm_measurements(realm)
    return Claims(
        tee="cca",
        hardware_id=platform.instance_id.hex(),
        debug=is_debug(platform.lifecycle),
        tcb_status=None,
        measurements=realm_digests | component_measurements(platform.components, _PLATFORM),
        signer=endorsed.signer,
        challenge_verified=challenge_verified,
        endorsements={"cpak": endorsed.cpak},
        fields={
            **platform_fields(platform, _PLATFORM),
            **_added_platform_fields(endorsed.additions),
            **realm_digests,
            **_realm_fields(realm),
            **_added_realm_fields(additions),
            "cca-unproven-devices": _has_devices(endorsed.additions, additions),
        },
        checks=(*CHECKS, "challenge") if challenge_verified else CHECKS,
    )


def _has_devices(platform: PlatformAdditions | None, realm: RealmAdditions | None) -> bool:
    """Whether the platform or the realm rests on devices too: their own Evidence is nothing that this token proves."""
    return (platform is not None and bool(platform.devices)) or (realm is not None and realm.devices is not None)


def _added_platform_fields(additions: PlatformAdditions | None) -> dict[str, FieldValue]:
    if additions is None:
        return {}
    config = additions.manufacturing_config
    fields: dict[str, FieldValue] = {f"{_PLATFORM}manufacturing-config": None if config is None else config.hex()}
    for position, component in enumerate(additions.components):
        name = f"{_PLATFORM}sw-component-{position}"
        fields[f"{name}-live-activation"] = component.live_activation
        for number, signer in enumerate(component.countersigners):
            fields[f"{name}-countersigner-{number}"] = signer.hex()
    for position, device in enumerate(additions.devices):
        fields |= _device_fields(device, f"{_PLATFORM}extension-{position}")
    return fields


def _device_fields(device: Device, name: str) -> dict[str, FieldValue]:
    return {
        f"{name}-hash-algo-id": device.hash_algorithm,
        f"{name}-measurements-digest": device.measurements.hex(),
        f"{name}-certificates-digest": device.certificates.hex(),
        f"{name}-encrypted-link": device.encrypted_link,
        f"{name}-protocol": device.protocol,
        f"{name}-vca-digest": None if device.vca is None else device.vca.hex(),
    }


def _realm_measurements(realm: Realm) -> dict[str, str]:
    extensible = {
        f"{_REALM}extensible-measurement-{register}": value.hex() for register, value in enumerate(realm.extensible)
    }
    return {f"{_REALM}initial-measurement": realm.initial.hex(), **extensible}


def _realm_fields(realm: Realm) -> dict[str, FieldValue]:
    return {
        f"{_REALM}profile": realm.profile,
        f"{_REALM}personalization-value": realm.personalization.hex(),
        f"{_REALM}hash-algo-id": realm.hash_algorithm,
        f"{_REALM}public-key": realm.key.hex(),
        f"{_REALM}public-key-hash-algo-id": realm.key_hash,
    }


def _added_realm_fields(additions: RealmAdditions | None) -> dict[str, FieldValue]:
    if additions is None:
        return {}
    return {
        f"{_REALM}instance-id": additions.instance_id.hex(),
        f"{_REALM}mec-policy": additions.mec_policy,
        f"{_REALM}lfa-policy": additions.lfa_policy,
        f"{_REALM}devices-token-hash": None if additions.devices is None else additions.devices.hex(),
    }
