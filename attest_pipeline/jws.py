"""Compact JWS (RFC 7515): assembled by hand for speed, checked by PyJWT under the rules of RFC 8725.

PyJWT does not know SM2: it takes such a token apart, and `gm` checks the signature. The algorithm is named as GM/T
0125.1-2022 does; the name of the curve, `SM2`, stands in no registry (draft-dang-webauthn-sm2 had it).
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from msgspec import Struct

from attest_pipeline import gm
from attest_pipeline.ports import Signer

SM2: Final = "SGD_SM3_SM2"
"""SM2 with SM3 and the default user id; the signature is r || s, 64 bytes."""
ALGORITHMS: Final = frozenset({"ES256", "ES384", "EdDSA", "PS256", SM2})
MAX_TOKEN: Final = 256 * 1024
MAX_KEY_ID: Final = 128
_MAX_WHY: Final = 200
Jwk = Mapping[str, str]


class Jwks(Struct, frozen=True):
    """A JWK Set (RFC 7517)."""

    keys: tuple[dict[str, str], ...]


class BadToken(ValueError):
    """A token that must not be believed; the message says why, and little of what the token says."""

    def __init__(self, why: str) -> None:
        super().__init__(why[:_MAX_WHY])


def b64u(data: bytes) -> bytes:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@lru_cache(maxsize=64)
def header_segment(algorithm: str, key_id: str, token_type: str) -> bytes:
    """Encoded protected header."""
    return b64u(msgspec.json.encode({"alg": algorithm, "kid": key_id, "typ": token_type}))


def compact(payload: bytes, signer: Signer, token_type: str) -> bytes:
    """Sign a payload: header.payload.signature."""
    message = header_segment(signer.algorithm, signer.key_id, token_type) + b"." + b64u(payload)
    return message + b"." + b64u(signer.sign(message))


def thumbprint(jwk: Jwk) -> str:
    """RFC 7638 thumbprint of a public JWK."""
    members = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}[jwk["kty"]]
    return b64u(hashlib.sha256(msgspec.json.encode({name: jwk[name] for name in members})).digest()).decode()


@lru_cache(maxsize=4096)
def jwk_of_spki(spki: bytes) -> Jwk:
    """Public JWK of a DER SubjectPublicKeyInfo. Raises ValueError for a key that JOSE has no name for."""
    if gm.is_sm2(spki):
        point = gm.load_spki(spki).point
        x, y = (b64u(part).decode() for part in (point[: gm.SIZE], point[gm.SIZE :]))
        return {"kty": "EC", "crv": "SM2", "x": x, "y": y}
    public: Any = serialization.load_der_public_key(spki)
    for algorithm in (ECAlgorithm, RSAAlgorithm, OKPAlgorithm):
        try:
            jwk = algorithm.to_jwk(public, as_dict=True)
        except (TypeError, AttributeError, jwt.InvalidKeyError):
            continue
        return {name: str(value) for name, value in jwk.items() if name != "key_ops"}
    msg = f"no JWK for {type(public).__name__}"
    raise ValueError(msg)


def check(token: bytes, keys: Sequence[Jwk], *, token_type: str) -> bytes:
    """Payload of a token signed by one of the keys, found by `kid`, with that key's own algorithm and this `typ`.

    Keys and URLs inside the token are never used; times and names are the caller's to check. Raises BadToken.
    """
    if len(token) > MAX_TOKEN:
        raise BadToken(f"a token of {len(token)} bytes")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise BadToken(f"no JWS: {error}") from None
    key_id = header.get("kid")
    if header.get("typ") != token_type:
        raise BadToken(f"typ is {header.get('typ')!r}, not {token_type!r}")
    if not isinstance(key_id, str) or len(key_id) > MAX_KEY_ID:
        raise BadToken("no usable kid")
    jwk = next((key for key in keys if key.get("kid") == key_id), None)
    if jwk is None or jwk.get("alg") not in ALGORITHMS:
        raise BadToken(f"no known key {key_id!r}")
    try:
        if jwk["alg"] == SM2:
            return _checked_by_sm2(token, jwk)
        return jwt.PyJWS().decode(token, jwt.PyJWK(dict(jwk)), algorithms=[jwk["alg"]])  # type: ignore[no-any-return]
    except jwt.PyJWTError as error:
        raise BadToken(str(error)) from None


def _checked_by_sm2(token: bytes, jwk: Jwk) -> bytes:
    """Payload of a token signed by that SM2 key. Raises BadToken, or PyJWTError for what is no JWS."""
    parts = jwt.PyJWS().decode_complete(token, options={"verify_signature": False})
    if parts["header"].get("alg") != SM2:
        raise BadToken("the algorithm is not that of the key")
    signed = token.rpartition(b".")[0]
    if not _sm2_key(jwk).verify_raw(parts["signature"], signed, gm.DEFAULT_USER_ID):
        raise BadToken("Signature verification failed")
    payload: bytes = parts["payload"]
    return payload


def _sm2_key(jwk: Jwk) -> gm.Sm2Key:
    """Key of a public JWK that is spelled as `jwk_of_spki` spells it. Raises BadToken."""
    try:
        x, y = (int.from_bytes(base64.urlsafe_b64decode(jwk.get(name, "") + "=")) for name in ("x", "y"))
        key = gm.load_point(x, y)
    except ValueError as error:
        raise BadToken(f"no SM2 key: {error}") from None
    if any(jwk.get(name) != value for name, value in jwk_of_spki(key.spki).items()):
        raise BadToken("no SM2 key: another spelling")
    return key
