"""The crypto seam: every public-key signature of the library is checked here, behind one small interface.

P-384 in OpenSSL is generic code (about 500 us a verification); AWS-LC does it in about 200 us. So ECDSA goes to
AWS-LC (`awscrt`) and everything else to `cryptography`, behind `EcKey` and `RsaKey`; the tests run both against each
other. Key objects are cached by content: a fleet has few issuers, and parsing a key costs more than a hash.
"""

import hashlib
from functools import lru_cache
from typing import Any, Final

from awscrt import crypto as awslc
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(),
}  # fmt: skip
_KEYS_KEPT: Final = 4096
"""Keys of unproven certificates come here too; whoever sends them must not fill the memory."""
_RSA_BITS = range(2048, 8193)
_EXPONENT_BITS: Final = 64
"""OpenSSL bounds an RSA key's public exponent so beyond 3072 bits; below, a long one makes a check 30 times as dear."""
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512(),
}  # fmt: skip
_DIGESTS: Final = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}


class UnusableKey(ValueError):
    """The bytes are no public key of an admitted kind (off the curve, wrong size, unknown algorithm)."""


class EcKey:
    """An ECDSA public key on P-256, P-384 or P-521."""

    __slots__ = ("_key", "_p521", "curve", "size", "spki")

    def __init__(self, public: ec.EllipticCurvePublicKey) -> None:
        """Wrap a parsed key; the parser has already checked that the point is on the curve."""
        names = {curve.name: name for name, curve in CURVES.items()}
        if public.curve.name not in names:
            raise UnusableKey(public.curve.name)
        self.curve = names[public.curve.name]
        self.size = (public.curve.key_size + 7) // 8
        self.spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self._key: Any = None if self.curve == "P-521" else awslc.EC.new_key_from_der_data(self.spki)
        self._p521 = public if self._key is None else None

    def verify_raw(self, signature: bytes, message: bytes, hash_name: str) -> bool:
        """Check a fixed-length big-endian r||s signature over the message (JWS, COSE, Intel, SPDM)."""
        size = self.size
        return len(signature) == 2 * size and self.verify_pair(signature[:size], signature[size:], message, hash_name)

    def verify_pair(self, r: bytes, s: bytes, message: bytes, hash_name: str) -> bool:
        """Check a signature of two big-endian numbers over the message (TPM)."""
        return self.verify_der(awslc.EC.encode_raw_signature(awslc.ECRawSignature(r, s)), message, hash_name)

    def verify_der(self, signature: bytes, message: bytes, hash_name: str) -> bool:
        """Check a DER ECDSA-Sig-Value over the message (X.509, CRL)."""
        if self._p521 is None:
            return bool(self._key.verify(_DIGESTS[hash_name](message).digest(), signature))
        try:
            self._p521.verify(signature, message, ec.ECDSA(_HASHES[hash_name]))
        except InvalidSignature:
            return False
        return True


class RsaKey:
    """An RSA public key of 2048 to 8192 bits, its public exponent of up to 64."""

    __slots__ = ("_public", "spki")

    def __init__(self, public: rsa.RSAPublicKey) -> None:
        """Wrap a parsed key. Raises UnusableKey if its size or its exponent is out of bounds."""
        exponent = public.public_numbers().e.bit_length()
        if public.key_size not in _RSA_BITS or exponent > _EXPONENT_BITS:
            msg = f"RSA of {public.key_size} bits with an exponent of {exponent}"
            raise UnusableKey(msg)
        self._public = public
        self.spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    def verify_pss(self, signature: bytes, message: bytes, hash_name: str, salt_length: int) -> bool:
        """Check RSASSA-PSS with MGF1 over the same hash."""
        return self._verify(signature, message, _pss(hash_name, salt_length), _HASHES[hash_name])

    def verify_pkcs1(self, signature: bytes, message: bytes, hash_name: str) -> bool:
        """Check RSASSA-PKCS1-v1_5."""
        return self._verify(signature, message, padding.PKCS1v15(), _HASHES[hash_name])

    def _verify(
        self, signature: bytes, message: bytes, pad: padding.AsymmetricPadding, algorithm: hashes.HashAlgorithm
    ) -> bool:
        try:
            self._public.verify(signature, message, pad, algorithm)
        except InvalidSignature:
            return False
        return True


@lru_cache(maxsize=256)
def _pss(hash_name: str, salt_length: int) -> padding.PSS:
    return padding.PSS(padding.MGF1(_HASHES[hash_name]), salt_length)


@lru_cache(maxsize=_KEYS_KEPT)
def load_spki(der: bytes) -> EcKey | RsaKey:
    """Public key of a DER SubjectPublicKeyInfo. Raises UnusableKey."""
    try:
        public = serialization.load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnusableKey(str(error)) from None
    return wrap(public)


def wrap(public: object) -> EcKey | RsaKey:
    """Key object of a parsed `cryptography` public key. Raises UnusableKey for any other kind."""
    if isinstance(public, ec.EllipticCurvePublicKey):
        return EcKey(public)
    if isinstance(public, rsa.RSAPublicKey):
        return RsaKey(public)
    raise UnusableKey(type(public).__name__)


@lru_cache(maxsize=_KEYS_KEPT)
def load_point(curve: str, point: bytes) -> EcKey:
    """EC key of an uncompressed SEC 1 point (0x04 || X || Y) on a curve of CURVES. Raises UnusableKey."""
    if point[:1] != b"\x04":
        raise UnusableKey("no uncompressed point")
    try:
        return EcKey(ec.EllipticCurvePublicKey.from_encoded_point(CURVES[curve], point))
    except ValueError as error:
        raise UnusableKey(str(error)) from None
