"""Delegated attestation of Arm CCA: a platform token vouches for the key that signs the realm token.

Bytes to structs; nothing here is proven. Huawei's virtCCA uses the same labels; PSA has one token, with the lifecycle
and the components of this platform. Sources: RMM specification 1.0 section A7.2, draft-ffm-rats-cca-token, RFC 9783.
"""

import hashlib
import hmac
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from msgspec import Struct

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import FieldValue
from attest_pipeline.verifiers._shared.cose import Sign1
from attest_pipeline.verifiers._shared.eat import ClaimsSet, Label, read_collection
from attest_pipeline.verifiers._shared.recurring import Recurring

MAX_TOKEN: Final = 16 * 1024
_PLATFORM, _REALM = 44234, 44241
DIGESTS: Final = frozenset({32, 48, 64})
_MAX_COMPONENTS: Final = 64
_HASHES: Final = {"sha-256": hashlib.sha256, "sha-384": hashlib.sha384, "sha-512": hashlib.sha512}
_UEID_RANDOM: Final = 0x01
"""First byte of an instance id: a UEID of type RAND (RFC 9711 section 4.2.1)."""
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
    """One software component of the platform; `hash_algorithm` is what measured it, if not the token's own."""

    kind: str | None
    measurement: bytes
    version: str | None
    signer: bytes
    hash_algorithm: str | None


class Platform(Struct, frozen=True, eq=False):
    """Claims of the platform token; `challenge` is the hash of the key that signs the realm token.

    Proofs of it are remembered, and so one object for equal tokens.
    """

    profile: str
    challenge: bytes
    implementation_id: bytes
    instance_id: bytes
    lifecycle: int
    config: bytes
    service: str | None
    hash_algorithm: str
    components: tuple[Component, ...]


class Realm(Struct, frozen=True, eq=False):
    """Claims of the realm token but its challenge; `key` is the value of the public key claim, byte for byte.

    Remembered, and so one object for tokens that repeat it.
    """

    profile: str | None
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
    challenge: bytes
    claims: Realm


def read_tokens(data: bytes) -> Collection:
    """Split the evidence into its tokens; entries under other labels are left alone, as they prove nothing.

    Raises BadEvidence(EMPTY | MALFORMED | TOO_LARGE).
    """
    return _recurring(data)


def _read_tokens(data: bytes) -> Collection:
    if not data:
        raise BadEvidence(Reason.EMPTY, "no token")
    if len(data) > MAX_TOKEN:
        raise BadEvidence(Reason.TOO_LARGE, f"token of {len(data)} bytes")
    tokens = read_collection(data)
    if _REALM not in tokens:
        raise BadEvidence(Reason.MALFORMED, "collection without realm token")
    return Collection(tokens.get(_PLATFORM), tokens[_REALM])


def _changing(tokens: Collection) -> tuple[bytes]:
    return (tokens.realm,)


def _renewed(tokens: Collection, fields: Sequence[bytes]) -> Collection:
    (realm,) = fields
    return Collection(tokens.platform, realm)


_recurring: Final = Recurring(_read_tokens, _changing, _renewed)


def read_profile(claims: ClaimsSet) -> str | None:
    """The EAT profile of either token, or None."""
    return claims.optional(claims.text, 265)


def read_platform(claims: ClaimsSet, *, signer_sizes: frozenset[int] = DIGESTS) -> Platform:
    """Typed claims of a platform token. Raises BadEvidence(MALFORMED)."""
    return Platform(
        profile=claims.text(265),
        challenge=claims.octets(10, DIGESTS),
        implementation_id=claims.octets(2396, frozenset({32})),
        instance_id=claims.octets(256, frozenset({33})),
        lifecycle=read_lifecycle(claims, 2395),
        config=claims.octets(2401, range(1025)),
        service=read_service(claims, 2400),
        hash_algorithm=_read_hash(claims, 2402),
        components=read_components(claims, 2399, signer_sizes=signer_sizes),
    )


def read_components(
    claims: ClaimsSet, label: Label, *, signer_sizes: frozenset[int] = DIGESTS
) -> tuple[Component, ...]:
    """Software components in the token's order, at least one. Raises BadEvidence(MALFORMED)."""
    return _components(claims.array(label, range(1, _MAX_COMPONENTS + 1)), signer_sizes)


@lru_cache(maxsize=256)
def _components(entries: tuple[object, ...], signer_sizes: frozenset[int]) -> tuple[Component, ...]:
    """A fleet has few distinct sets of components."""
    return tuple(_read_component(entry, signer_sizes) for entry in entries)


def _read_component(component: object, signer_sizes: frozenset[int]) -> Component:
    claims = ClaimsSet(component, "software component")
    return Component(
        kind=claims.optional(claims.text, 1),
        measurement=claims.octets(2, DIGESTS),
        version=claims.optional(claims.text, 4),
        signer=claims.octets(5, signer_sizes),
        hash_algorithm=claims.optional(claims.text, 6),
    )


def read_lifecycle(claims: ClaimsSet, label: Label) -> int:
    """Security lifecycle: a defined state, and in its low byte what the implementation adds.

    Raises BadEvidence(MALFORMED).
    """
    lifecycle = claims.integer(label, range(0x10000))
    if lifecycle >> 8 not in _LIFECYCLES:
        raise BadEvidence(Reason.MALFORMED, f"lifecycle {lifecycle:#06x} is not defined")
    return lifecycle


def read_service(claims: ClaimsSet, label: Label) -> str | None:
    """Where the device wants to be verified, if it says so. Raises BadEvidence(MALFORMED) for an empty text."""
    service = claims.optional(claims.text, label)
    if service == "":
        raise BadEvidence(Reason.MALFORMED, "verification service without a name")
    return service


def _read_hash(claims: ClaimsSet, label: Label) -> str:
    """Name of a hash of SHA-2 (IANA, Hash Function Textual Names). Raises BadEvidence(MALFORMED)."""
    name = claims.text(label)
    if name not in _HASHES:
        raise BadEvidence(Reason.MALFORMED, f"claim {label} names no hash of SHA-2")
    return name


def read_ueid(claims: ClaimsSet, label: Label) -> bytes:
    """Instance id: a UEID of type RAND, 33 bytes. Raises BadEvidence(MALFORMED)."""
    ueid = claims.octets(label, frozenset({33}))
    if ueid[0] != _UEID_RANDOM:
        raise BadEvidence(Reason.MALFORMED, "instance id is no UEID")
    return ueid


def read_realm(claims: ClaimsSet, *, key_sizes: range | frozenset[int]) -> tuple[bytes, Realm]:
    """Challenge of a realm token, and its other claims, typed. Raises BadEvidence(MALFORMED)."""
    extensible = ClaimsSet(dict(enumerate(claims.array(44239, range(4, 5)))), "extensible measurements")
    profile, challenge = read_profile(claims), claims.octets(10, frozenset({64}))
    return challenge, Realm(
        profile=profile,
        personalization=claims.octets(44235, frozenset({64})),
        initial=claims.octets(44238, DIGESTS),
        extensible=tuple(extensible.octets(index, DIGESTS) for index in range(4)),
        hash_algorithm=_read_hash(claims, 44236),
        key=claims.octets(44237, key_sizes),
        key_hash=_read_hash(claims, 44240),
    )


def check_binding(platform: Platform, realm: Realm) -> None:
    """Require that the platform vouches for the realm's key: its challenge is the hash of the key claim.

    Raises BadEvidence(UNBOUND).
    """
    if _HASHES[realm.key_hash](realm.key).digest() != platform.challenge:
        raise BadEvidence(Reason.UNBOUND, "the platform token does not vouch for the realm's key")


def check_challenge(carried: bytes, challenge: bytes | None) -> bool:
    """Whether the token carries the challenge, as a whole; None binds nothing.

    Raises BadEvidence(CHALLENGE_MISMATCH).
    """
    if challenge is not None and not hmac.compare_digest(carried, challenge):
        raise BadEvidence(Reason.CHALLENGE_MISMATCH, "the token's challenge is not the expected one")
    return challenge is not None


def is_debug(lifecycle: int) -> bool | None:
    """False if the platform is secured, True in a debug state, None in a state that is neither (never production)."""
    state = lifecycle >> 8
    return False if state == _SECURED else True if state in _DEBUG else None


def platform_fields(platform: Platform, prefix: str) -> dict[str, FieldValue]:
    """Claims of the platform under canonical names."""
    return {
        f"{prefix}profile": platform.profile,
        f"{prefix}implementation-id": platform.implementation_id.hex(),
        f"{prefix}instance-id": platform.instance_id.hex(),
        f"{prefix}lifecycle": platform.lifecycle,
        f"{prefix}config": platform.config.hex(),
        f"{prefix}verification-service": platform.service,
        f"{prefix}hash-algo-id": platform.hash_algorithm,
        **component_fields(platform.components, prefix),
    }


def component_fields(components: tuple[Component, ...], prefix: str) -> dict[str, FieldValue]:
    """Claims of the components under canonical names; component `n` is named by its position."""
    fields: dict[str, FieldValue] = {}
    for position, component in enumerate(components):
        name = f"{prefix}sw-component-{position}"
        fields[f"{name}-type"] = component.kind
        fields[f"{name}-measurement"] = component.measurement.hex()
        fields[f"{name}-version"] = component.version
        fields[f"{name}-signer-id"] = component.signer.hex()
        fields[f"{name}-hash-algo-id"] = component.hash_algorithm
    return fields


def component_measurements(components: tuple[Component, ...], prefix: str) -> dict[str, str]:
    """Measurements of the components under the names that `component_fields` gives them."""
    return {
        f"{prefix}sw-component-{position}-measurement": component.measurement.hex()
        for position, component in enumerate(components)
    }
