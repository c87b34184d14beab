"""Proof of an Arm CCA token: CPAK → platform token → realm attestation key → realm token.

Both signatures can hold while the two tokens come from different machines; only the hash of the realm's key in the
platform token joins them.
"""

import base64
import hashlib
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from attest_pipeline.crypto import CURVES, EcKey, UnusableKey, load_point
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._arm.token import Platform, Realm, check_binding, read_tokens
from attest_pipeline.verifiers._shared.cose import check_signature
from attest_pipeline.verifiers.cca.abi import read_platform_token, read_realm_token, realm_key

CHECKS: Final = ("token-format", "platform-signature", "platform-lifecycle", "realm-key-binding", "realm-signature")
_MAX_JWK: Final = 4096


class Proof(NamedTuple):
    """What the signatures prove, and the SHA-256 of the CPAK document that they rest on."""

    platform: Platform
    realm: Realm
    cpak_digest: str


class _Endorsed(NamedTuple):
    platform: Platform
    cpak_digest: str


def prove(token: bytes, cpak: bytes) -> Proof:
    """Prove both tokens of the evidence under the endorsed CPAK (a JWK). Raises BadEvidence."""
    tokens = read_tokens(token)
    platform, cpak_digest = _prove_platform(tokens.required_platform(), cpak)
    message, realm = read_realm_token(tokens.realm)
    check_binding(platform, realm)
    check_signature(message, realm_key(realm), "realm token")
    return Proof(platform, realm, cpak_digest)


@lru_cache(maxsize=8192)
def _prove_platform(token: bytes, cpak: bytes) -> _Endorsed:
    """Prove a platform token. A realm repeats it with every token until its key changes, so proofs are remembered."""
    message, platform = read_platform_token(token)
    check_signature(message, _load_cpak(cpak), "platform token")
    return _Endorsed(platform, hashlib.sha256(cpak).hexdigest())


def _load_cpak(document: bytes) -> EcKey:
    """EC public key of a JWK (RFC 7517); other members are ignored. Raises BadEvidence(BAD_ENDORSEMENT)."""
    try:
        jwk: Any = msgspec.json.decode(document[:_MAX_JWK], type=dict[str, object])
        curve, size = jwk["crv"], (CURVES[jwk["crv"]].key_size + 7) // 8
        coordinates = [_decode_coordinate(jwk[name]) for name in ("x", "y")]
        if jwk["kty"] != "EC" or any(len(coordinate) != size for coordinate in coordinates):
            raise UnusableKey(curve)
        return load_point(curve, b"\x04" + b"".join(coordinates))
    except (ValueError, LookupError, TypeError):
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "the CPAK is no JWK of a point on its curve") from None


def _decode_coordinate(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
