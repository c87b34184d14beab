"""A test Hygon: SM2 keys, and certificates of HSK, CEK and PEK under a root key of its own.

Written from Hygon's csv-rs and GB/T 32918.2 and not from the verifier, so that a mistake in either shows. Signing here
takes a time that tells of the key: good enough for keys that protect nothing.
"""

import hashlib
import struct
from typing import Final, NamedTuple, Self

from attest_pipeline import gm
from attest_pipeline.simulator.device import MARK

HRK: Final = 0
HSK: Final = 0x13
CEK: Final = 0x1004
PEK: Final = 0x1002
OCA: Final = 0x1001
NO_USAGE: Final = 0x1000
SM2: Final = 4
ROOT_ID: Final = b"HYGON-SSD-HRK"

_CURVE: Final = 3
_HALF: Final = 72


class Sm2Signer(NamedTuple):
    """An SM2 key pair made from a name: the same name gives the same key."""

    private: int
    public: gm.Sm2Key

    @classmethod
    def make(cls, seed: bytes) -> Self:
        """The key of that seed."""
        private = _scalar(b"key", seed)
        return cls(private, gm.load_point(*gm.multiply_base(private)))

    def sign(self, message: bytes, user_id: bytes) -> tuple[int, int]:
        """Signature (r, s) by GB/T 32918.2, section 6.1, with a nonce derived from key and message."""
        e = self.public.digest(message, user_id)
        nonce = _scalar(b"nonce", self.private.to_bytes(gm.SIZE) + e)
        r = (int.from_bytes(e) + gm.multiply_base(nonce)[0]) % gm.ORDER
        return r, pow(1 + self.private, -1, gm.ORDER) * (nonce - r * self.private) % gm.ORDER

    def sign_field(self, message: bytes, user_id: bytes) -> bytes:
        """Signature as Hygon writes it: r and s, little-endian, 72 bytes each."""
        return b"".join(half.to_bytes(_HALF, "little") for half in self.sign(message, user_id))


def _scalar(label: bytes, seed: bytes) -> int:
    return int.from_bytes(hashlib.sha512(label + seed).digest()) % (gm.ORDER - 2) + 1


class Holder(NamedTuple):
    """A key with its certificate and the user id in it."""

    signer: Sm2Signer
    user_id: bytes
    certificate: bytes


class HygonPki:
    """A root key and the HSK below it; another object of another seed is a forger's."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self.root = Sm2Signer.make(seed + b"HRK")
        signer = Sm2Signer.make(seed + b"HSK")
        user_id = f"HSK, {MARK}".encode()
        body = bytearray(576)
        struct.pack_into("<I16s16sI", body, 0, 1, b"HSK", b"HRK", HSK)
        body[64:212] = _public(signer)
        struct.pack_into("<H254s", body, 212, len(user_id), user_id)
        signed = bytes(body)
        certificate = (signed + self.root.sign_field(signed, ROOT_ID)).ljust(832, b"\0")
        self.hsk = Holder(signer, user_id, certificate)

    def chip(self, name: str) -> tuple[Holder, Holder]:
        """CEK and PEK of a chip; the owner of the machine has signed the PEK too, as on real ones."""
        cek_id, pek_id = b"HYGON-SSD-CEK", b"HYGON-SSD-PEK"
        cek, pek, owner = (Sm2Signer.make(self._seed + name.encode() + kind) for kind in (b"CEK", b"PEK", b"OCA"))
        hsk = self.hsk
        cek_body, pek_body = _body(cek, CEK, cek_id), _body(pek, PEK, pek_id)
        by_hsk = _block(HSK, hsk.signer.sign_field(cek_body, hsk.user_id))
        by_cek = _block(CEK, cek.sign_field(pek_body, cek_id))
        by_owner = _block(OCA, owner.sign_field(pek_body, b"HYGON-SSD-OCA"))
        nobody = struct.pack("<II", NO_USAGE, 0).ljust(520, b"\0")
        return Holder(cek, cek_id, cek_body + by_hsk + nobody), Holder(pek, pek_id, pek_body + by_cek + by_owner)


def _body(signer: Sm2Signer, usage: int, user_id: bytes) -> bytes:
    """What is signed of a CEK's or PEK's certificate, 1044 bytes."""
    body = bytearray(1044)
    struct.pack_into("<IBBHII", body, 0, 1, 1, 3, 0, usage, SM2)
    body[16:164] = _public(signer)
    struct.pack_into("<H254s", body, 164, len(user_id), user_id)
    return bytes(body)


def _block(usage: int, signature: bytes) -> bytes:
    """One signature of a certificate, 520 bytes."""
    return (struct.pack("<II", usage, SM2) + signature).ljust(520, b"\0")


def _public(signer: Sm2Signer) -> bytes:
    """Curve and coordinates, 148 bytes."""
    point = signer.public.point
    x, y = point[: gm.SIZE], point[gm.SIZE :]
    return struct.pack("<I", _CURVE) + x[::-1].ljust(_HALF, b"\0") + y[::-1].ljust(_HALF, b"\0")
