"""Chinese commercial cryptography (国密), the other half of the crypto seam: SM2 signatures, SM3, SM4-GCM.

SM3 and SM4 are OpenSSL's, through `cryptography`, which does not reach OpenSSL's SM2; `docs/adr/0010-sm2.md` says why
no other package does it here. SM2 is checked by arithmetic on public numbers, so nothing needs constant time; who
signs with a key that matters uses `adapters/sm2_key.py`.
Sources: GB/T 32918.1, .2 and .5 (SM2; GM/T 0003), GB/T 32905 (SM3), RFC 8998 (SM4-GCM).
"""

from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from attest_pipeline.crypto import UnusableKey

DEFAULT_USER_ID: Final = b"1234567812345678"
"""User id where a protocol names none (GM/T 0009-2012, section 10)."""
ORDER: Final = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_7203DF6B_21C6052B_53BBF409_39D54123
SIZE: Final = 32
"""Bytes of a coordinate, of r, of s, of a private key, and of an SM3 digest."""

_P: Final = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_00000000_FFFFFFFF_FFFFFFFF
_B: Final = 0x28E9FA9E_9D9F5E34_4D5A9E4B_CF6509A7_F39789F5_15AB8F92_DDBCBD41_4D940E93
_G: Final = (
    0x32C4AE2C_1F198119_5F990446_6A39C994_8FE30BBF_F2660BE1_715A4589_334C74C7,
    0xBC3736A2_F4F6779C_59BDCEE3_6B692153_D0A9877C_C62A4740_02DF32E5_2139F0A0,
)
_CURVE: Final = b"".join(number.to_bytes(SIZE) for number in (_P - 3, _B, *_G))
_SPKI_PREFIX: Final = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d03420004")
"""DER SubjectPublicKeyInfo of an uncompressed point: id-ecPublicKey (RFC 5480) on 1.2.156.10197.1.301 (GM/T 0006)."""
_KEYS_KEPT: Final = 1024
_WINDOW: Final = 4
_TAG: Final = 16
_MAX_USER_ID: Final = 0xFFFF // 8

Affine = tuple[int, int]
_Jacobian = tuple[int, int, int]
_INFINITY: Final[_Jacobian] = (1, 1, 0)


def sm3(data: bytes) -> bytes:
    """SM3 digest, 32 bytes."""
    state = hashes.Hash(hashes.SM3())
    state.update(data)
    return state.finalize()


def sm4_gcm_encrypt(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Ciphertext and 16-byte tag. The key has 16 bytes; a nonce (12 bytes) must never come twice under one key."""
    encryptor = Cipher(algorithms.SM4(key), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(associated)
    return encryptor.update(plaintext) + encryptor.finalize() + encryptor.tag


def sm4_gcm_decrypt(key: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes | None:
    """Plaintext of `sm4_gcm_encrypt`, or None if anything was altered."""
    if len(sealed) < _TAG:
        return None
    decryptor = Cipher(algorithms.SM4(key), modes.GCM(nonce, sealed[-_TAG:])).decryptor()
    decryptor.authenticate_additional_data(associated)
    plaintext = decryptor.update(sealed[:-_TAG])
    try:
        return plaintext + decryptor.finalize()
    except InvalidTag:
        return None


class Sm2Key:
    """An SM2 public key; `point` is X || Y, 64 bytes."""

    __slots__ = ("_multiples", "point")

    def __init__(self, x: int, y: int) -> None:
        """Take affine coordinates. Raises UnusableKey if they name no point of the curve.

        The curve has a cofactor of one: every point of it but infinity, which has no coordinates, has full order.
        """
        if not (0 <= x < _P and 0 <= y < _P) or (y * y - x * x * x + 3 * x - _B) % _P:
            raise UnusableKey("no point of the SM2 curve")
        self.point = x.to_bytes(SIZE) + y.to_bytes(SIZE)
        self._multiples = _multiples((x, y))

    @property
    def spki(self) -> bytes:
        """DER SubjectPublicKeyInfo."""
        return _SPKI_PREFIX + self.point

    def digest(self, message: bytes, user_id: bytes) -> bytes:
        """SM3 over Z and the message: what is signed (GB/T 32918.2, 5.5 and 6.1). Raises ValueError for a long id."""
        if len(user_id) > _MAX_USER_ID:
            msg = f"SM2 user id of {len(user_id)} bytes"
            raise ValueError(msg)
        z = sm3((8 * len(user_id)).to_bytes(2) + user_id + _CURVE + self.point)
        return sm3(z + message)

    def verify(self, r: int, s: int, message: bytes, user_id: bytes) -> bool:
        """Check a signature (GB/T 32918.2, section 7.1) of a signer with that user id."""
        t = (r + s) % ORDER
        if not (0 < r < ORDER and 0 < s < ORDER) or not t:
            return False
        point = _combine(s, t, self._multiples)
        if point[2] == 0:
            return False
        e = int.from_bytes(self.digest(message, user_id))
        return (e + _affine(point)[0]) % ORDER == r

    def verify_raw(self, signature: bytes, message: bytes, user_id: bytes) -> bool:
        """Check r || s, 64 bytes big-endian (JWS)."""
        r, s = int.from_bytes(signature[:SIZE]), int.from_bytes(signature[SIZE:])
        return len(signature) == 2 * SIZE and self.verify(r, s, message, user_id)


@lru_cache(maxsize=_KEYS_KEPT)
def load_point(x: int, y: int) -> Sm2Key:
    """Key of affine coordinates, remembered with its multiples. Raises UnusableKey."""
    return Sm2Key(x, y)


def is_sm2(spki: bytes) -> bool:
    """Whether a DER SubjectPublicKeyInfo names the SM2 curve, in the only form that `load_spki` takes."""
    return spki.startswith(_SPKI_PREFIX)


def load_spki(der: bytes) -> Sm2Key:
    """Key of a DER SubjectPublicKeyInfo with an uncompressed point. Raises UnusableKey."""
    point = der.removeprefix(_SPKI_PREFIX)
    if len(der) != len(_SPKI_PREFIX) + 2 * SIZE or len(point) != 2 * SIZE:
        raise UnusableKey("no SM2 key")
    return load_point(int.from_bytes(point[:SIZE]), int.from_bytes(point[SIZE:]))


def multiply_base(scalar: int) -> Affine:
    """Affine coordinates of scalar·G, 0 < scalar < ORDER. Its time tells of the scalar: for test keys alone."""
    return _affine(_combine(scalar, 0, _BASE_MULTIPLES))


# ── the curve y² = x³ - 3x + b in Jacobian coordinates (x/z², y/z³); z = 0 is infinity ────────────────────────────────
def _double(point: _Jacobian) -> _Jacobian:
    x, y, z = point
    square = z * z % _P
    gamma = y * y % _P
    beta = x * gamma % _P
    alpha = 3 * (x - square) * (x + square) % _P
    x3 = (alpha * alpha - 8 * beta) % _P
    return x3, (alpha * (4 * beta - x3) - 8 * gamma * gamma) % _P, 2 * y * z % _P


def _add(point: _Jacobian, other: Affine) -> _Jacobian:
    x, y, z = point
    if not z:
        return (*other, 1)
    square = z * z % _P
    h = (other[0] * square - x) % _P
    r = (other[1] * square * z - y) % _P
    if not h:
        return _INFINITY if r else _double(point)
    h2 = h * h % _P
    h3, v = h * h2 % _P, x * h2 % _P
    x3 = (r * r - h3 - 2 * v) % _P
    return x3, (r * (v - x3) - y * h3) % _P, z * h % _P


def _affine(point: _Jacobian) -> Affine:
    x, y, z = point
    inverse = pow(z, -1, _P)
    square = inverse * inverse % _P
    return x * square % _P, y * square * inverse % _P


def _multiples(point: Affine) -> tuple[Affine, ...]:
    """1 to 15 times the point."""
    found = [point]
    while len(found) < (1 << _WINDOW) - 1:
        found.append(_affine(_add((*found[-1], 1), point)))
    return tuple(found)


_BASE_MULTIPLES: Final = _multiples(_G)


def _combine(s: int, t: int, multiples: tuple[Affine, ...]) -> _Jacobian:
    """s·G + t·P for the multiples of P: both scalars read four bits at a time over one chain of doublings."""
    point = _INFINITY
    for shift in range(8 * SIZE - _WINDOW, -1, -_WINDOW):
        for _ in range(_WINDOW):
            point = _double(point)
        if digit := s >> shift & 15:
            point = _add(point, _BASE_MULTIPLES[digit - 1])
        if digit := t >> shift & 15:
            point = _add(point, multiples[digit - 1])
    return point
