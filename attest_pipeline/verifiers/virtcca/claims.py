"""Claims of proven virtCCA Evidence under canonical names."""

from functools import lru_cache
from typing import Final

from attest_pipeline.model import Claims, EventLog, FieldValue, LogName
from attest_pipeline.verifiers._arm.token import Platform, Realm, component_measurements, is_debug, platform_fields
from attest_pipeline.verifiers._huawei.device import Device
from attest_pipeline.verifiers._shared.eventlog.replay import log_fields
from attest_pipeline.verifiers._shared.recurring import renewed_claims
from attest_pipeline.verifiers.virtcca.verify import Proof

_PLATFORM: Final = "platform-"
_LOGS: Final = {LogName.CCEL: "event-log", LogName.IMA: "ima-log"}
"""Log → the check and the field that say that there was one, and held."""


def claims_of(proof: Proof, device: Device, *, logs: tuple[EventLog, ...], challenge_verified: bool) -> Claims:
    """Claims of the confidential VM and, if firmware tells, of its platform.

    The hardware is named by the SHA-256 of the device certificate's key. Without a platform token nothing says whether
    the platform is in debug state.
    """
    held = tuple(_LOGS[log.name] for log in logs)
    lasting = _lasting(proof.realm, proof.platform, device, (*proof.checks, *held), challenge_verified)
    return renewed_claims(lasting, {"challenge": proof.challenge.hex(), **log_fields(logs)}, logs)


@lru_cache(maxsize=8192)
def _lasting(
    realm: Realm,
    platform: Platform | None,
    device: Device,
    made: tuple[str, ...],
    challenge_verified: bool,  # noqa: FBT001 - lru_cache is slow with keywords
) -> Claims:
    """Claims that a VM makes time and again: all but the challenge, and what its logs tell."""
    platform_digests = {} if platform is None else component_measurements(platform.components, _PLATFORM)
    registers = {f"rem{number}": value.hex() for number, value in enumerate(realm.extensible)}
    measurements = {"rim": realm.initial.hex(), **registers}
    checks = (*device.checks, *made)
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
            **({} if platform is None else platform_fields(platform, _PLATFORM)),
            **measurements,
            **_realm_fields(realm),
            "platform-token": platform is not None,
            **{name: name in made for name in _LOGS.values()},
        },
        checks=(*checks, "challenge") if challenge_verified else checks,
    )


def _realm_fields(realm: Realm) -> dict[str, FieldValue]:
    return {
        "rpv": realm.personalization.hex(),
        "hash_alg": realm.hash_algorithm,
        "pub_key": realm.key.hex(),
        "pub_key_hash_alg": realm.key_hash,
    }
