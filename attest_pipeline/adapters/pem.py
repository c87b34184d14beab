"""Public keys in PEM (RFC 7468, section 13), those on the SM2 curve too, which `cryptography` refuses."""

import base64
import re
import textwrap
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from attest_pipeline import gm

_BLOCK: Final = re.compile(rb"\s*-----BEGIN PUBLIC KEY-----\s([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*")


def read_public_key(pem: bytes) -> bytes:
    """DER SubjectPublicKeyInfo. Raises ValueError if it is no public key that anything here could use."""
    try:
        key = serialization.load_pem_public_key(pem)
    except UnsupportedAlgorithm:
        return _read_sm2(pem)
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _read_sm2(pem: bytes) -> bytes:
    block = _BLOCK.fullmatch(pem)
    if block is None:
        raise ValueError("no PEM public key of a supported algorithm")
    return gm.load_spki(base64.b64decode(block[1])).spki


def write_public_key(spki: bytes) -> bytes:
    """PEM of a DER SubjectPublicKeyInfo."""
    lines = "\n".join(textwrap.wrap(base64.b64encode(spki).decode(), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n".encode()
