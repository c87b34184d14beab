"""Delegated attestation of Arm CCA: a platform token vouches for the key that signs the realm token.

Bytes to structs; nothing here is proven. Huawei's virtCCA uses the same labels. Sources: RMM specification 1.0
section A7.2, draft-ffm-rats-cca-token.
"""

import hashlib
import hmac
from typing import Final, NamedTuple

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import FieldValue
from attest_pipeline.verifiers._shared.cose import Sign1
from attest_pipeline.verifiers._shared.eat import ClaimsSet, read_collection

MAX_TOKEN: Final = 16 * 1024
_PLATFORM, _REALM = 44234, 44241
DIGESTS: Final = frozenset({32, 48, 64})
_MAX_COMPONENTS: Final = 64
_HASHES: Final = {"sha-256": hashlib.sha256, "sha-384": hashlib.sha384, "sha-512": hashlib.sha512}
_SECURED: Final = 0x30
_DEBUG: Final = (0x40, 0x50)
_LIFECYCLES: Final = (0x00, 0x10, 0x20, _SECURED, *_DEBUG, 0x60)


class Collection(NamedTuple):
    """The two signed tokens as received; virtCCA may send no platform token."""

    platform: bytes | None
    realm: bytes

    def required_platform(self) -> bytes:
        """The platform token. Raises BadEvidence(MALFORMED) if there is none."""
        if self.platform is None:
            raise BadEvidence(Reason.MALFORMED, "collection without platform token")
        return self.platform


class Component(NamedTuple):
    """One software component of the platform."""

    kind: str | None
    measurement: bytes
    version: str | None
    signer: bytes


class Platform(NamedTuple):
    """Claims of the platform token; `challenge` is the hash of the key that signs the realm token."""

    profile: str
    challenge: bytes
    implementation_id: bytes
    instance_id: bytes
    lifecycle: int
    config: bytes
    service: str | None
    hash_algorithm: str
    components: tuple[Component, ...]


class Realm(NamedTuple):
    """Claims of the realm token; `key` is the value of the public key claim, byte for byte."""

    profile: str | None
    challenge: bytes
    personalization: bytes
    initial: bytes
    extensible: tuple[bytes, ...]
    hash_algorithm: str
    key: bytes
    key_hash: str


class PlatformToken(NamedTuple):
    """The platform token, split and typed."""

    message: Sign1
    claims: Platform


class RealmToken(NamedTuple):
    """The realm token, split and typed."""

    message: Sign1
    claims: Realm


def read_tokens(data: bytes) -> Collection:
    """Split the evidence into its tokens; entries under other labels are left alone, as they prove nothing.

    Raises BadEvidence(EMPTY | MALFORMED | TOO_LARGE).
    """
    if not data:
        raise BadEvidence(Reason.EMPTY, "no token")
    if len(data) > MAX_TOKEN:
        raise BadEvidence(Reason.TOO_LARGE, f"token of {len(data)} bytes")
    tokens = read_collection(data)
    if _REALM not in tokens:
        raise BadEvidence(Reason.MALFORMED, "collection without realm token")
    return Collection(tokens.get(_PLATFORM), tokens[_REALM])


def read_profile(claims: ClaimsSet) -> str | None:
    """The EAT profile of either token, or None."""
    return claims.optional(claims.text, 265)


def read_platform(claims: ClaimsSet, *, signer_sizes: frozenset[int] = DIGESTS) -> Platform:
    """Typed claims of a platform token. Raises BadEvidence(MALFORMED)."""
    components = claims.array(2399, range(1, _MAX_COMPONENTS + 1))
    return Platform(
        profile=claims.text(265),
        challenge=claims.octets(10, DIGESTS),
        implementation_id=claims.octets(2396, frozenset({32})),
        instance_id=claims.octets(256, frozenset({33})),
        lifecycle=_read_lifecycle(claims),
        config=claims.octets(2401, range(1025)),
        service=claims.optional(claims.text, 2400),
        hash_algorithm=claims.text(2402),
        components=tuple(_read_component(component, signer_sizes) for component in components),
    )


def _read_component(component: object, signer_sizes: frozenset[int]) -> Component:
    claims = ClaimsSet(component, "software component")
    return Component(
        kind=claims.optional(claims.text, 1),
        measurement=claims.octets(2, DIGESTS),
        version=claims.optional(claims.text, 4),
        signer=claims.octets(5, signer_sizes),
    )


def _read_lifecycle(claims: ClaimsSet) -> int:
    lifecycle = claims.integer(2395, range(0x10000))
    if lifecycle >> 8 not in _LIFECYCLES:
        raise BadEvidence(Reason.MALFORMED, f"lifecycle {lifecycle:#06x} is not defined")
    return lifecycle


def read_realm(claims: ClaimsSet, *, key_sizes: range | frozenset[int]) -> Realm:
    """Typed claims of a realm token. Raises BadEvidence(MALFORMED)."""
    extensible = ClaimsSet(dict(enumerate(claims.array(44239, range(4, 5)))), "extensible measurements")
    return Realm(
        profile=read_profile(claims),
        challenge=claims.octets(10, frozenset({64})),
        personalization=claims.octets(44235, frozenset({64})),
        initial=claims.octets(44238, DIGESTS),
        extensible=tuple(extensible.octets(index, DIGESTS) for index in range(4)),
        hash_algorithm=claims.text(44236),
        key=claims.octets(44237, key_sizes),
        key_hash=claims.text(44240),
    )


def check_binding(platform: Platform, realm: Realm) -> None:
    """Require that the platform vouches for the realm's key: its challenge is the hash of the key claim.

    Raises BadEvidence(MALFORMED | UNBOUND).
    """
    hash_function = _HASHES.get(realm.key_hash)
    if hash_function is None:
        raise BadEvidence(Reason.MALFORMED, "realm key hash algorithm is not SHA-2")
    if hash_function(realm.key).digest() != platform.challenge:
        raise BadEvidence(Reason.UNBOUND, "the platform token does not vouch for the realm's key")


def check_challenge(realm: Realm, challenge: bytes | None) -> bool:
    """Whether the realm token carries the challenge, all 64 bytes; None binds nothing.

    Raises BadEvidence(CHALLENGE_MISMATCH).
    """
    if challenge is not None and not hmac.compare_digest(realm.challenge, challenge):
        raise BadEvidence(Reason.CHALLENGE_MISMATCH, "the realm's challenge is not the expected one")
    return challenge is not None


def is_debug(lifecycle: int) -> bool | None:
    """False if the platform is secured, True in a debug state, None in a state that is neither (never production)."""
    state = lifecycle >> 8
    return False if state == _SECURED else True if state in _DEBUG else None


def platform_fields(platform: Platform, prefix: str) -> dict[str, FieldValue]:
    """Claims of the platform under canonical names; component `n` is named by its position."""
    fields: dict[str, FieldValue] = {
        f"{prefix}profile": platform.profile,
        f"{prefix}implementation-id": platform.implementation_id.hex(),
        f"{prefix}instance-id": platform.instance_id.hex(),
        f"{prefix}lifecycle": platform.lifecycle,
        f"{prefix}config": platform.config.hex(),
        f"{prefix}verification-service": platform.service,
        f"{prefix}hash-algo-id": platform.hash_algorithm,
    }
    for position, component in enumerate(platform.components):
        name = f"{prefix}sw-component-{position}"
        fields[f"{name}-type"] = component.kind
        fields[f"{name}-measurement"] = component.measurement.hex()
        fields[f"{name}-version"] = component.version
        fields[f"{name}-signer-id"] = component.signer.hex()
    return fields


def platform_measurements(platform: Platform, prefix: str) -> dict[str, str]:
    """Measurements of the components under the names that `platform_fields` gives them."""
    return {
        f"{prefix}sw-component-{position}-measurement": component.measurement.hex()
        for position, component in enumerate(platform.components)
    }
