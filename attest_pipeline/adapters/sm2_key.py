"""SM2 private keys, signed with by OpenSSL's libcrypto: the one that CPython's own `ssl` module has loaded.

`cryptography` refuses the curve and no package signs on it in constant time everywhere (`docs/adr/0010-sm2.md`).
Sources: OpenSSL 3 manual, EVP_PKEY-SM2(7), EVP_DigestSign(3); timing on 64-bit Arm: CVE-2025-9231, openssl#31133.
"""

import _ssl
import ctypes
import platform
import ssl
import weakref
from collections.abc import Sequence
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_void_p
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from attest_pipeline import gm
from attest_pipeline.crypto import UnusableKey
from attest_pipeline.errors import Misconfigured

_LONGEST_SIGNATURE: Final = 72
"""Bytes of a DER ECDSA-Sig-Value whose parts have 32 bytes."""
_LEAKS_FROM: Final = (3, 2)
_PROBE: Final = b"a key signs this before anything that counts"
_PROTOTYPES: Final = {
    "BIO_new_mem_buf": (c_void_p, (c_char_p, c_int)),
    "BIO_free": (c_int, (c_void_p,)),
    "PEM_read_bio_PrivateKey": (c_void_p, (c_void_p, c_void_p, c_void_p, c_char_p)),
    "i2d_PUBKEY": (c_int, (c_void_p, POINTER(c_void_p))),
    "EVP_KEYMGMT_fetch": (c_void_p, (c_void_p, c_char_p, c_char_p)),
    "EVP_KEYMGMT_free": (None, (c_void_p,)),
    "EVP_PKEY_is_a": (c_int, (c_void_p, c_char_p)),
    "EVP_PKEY_free": (None, (c_void_p,)),
    "EVP_PKEY_CTX_set1_id": (c_int, (c_void_p, c_char_p, c_int)),
    "EVP_sm3": (c_void_p, ()),
    "EVP_MD_CTX_new": (c_void_p, ()),
    "EVP_MD_CTX_free": (None, (c_void_p,)),
    "EVP_DigestSignInit": (c_int, (c_void_p, POINTER(c_void_p), c_void_p, c_void_p, c_void_p)),
    "EVP_DigestSign": (c_int, (c_void_p, c_char_p, POINTER(c_size_t), c_char_p, c_size_t)),
    "ERR_clear_error": (None, ()),
}
"""What is called, with result and arguments: without them ctypes would cut a pointer to 32 bits."""


class Sm2PrivateKey:
    """A private key that signs with the default user id; `spki` is the DER SubjectPublicKeyInfo of its public half.

    Each signature has a nonce of its own, so equal messages give different signatures. Safe to use from any thread.
    """

    def __init__(self, pem: bytes) -> None:
        """Take an unencrypted PEM file, and prove that the key signs what `gm` verifies. Raises Misconfigured."""
        self._openssl = _libcrypto()
        try:
            self._key = self._read(pem)
            weakref.finalize(self, self._openssl.EVP_PKEY_free, self._key)
            self.spki = self._public()
            if not gm.load_spki(self.spki).verify_raw(self.sign(_PROBE), _PROBE, gm.DEFAULT_USER_ID):
                raise Misconfigured("the private half of the SM2 key does not belong to its public half")
        except UnusableKey as error:
            raise Misconfigured(f"{error}, says {ssl.OPENSSL_VERSION}") from None
        finally:
            self._openssl.ERR_clear_error()

    def sign(self, message: bytes) -> bytes:
        """SM2 signature over the message, r || s, 64 bytes big-endian. Raises Misconfigured if OpenSSL cannot."""
        context = self._openssl.EVP_MD_CTX_new()
        try:
            return self._sign(context, message)
        finally:
            self._openssl.EVP_MD_CTX_free(context)

    def _sign(self, context: int | None, message: bytes) -> bytes:
        openssl, of_key = self._openssl, c_void_p()
        signature = ctypes.create_string_buffer(_LONGEST_SIGNATURE)
        size = c_size_t(len(signature))
        done = (
            context is not None
            and openssl.EVP_DigestSignInit(context, of_key, openssl.EVP_sm3(), None, self._key) == 1
            and openssl.EVP_PKEY_CTX_set1_id(of_key, gm.DEFAULT_USER_ID, len(gm.DEFAULT_USER_ID)) == 1
            and openssl.EVP_DigestSign(context, signature, size, message, len(message)) == 1
        )
        if not done:
            raise Misconfigured(f"{ssl.OPENSSL_VERSION} does not sign with this SM2 key")
        r, s = decode_dss_signature(signature.raw[: size.value])
        return r.to_bytes(gm.SIZE) + s.to_bytes(gm.SIZE)

    def _read(self, pem: bytes) -> int:
        """Handle of the key. The empty password keeps OpenSSL from asking for one on the terminal."""
        source = self._openssl.BIO_new_mem_buf(pem, len(pem))
        key = self._openssl.PEM_read_bio_PrivateKey(source, None, None, b"")
        self._openssl.BIO_free(source)
        if key is None or self._openssl.EVP_PKEY_is_a(key, b"SM2") != 1:
            self._openssl.EVP_PKEY_free(key)
            raise UnusableKey("no SM2 key")
        return int(key)

    def _public(self) -> bytes:
        der = ctypes.create_string_buffer(self._openssl.i2d_PUBKEY(self._key, None))
        self._openssl.i2d_PUBKEY(self._key, c_void_p(ctypes.addressof(der)))
        return der.raw


def refusal(version: str, number: Sequence[int], machine: str) -> str | None:
    """Why an OpenSSL must not sign by SM2 on that kind of machine, or None; `number` begins with major and minor.

    From 3.2 on, the code for 64-bit Arm (and later RISC-V) skips additions where a byte of the nonce is zero, and no
    release is known to have mended that. x86-64 has no such code; the generic ladder takes equal steps for all nonces.
    """
    if not version.startswith("OpenSSL ") or tuple(number[:1]) < (3,):
        return f"SM2 signing keys need OpenSSL 3.0 or later, and this Python stands on {version}"
    if machine.lower() not in {"x86_64", "amd64"} and tuple(number[:2]) >= _LEAKS_FROM:
        return f"{version} tells of SM2 keys by its timing on {machine} (openssl#31133); 3.0 and 3.1 do not"
    return None


@cache
def _libcrypto() -> ctypes.CDLL:
    """The library with its prototypes. Raises Misconfigured if it must not or cannot sign by SM2."""
    refused = refusal(ssl.OPENSSL_VERSION, ssl.OPENSSL_VERSION_INFO, platform.machine())
    if refused is not None:
        raise Misconfigured(refused)
    library = ctypes.CDLL(getattr(_ssl, "__file__", None))  # finds what the module itself was linked to
    try:
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise Misconfigured(f"this Python keeps {ssl.OPENSSL_VERSION} to itself: {error}") from None
    found = library.EVP_KEYMGMT_fetch(None, b"SM2", None)
    if found is None:
        raise Misconfigured(f"{ssl.OPENSSL_VERSION} of this host was built or configured without SM2")
    library.EVP_KEYMGMT_free(found)
    return library
