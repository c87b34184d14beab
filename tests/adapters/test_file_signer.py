"""Signing keys in files: owner-only, of every algorithm that tokens use, and of no other."""

from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from attest_pipeline import jws
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.errors import Misconfigured

RSA = rsa.generate_private_key(65537, 2048)
KEYS: dict[str, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "PS256": RSA,
}


def _file(path: Path, key: PrivateKeyTypes, password: bytes | None = None) -> Path:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return path


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_key_signs_what_its_public_jwk_verifies(tmp_path: Path, algorithm: str) -> None:
    signer = FileSigner.load(_file(tmp_path / "key.pem", KEYS[algorithm]))
    jwk = signer.public_jwk()
    assert (signer.algorithm, jwk["alg"], jwk["use"], jwk["kid"]) == (algorithm, algorithm, "sig", signer.key_id)
    assert not {"d", "p", "q"} & jwk.keys()
    token = jws.compact(b"{}", signer, "t")
    assert jwt.PyJWS().decode(token, jwt.PyJWK(jwk), algorithms=[algorithm]) == b"{}"


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "EdDSA"])
def test_equal_messages_give_equal_signatures(algorithm: str) -> None:
    signer = FileSigner(KEYS[algorithm])
    assert signer.sign(b"message") == signer.sign(b"message")


def test_a_key_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=f"{tmp_path}: Is a directory"):
        FileSigner.load(tmp_path)


def test_a_missing_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "sign.pem"
    made = FileSigner.ensure(path)
    assert made.algorithm == "ES256"
    assert path.stat().st_mode & 0o777 == 0o600
    assert FileSigner.ensure(path).key_id == made.key_id


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing"),
        (b"no key", "is no private key"),
        (b"\xff", "is no private key"),
    ],
)
def test_a_file_without_a_key_is_misconfigured(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Misconfigured, match=message):
        FileSigner.load(path)


def test_a_key_under_a_password_is_misconfigured(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="is no private key"):
        FileSigner.load(_file(tmp_path / "key.pem", KEYS["ES256"], b"secret"))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (ec.generate_private_key(ec.SECP256K1()), "tokens use P-256 or P-384"),
        (
            rsa.generate_private_key(65537, 1024),  # noqa: S505 - too short on purpose
            "2048 are the least",
        ),
        (ed448.Ed448PrivateKey.generate(), "cannot sign tokens"),
    ],
    ids=["secp256k1", "short RSA", "Ed448"],
)
def test_a_key_that_tokens_do_not_use_is_misconfigured(tmp_path: Path, key: PrivateKeyTypes, message: str) -> None:
    with pytest.raises(Misconfigured, match=message):
        FileSigner.load(_file(tmp_path / "key.pem", key))
