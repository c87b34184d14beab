"""Signing keys for Attestation Results in PEM files, readable by their owner alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from attest_pipeline.adapters.sm2_key import Sm2PrivateKey
from attest_pipeline.errors import Misconfigured
from attest_pipeline.jws import SM2, jwk_of_spki, thumbprint

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | Sm2PrivateKey

_CURVES: Final[dict[str, tuple[str, hashes.HashAlgorithm, int]]] = {
    "secp256r1": ("ES256", hashes.SHA256(), 32),
    "secp384r1": ("ES384", hashes.SHA384(), 48),
}
_MIN_RSA: Final = 2048
_OWNER_ONLY: Final = 0o600


class FileSigner:
    """One private key: ES256 or ES384 (RFC 6979, so equal messages give equal signatures), EdDSA, PS256 or SM2.

    PS256 is salted and SM2 has a nonce: a redelivered Evidence is then signed anew, and only the stream's deduplication
    keeps one result.
    """

    def __init__(self, private: PrivateKey) -> None:
        """Sign with that key. Raises Misconfigured for a curve or size that tokens do not use."""
        self.algorithm, self._sign = _signing(private)
        self._jwk = dict(jwk_of_spki(_spki(private)))
        self.key_id = thumbprint(self._jwk)

    @classmethod
    def load(cls, path: Path) -> "FileSigner":
        """Read an unencrypted PKCS #8 PEM file. Raises Misconfigured."""
        try:
            private = _read(path.read_bytes())
        except FileNotFoundError:
            raise Misconfigured(f"{path} is missing: `attest up` makes a signing key") from None
        except OSError as error:
            raise Misconfigured(f"{path}: {error.strerror}") from None
        except (ValueError, TypeError) as error:
            raise Misconfigured(f"{path} is no private key: {error}") from None
        except Misconfigured as error:
            raise Misconfigured(f"{path}: {error}") from None
        if not isinstance(private, PrivateKey):
            raise Misconfigured(f"{path}: {type(private).__name__} cannot sign tokens")
        return cls(private)

    @classmethod
    def ensure(cls, path: Path) -> "FileSigner":
        """Load the key, making an ES256 one first if the file does not exist."""
        if not path.exists():
            write_private_key(path, ec.generate_private_key(ec.SECP256R1()))
        return cls.load(path)

    def sign(self, message: bytes) -> bytes:
        """Raw JWS signature over the message."""
        return self._sign(message)

    def public_jwk(self) -> dict[str, str]:
        """Public JWK with kid, alg and use."""
        return {**self._jwk, "kid": self.key_id, "alg": self.algorithm, "use": "sig"}


def write_private_key(path: Path, private: ec.EllipticCurvePrivateKey) -> None:
    """Write a PKCS #8 PEM file that only its owner can read."""
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(_OWNER_ONLY)
    path.write_bytes(pem)


def _read(pem: bytes) -> PrivateKeyTypes | Sm2PrivateKey:
    """A key, by OpenSSL if `cryptography` does not know its curve. Raises ValueError, TypeError or Misconfigured."""
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except UnsupportedAlgorithm:
        return Sm2PrivateKey(pem)


def _spki(private: PrivateKey) -> bytes:
    if isinstance(private, Sm2PrivateKey):
        return private.spki
    return private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _signing(private: PrivateKey) -> tuple[str, Callable[[bytes], bytes]]:
    if isinstance(private, Sm2PrivateKey):
        return SM2, private.sign
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "EdDSA", lambda message: private.sign(message)  # noqa: PLW0108 - narrows the type
    if isinstance(private, rsa.RSAPrivateKey):
        if private.key_size < _MIN_RSA:
            raise Misconfigured(f"an RSA key of {private.key_size} bits; {_MIN_RSA} are the least")
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
        return "PS256", lambda message: private.sign(message, pss, hashes.SHA256())
    if private.curve.name not in _CURVES:
        raise Misconfigured(f"curve {private.curve.name}; tokens use P-256 or P-384")
    algorithm, hash_algorithm, size = _CURVES[private.curve.name]
    ecdsa = ec.ECDSA(hash_algorithm, deterministic_signing=True)

    def sign(message: bytes) -> bytes:
        r, s = decode_dss_signature(private.sign(message, ecdsa))
        return r.to_bytes(size) + s.to_bytes(size)

    return algorithm, sign
