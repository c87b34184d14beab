"""The endorsed attestation key of a platform or device, a JWK: the trust anchor where Arm's tokens have no vendor root.

Whoever made the hardware tells the Verifier Owner this key; it comes as an Endorsement, never with the Evidence.
"""

import base64
import hashlib
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from attest_pipeline.crypto import CURVES, EcKey, UnusableKey, load_point
from attest_pipeline.errors import BadEvidence, Reason

_MAX_JWK: Final = 4096


class Anchor(NamedTuple):
    """An endorsed key; `signer` is the SHA-256 of its SubjectPublicKeyInfo, `document` of the JWK it came in."""

    key: EcKey
    signer: str
    document: str


class _Jwk(Struct):
    kty: Literal["EC"]
    crv: Literal["P-256", "P-384", "P-521"]
    x: str
    y: str


@lru_cache(maxsize=4096)
def load_anchor(document: bytes) -> Anchor:
    """Anchor of an EC public JWK (RFC 7517); other members are ignored. Raises BadEvidence(BAD_ENDORSEMENT)."""
    try:
        jwk = msgspec.json.decode(document[:_MAX_JWK], type=_Jwk)
        size = (CURVES[jwk.crv].key_size + 7) // 8
        x, y = _decode_coordinate(jwk.x), _decode_coordinate(jwk.y)
        if len(x) != size or len(y) != size:
            raise UnusableKey(jwk.crv)
        key = load_point(jwk.crv, b"\x04" + x + y)
    except (ValueError, RecursionError):
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "the endorsed key is no JWK of a point on its curve") from None
    return Anchor(key, hashlib.sha256(key.spki).hexdigest(), hashlib.sha256(document).hexdigest())


def _decode_coordinate(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
