"""Claims of a proven Arm CCA token under canonical names."""

from functools import lru_cache
from typing import Final

from attest_pipeline.model import Claims, FieldValue
from attest_pipeline.verifiers._arm.token import Platform, Realm, is_debug, platform_fields, platform_measurements
from attest_pipeline.verifiers.cca.verify import CHECKS, Proof

_PLATFORM: Final = "cca-platform-"
_REALM: Final = "cca-realm-"


def claims_of(proof: Proof, *, challenge_verified: bool) -> Claims:
    """Claims of the realm and its platform; the hardware is named by the platform's instance id."""
    platform = proof.platform.claims
    platform_values, platform_digests = _platform_claims(platform)
    realm_digests = _realm_measurements(proof.realm)
    return Claims(
        tee="cca",
        hardware_id=platform.instance_id.hex(),
        debug=is_debug(platform.lifecycle),
        tcb_status=None,
        measurements=realm_digests | platform_digests,
        signer=proof.platform.signer,
        challenge_verified=challenge_verified,
        endorsements={"cpak": proof.platform.cpak},
        fields={**platform_values, **realm_digests, **_realm_fields(proof.realm)},
        checks=(*CHECKS, "challenge") if challenge_verified else CHECKS,
    )


@lru_cache(maxsize=8192)
def _platform_claims(platform: Platform) -> tuple[dict[str, FieldValue], dict[str, str]]:
    return platform_fields(platform, _PLATFORM), platform_measurements(platform, _PLATFORM)


def _realm_measurements(realm: Realm) -> dict[str, str]:
    extensible = {
        f"{_REALM}extensible-measurement-{register}": value.hex() for register, value in enumerate(realm.extensible)
    }
    return {f"{_REALM}initial-measurement": realm.initial.hex(), **extensible}


def _realm_fields(realm: Realm) -> dict[str, FieldValue]:
    return {
        f"{_REALM}profile": realm.profile,
        f"{_REALM}challenge": realm.challenge.hex(),
        f"{_REALM}personalization-value": realm.personalization.hex(),
        f"{_REALM}hash-algo-id": realm.hash_algorithm,
        f"{_REALM}public-key": realm.key.hex(),
        f"{_REALM}public-key-hash-algo-id": realm.key_hash,
    }
