"""Claims of proven virtCCA Evidence under canonical names."""

from functools import lru_cache
from typing import Final

from attest_pipeline.model import Claims, FieldValue
from attest_pipeline.verifiers._arm.token import Platform, Realm, component_measurements, is_debug, platform_fields
from attest_pipeline.verifiers._huawei.device import Device
from attest_pipeline.verifiers.virtcca.verify import EVENT_LOG, IMA_LOG, Proof

_PLATFORM: Final = "platform-"


def claims_of(proof: Proof, device: Device, *, logs: tuple[str, ...], challenge_verified: bool) -> Claims:
    """Claims of the confidential VM and, if firmware tells, of its platform.

    The hardware is named by the SHA-256 of the device certificate's key. Without a platform token nothing says whether
    the platform is in debug state.
    """
    platform, realm = proof.platform, proof.realm
    platform_values, platform_digests = ({}, {}) if platform is None else _platform_claims(platform)
    registers = {f"rem{number}": value.hex() for number, value in enumerate(realm.extensible)}
    measurements = {"rim": realm.initial.hex(), **registers}
    checks = (*device.checks, *proof.checks, *logs)
    return Claims(
        tee="virtcca",
        hardware_id=device.name,
        debug=None if platform is None else is_debug(platform.lifecycle),
        tcb_status=None,
        measurements=measurements | platform_digests,
        signer=device.name,
        challenge_verified=challenge_verified,
        endorsements=dict(device.documents),
        fields={
            **platform_values,
            **measurements,
            **_realm_fields(realm),
            "platform-token": platform is not None,
            "event-log": EVENT_LOG in logs,
            "ima-log": IMA_LOG in logs,
        },
        checks=(*checks, "challenge") if challenge_verified else checks,
    )


@lru_cache(maxsize=8192)
def _platform_claims(platform: Platform) -> tuple[dict[str, FieldValue], dict[str, str]]:
    return platform_fields(platform, _PLATFORM), component_measurements(platform.components, _PLATFORM)


def _realm_fields(realm: Realm) -> dict[str, FieldValue]:
    return {
        "rpv": realm.personalization.hex(),
        "challenge": realm.challenge.hex(),
        "hash_alg": realm.hash_algorithm,
        "pub_key": realm.key.hex(),
        "pub_key_hash_alg": realm.key_hash,
    }
