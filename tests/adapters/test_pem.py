"""Public keys in PEM, whatever curve they are on."""

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from attest_pipeline.adapters.pem import read_public_key, write_public_key
from attest_pipeline.simulator.hygon_pki import Sm2Signer

SM2 = Sm2Signer.make(b"pem").public.spki
P256 = ec.generate_private_key(ec.SECP256R1()).public_key()
RSA = rsa.generate_private_key(65537, 2048).public_key()


def der(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("spki", [SM2, der(P256), der(RSA)])
def test_what_is_written_is_read_again(spki: bytes) -> None:
    assert read_public_key(write_public_key(spki)) == spki


@pytest.mark.parametrize("key", [P256, RSA])
def test_it_is_written_as_every_tool_writes_it(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> None:
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert write_public_key(der(key)) == pem


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        write_public_key(SM2[:-64] + bytes(64)),
        write_public_key(SM2[:-1] + b"\0"),
        write_public_key(SM2) + base64.b64encode(b"more"),
        write_public_key(SM2).replace(b"PUBLIC KEY", b"PRIVATE KEY"),
    ],
)
def test_anything_else_is_a_value_error(pem: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_public_key(pem)
