"""Proof of an Arm CCA token: CPAK → platform token → realm attestation key → realm token.

Both signatures can hold while the two tokens come from different machines; only the hash of the realm's key in the
platform token joins them.
"""

import base64
import hashlib
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from attest_pipeline.crypto import CURVES, EcKey, UnusableKey, load_point
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._arm.token import Platform, Realm, check_binding, read_tokens
from attest_pipeline.verifiers._shared.cose import check_signature
from attest_pipeline.verifiers.cca.abi import read_platform_token, read_realm_token, realm_key

CHECKS: Final = ("token-format", "platform-signature", "platform-lifecycle", "realm-key-binding", "realm-signature")
_MAX_JWK: Final = 4096


class EndorsedPlatform(NamedTuple):
    """A platform and what it rests on: SHA-256 of the CPAK's SubjectPublicKeyInfo, and of the document it came in."""

    claims: Platform
    signer: str
    cpak: str


class Proof(NamedTuple):
    """What the signatures prove."""

    platform: EndorsedPlatform
    realm: Realm


def prove(token: bytes, cpak: bytes) -> Proof:
    """Prove both tokens of the evidence under the endorsed CPAK (a JWK). Raises BadEvidence."""
    tokens = read_tokens(token)
    platform = _prove_platform(tokens.required_platform(), cpak)
    message, realm = read_realm_token(tokens.realm)
    check_binding(platform.claims, realm)
    check_signature(message, realm_key(realm), "realm token")
    return Proof(platform, realm)


@lru_cache(maxsize=8192)
def _prove_platform(token: bytes, cpak: bytes) -> EndorsedPlatform:
    """Prove a platform token. A realm repeats it with every token until its key changes, so proofs are remembered."""
    message, claims = read_platform_token(token)
    key = _load_cpak(cpak)
    check_signature(message, key, "platform token")
    return EndorsedPlatform(claims, hashlib.sha256(key.spki).hexdigest(), hashlib.sha256(cpak).hexdigest())


class _Jwk(Struct):
    kty: Literal["EC"]
    crv: Literal["P-256", "P-384", "P-521"]
    x: str
    y: str


def _load_cpak(document: bytes) -> EcKey:
    """EC public key of a JWK (RFC 7517); other members are ignored. Raises BadEvidence(BAD_ENDORSEMENT)."""
    try:
        jwk = msgspec.json.decode(document[:_MAX_JWK], type=_Jwk)
        size = (CURVES[jwk.crv].key_size + 7) // 8
        x, y = _decode_coordinate(jwk.x), _decode_coordinate(jwk.y)
        if len(x) != size or len(y) != size:
            raise UnusableKey(jwk.crv)
        return load_point(jwk.crv, b"\x04" + x + y)
    except (ValueError, RecursionError):
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "the CPAK is no JWK of a point on its curve") from None


def _decode_coordinate(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
