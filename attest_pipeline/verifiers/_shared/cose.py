"""COSE_Sign1 and COSE_Key (RFC 9052, RFC 9053) as attestation tokens use them: one signer, attached payload.

The algorithm comes from the protected header alone and must be the one that the key is for, so neither an attacker
nor a careless issuer chooses how a signature is checked.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import cbor2

from attest_pipeline.crypto import EcKey, RsaKey, UnusableKey, load_point
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared import cbor

TAG_SIGN1: Final = 18
_ALG, _CRIT, _CONTENT_TYPE, _KID = 1, 2, 3, 4
_KNOWN_PROTECTED: Final = frozenset({_ALG, _CONTENT_TYPE, _KID})
_NEVER_UNPROTECTED: Final = frozenset({_ALG, _CRIT, 7, 9, 11, 12})
"""The algorithm, `crit`, and the countersignatures of RFC 8152 and RFC 9338."""
_EC_ALGORITHMS: Final = {"P-256": (-7, "sha256"), "P-384": (-35, "sha384"), "P-521": (-36, "sha512")}
_PS256: Final = -37
_SHA256_SIZE: Final = 32
_KTY, _CRV, _X, _Y = 1, -1, -2, -3
_EC2: Final = 2
_CURVES: Final = {1: ("P-256", 32), 2: ("P-384", 48), 3: ("P-521", 66)}


class Sign1(NamedTuple):
    """A COSE_Sign1 as received; nothing of it is proven. `protected` is the header's own bytes."""

    protected: bytes
    algorithm: object
    payload: bytes
    signature: bytes


def read_sign1(data: bytes, *, bare: bool = False) -> Sign1:
    """Split a COSE_Sign1; its tag may be absent only if `bare` says so. Raises BadEvidence(MALFORMED | TOO_LARGE)."""
    message = cbor.decode(data, tags=frozenset({TAG_SIGN1}))
    parts = message if bare and isinstance(message, tuple) else _untagged(message)
    match parts:
        case (bytes(protected), cbor.Map() as unprotected, bytes(payload), bytes(signature)):
            header = _read_protected(protected)
        case _:
            raise BadEvidence(Reason.MALFORMED, "no COSE_Sign1 with attached payload, or not tagged as one")
    if unprotected.keys() & (_NEVER_UNPROTECTED | header.keys()):
        raise BadEvidence(Reason.MALFORMED, "COSE header label in the wrong header")
    return Sign1(protected, header.get(_ALG), payload, signature)


def renewed_sign1(message: Sign1, nonce: bytes, new: bytes, signature: bytes) -> Sign1:
    """The message with a new nonce, where the old one stands once in the payload, and with its signature."""
    return Sign1(message.protected, message.algorithm, message.payload.replace(nonce, new), signature)


def _untagged(message: object) -> object:
    return message.value if isinstance(message, cbor2.CBORTag) else None


@lru_cache(maxsize=64)
def _read_protected(protected: bytes) -> Mapping[object, object]:
    header = cbor.decode(protected)
    if not isinstance(header, cbor.Map) or not header.keys() <= _KNOWN_PROTECTED:
        raise BadEvidence(Reason.MALFORMED, "COSE protected header has labels that are not understood")
    return header


def check_signature(message: Sign1, key: EcKey | RsaKey, what: str) -> None:
    """Require that the key signed the message by the algorithm that it is for. Raises BadEvidence(BAD_SIGNATURE)."""
    signed = cbor2.dumps(["Signature1", message.protected, b"", message.payload])
    if isinstance(key, RsaKey):
        algorithm = _PS256
        valid = key.verify_pss(message.signature, signed, "sha256", _SHA256_SIZE)
    else:
        algorithm, hash_name = _EC_ALGORITHMS[key.curve]
        valid = key.verify_raw(message.signature, signed, hash_name)
    if not valid or message.algorithm != algorithm:
        raise BadEvidence(Reason.BAD_SIGNATURE, f"{what} is not signed by its key")


@lru_cache(maxsize=256)
def read_key(data: bytes) -> EcKey:
    """EC2 public key of an encoded COSE_Key with an uncompressed point. Raises BadEvidence(MALFORMED)."""
    match cbor.decode(data):
        case {1: 2, -1: 1 | 2 | 3 as curve, -2: bytes(x), -3: bytes(y)}:
            name, size = _CURVES[curve]
        case _:
            raise BadEvidence(Reason.MALFORMED, "no EC2 COSE_Key")
    if len(x) != size or len(y) != size:
        raise BadEvidence(Reason.MALFORMED, "COSE_Key coordinate of the wrong size")
    return read_point(name, b"\x04" + x + y)


def read_point(curve: str, point: bytes) -> EcKey:
    """Key of an uncompressed SEC 1 point. Raises BadEvidence(MALFORMED), also for a point off the curve."""
    if point[:1] != b"\x04":
        raise BadEvidence(Reason.MALFORMED, "EC point is not uncompressed")
    try:
        return load_point(curve, point)
    except UnusableKey:
        raise BadEvidence(Reason.MALFORMED, f"no point on {curve}") from None
