"""Arm CCA tokens: bytes to structs, by profile. Nothing here is proven.

Sources: RMM specification 1.0 section A7.2 (legacy: no realm profile), draft-ffm-rats-cca-token (profiles below).
"""

from typing import Final

from attest_pipeline.crypto import EcKey
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._arm.token import (
    PlatformToken,
    Realm,
    RealmToken,
    read_platform,
    read_profile,
    read_realm,
)
from attest_pipeline.verifiers._shared import cbor
from attest_pipeline.verifiers._shared.cose import read_key, read_point, read_sign1
from attest_pipeline.verifiers._shared.eat import ClaimsSet

PLATFORM_PROFILES: Final = frozenset({"http://arm.com/CCA-SSD/1.0.0", "tag:arm.com,2023:cca_platform#1.0.0"})
REALM_PROFILES: Final = frozenset({None, "tag:arm.com,2023:realm#1.0.0", "tag:arm.com,2024:realm#2.0.0"})
_UEID_RANDOM: Final = 0x01
"""First byte of an instance id: a UEID of type RAND (RFC 9711 section 4.2.1)."""
_MAX_KEY: Final = 256


def read_platform_token(data: bytes) -> PlatformToken:
    """Platform token of a known profile. Raises BadEvidence(UNSUPPORTED_FORMAT | MALFORMED | TOO_LARGE)."""
    message = read_sign1(data)
    claims = ClaimsSet(cbor.decode(message.payload), "platform token")
    if read_profile(claims) not in PLATFORM_PROFILES:
        raise BadEvidence(Reason.UNSUPPORTED_FORMAT, "platform token of a profile that is not supported")
    platform = read_platform(claims)
    if platform.instance_id[0] != _UEID_RANDOM:
        raise BadEvidence(Reason.MALFORMED, "instance id is no UEID")
    return PlatformToken(message, platform)


def read_realm_token(data: bytes) -> RealmToken:
    """Realm token of a known profile. Raises BadEvidence(UNSUPPORTED_FORMAT | MALFORMED | TOO_LARGE)."""
    message = read_sign1(data)
    claims = ClaimsSet(cbor.decode(message.payload), "realm token")
    if read_profile(claims) not in REALM_PROFILES:
        raise BadEvidence(Reason.UNSUPPORTED_FORMAT, "realm token of a profile that is not supported")
    return RealmToken(message, read_realm(claims, key_sizes=range(1, _MAX_KEY + 1)))


def realm_key(realm: Realm) -> EcKey:
    """Realm attestation key: a bare P-384 point in legacy tokens, else a COSE_Key. Raises BadEvidence(MALFORMED)."""
    return read_point("P-384", realm.key) if realm.profile is None else read_key(realm.key)
