"""Arm CCA tokens: bytes to structs, by profile. Nothing here is proven.

Sources: RMM specification 1.0 section A7.2 (legacy: no realm profile), draft-ffm-rats-cca-token and RMM specification
2.0, draft (profiles below).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from attest_pipeline.crypto import EcKey
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._arm.token import (
    Platform,
    Realm,
    read_platform,
    read_profile,
    read_realm,
    read_ueid,
)
from attest_pipeline.verifiers._shared import cbor
from attest_pipeline.verifiers._shared.cose import Sign1, read_key, read_point, read_sign1, renewed_sign1
from attest_pipeline.verifiers._shared.eat import ClaimsSet
from attest_pipeline.verifiers._shared.recurring import Recurring
from attest_pipeline.verifiers.cca.rmm2 import (
    PlatformAdditions,
    RealmAdditions,
    read_platform_additions,
    read_realm_additions,
)

PLATFORM_2: Final = "tag:arm.com,2024:cca_platform#2.0.0"
REALM_2: Final = "tag:arm.com,2024:realm#2.0.0"
PLATFORM_PROFILES: Final = frozenset(
    {"http://arm.com/CCA-SSD/1.0.0", "tag:arm.com,2023:cca_platform#1.0.0", PLATFORM_2}
)
REALM_PROFILES: Final = frozenset({None, "tag:arm.com,2023:realm#1.0.0", REALM_2})
_MAX_KEY: Final = 256


class PlatformToken(NamedTuple):
    """The platform token, split and typed; `additions` are there from profile 2.0 on."""

    message: Sign1
    claims: Platform
    additions: PlatformAdditions | None


class RealmToken(NamedTuple):
    """The realm token, split and typed; `additions` are there from profile 2.0 on."""

    message: Sign1
    challenge: bytes
    claims: Realm
    additions: RealmAdditions | None


def read_platform_token(data: bytes) -> PlatformToken:
    """Platform token of a known profile. Raises BadEvidence(MALFORMED | TOO_LARGE)."""
    message = read_sign1(data)
    claims = ClaimsSet(cbor.decode(message.payload), "platform token")
    if read_profile(claims) not in PLATFORM_PROFILES:
        raise BadEvidence(Reason.MALFORMED, "platform token of a profile that is not supported")
    read_ueid(claims, 256)
    platform = read_platform(claims)
    return PlatformToken(message, platform, read_platform_additions(claims, is_2=platform.profile == PLATFORM_2))


def read_realm_token(data: bytes, platform_profile: str) -> RealmToken:
    """Realm token of a known profile, its own or, if it names none, that of platform profile 2.0.

    Raises BadEvidence(MALFORMED | TOO_LARGE).
    """
    return _recurring[platform_profile == PLATFORM_2](data)


def _read_realm_token(data: bytes, *, on_2: bool) -> RealmToken:
    message = read_sign1(data)
    claims = ClaimsSet(cbor.decode(message.payload), "realm token")
    profile = read_profile(claims)
    if profile not in REALM_PROFILES:
        raise BadEvidence(Reason.MALFORMED, "realm token of a profile that is not supported")
    is_2 = profile == REALM_2 or (profile is None and on_2)
    challenge, realm = read_realm(claims, key_sizes=range(1, _MAX_KEY + 1))
    return RealmToken(message, challenge, realm, read_realm_additions(claims, is_2=is_2))


def _changing(token: RealmToken) -> tuple[bytes, bytes]:
    return token.challenge, token.message.signature


def _renewed(token: RealmToken, fields: Sequence[bytes]) -> RealmToken:
    challenge, signature = fields
    message = renewed_sign1(token.message, token.challenge, challenge, signature)
    return RealmToken(message, challenge, token.claims, token.additions)


_recurring: Final[Mapping[bool, Recurring[RealmToken]]] = {
    on_2: Recurring(partial(_read_realm_token, on_2=on_2), _changing, _renewed) for on_2 in (False, True)
}
"""By whether the platform is of profile 2.0, which a realm token without a profile has too."""


def realm_key(token: RealmToken) -> EcKey:
    """Realm attestation key: a bare P-384 point in legacy tokens, else a COSE_Key. Raises BadEvidence(MALFORMED)."""
    realm = token.claims
    is_legacy = realm.profile is None and token.additions is None
    return read_point("P-384", realm.key) if is_legacy else read_key(realm.key)
