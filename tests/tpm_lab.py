"""TPM structures for the tests, put together apart from verifier and simulator, so that a mistake in either shows."""

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ALGORITHMS: Final = {"sha1": 0x0004, "sha256": 0x000B, "sha384": 0x000C, "sha512": 0x000D}
HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - to be refused
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
CHALLENGE: Final = bytes(range(32))
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def sized(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content


def values(bank: str = "sha256", numbers: tuple[int, ...] = (0, 4, 7)) -> dict[int, bytes]:
    """PCR values that are not zero."""
    return {number: hashlib.new(bank, b"%d" % number).digest() for number in numbers}


def selection(bank: str, numbers: Mapping[int, bytes] | tuple[int, ...], size: int = 3) -> bytes:
    """TPMS_PCR_SELECTION."""
    bitmap = sum(1 << number for number in numbers).to_bytes(size, "little")
    return struct.pack(">HB", ALGORITHMS[bank], size) + bitmap


def attest(
    pcrs: Mapping[int, bytes],
    *,
    bank: str = "sha256",
    hash_name: str = "sha256",
    extra: bytes = CHALLENGE,
    selections: tuple[bytes, ...] | None = None,
    kind: int = 0x8018,
    safe: int = 1,
) -> bytes:
    """TPMS_ATTEST over the values, by default as a TPM makes it."""
    chosen = (selection(bank, pcrs),) if selections is None else selections
    digest = hashlib.new(hash_name, b"".join(value for _, value in sorted(pcrs.items()))).digest()
    head = struct.pack(">IH", 0xFF544347, kind) + sized(b"\0\x0b" + bytes(32)) + sized(extra)
    clock = struct.pack(">QIIBQ", 77_000, 5, 2, safe, 0x1234)
    return head + clock + struct.pack(">I", len(chosen)) + b"".join(chosen) + sized(digest)


def sign(key: Key, message: bytes, hash_name: str = "sha256", *, salt: int | None = None) -> bytes:
    """TPMT_SIGNATURE: ECDSA, RSASSA, or RSAPSS if a salt length is given."""
    algorithm = HASHES[hash_name]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(algorithm)))
        parts = b"".join(sized(part.to_bytes((part.bit_length() + 7) // 8)) for part in (r, s))
        return struct.pack(">HH", 0x0018, ALGORITHMS[hash_name]) + parts
    if salt is None:
        scheme, raw = 0x0014, key.sign(message, padding.PKCS1v15(), algorithm)
    else:
        scheme, raw = 0x0016, key.sign(message, padding.PSS(padding.MGF1(algorithm), salt), algorithm)
    return struct.pack(">HH", scheme, ALGORITHMS[hash_name]) + sized(raw)


def pcr_json(pcrs: Mapping[int, bytes]) -> bytes:
    return json.dumps({str(number): value.hex() for number, value in pcrs.items()}).encode()


def public_pem(key: Key) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def spki(key: Key) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def flipped(data: bytes, offset: int, bit: int = 1) -> bytes:
    return data[:offset] + bytes([data[offset] ^ bit]) + data[offset + 1 :]
