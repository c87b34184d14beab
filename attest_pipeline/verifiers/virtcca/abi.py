"""Huawei virtCCA tokens: bytes to structs. Nothing here is proven.

Labels and sizes are those of Arm CCA, with differences: the payload of the CVM token is a byte string inside the
payload, the token key is a DER SubjectPublicKeyInfo (RSA-4096) or a P-521 point, and the platform token is optional.
Source: openeuler-mirror/secGear, service/attestation/attestation-service/verifier/src/virtcca.
"""

from collections.abc import Sequence
from typing import Final

from attest_pipeline.crypto import EcKey, RsaKey, UnusableKey, load_spki
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._arm.token import DIGESTS, PlatformToken, RealmToken, read_platform, read_realm
from attest_pipeline.verifiers._shared import cbor
from attest_pipeline.verifiers._shared.cose import read_point, read_sign1, renewed_sign1
from attest_pipeline.verifiers._shared.eat import ClaimsSet
from attest_pipeline.verifiers._shared.recurring import Recurring

_POINT_SIZE: Final = 133
_SPKI_SIZE: Final = 550
_SIGNER_SIZES: Final = DIGESTS | {0}
"""The firmware that secGear reads leaves the signer of a component empty."""


def read_cvm_token(data: bytes) -> RealmToken:
    """Token of the confidential VM. Raises BadEvidence(MALFORMED | TOO_LARGE)."""
    return _recurring(data)


def _read_cvm_token(data: bytes) -> RealmToken:
    message = read_sign1(data)
    inner = cbor.decode(message.payload)
    if not isinstance(inner, bytes):
        raise BadEvidence(Reason.MALFORMED, "payload of the CVM token is not wrapped in a byte string")
    claims = ClaimsSet(cbor.decode(inner), "CVM token")
    challenge, realm = read_realm(claims, key_sizes=frozenset({_POINT_SIZE, _SPKI_SIZE}))
    return RealmToken(message, challenge, realm)


def _changing(token: RealmToken) -> tuple[bytes, bytes]:
    return token.challenge, token.message.signature


def _renewed(token: RealmToken, fields: Sequence[bytes]) -> RealmToken:
    challenge, signature = fields
    message = renewed_sign1(token.message, token.challenge, challenge, signature)
    return RealmToken(message, challenge, token.claims)


_recurring: Final = Recurring(_read_cvm_token, _changing, _renewed)


def read_platform_token(data: bytes) -> PlatformToken:
    """Platform token. Raises BadEvidence(MALFORMED | TOO_LARGE)."""
    message = read_sign1(data)
    claims = ClaimsSet(cbor.decode(message.payload), "platform token")
    return PlatformToken(message, read_platform(claims, signer_sizes=_SIGNER_SIZES))


def token_key(key: bytes) -> EcKey | RsaKey:
    """Key of the CVM token's key claim. Raises BadEvidence(MALFORMED)."""
    if len(key) == _POINT_SIZE:
        return read_point("P-521", key)
    try:
        return load_spki(key)
    except UnusableKey:
        raise BadEvidence(Reason.MALFORMED, "token key is no public key") from None
