"""The `openssl` command as oracle for SM2; tests that need it skip, and say so, where it does not know the curve."""

import subprocess
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from attest_pipeline import gm


def openssl(*arguments: str | Path, given: bytes = b"") -> bytes:
    """What the command writes; fails the test if it fails."""
    done = subprocess.run(["openssl", *map(str, arguments)], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def _knows_sm2() -> bool:
    try:
        return b"SM2" in openssl("list", "-public-key-algorithms")
    except (OSError, AssertionError):
        return False


def make_key(directory: Path, name: str = "key.pem") -> Path:
    """A new SM2 key (PKCS #8, PEM)."""
    if not _knows_sm2():
        pytest.skip("no openssl command that knows SM2")
    openssl("genpkey", "-algorithm", "SM2", "-out", directory / name)
    return directory / name


def public_half(key: Path) -> gm.Sm2Key:
    """Public key of a PEM file."""
    return gm.load_spki(openssl("pkey", "-in", key, "-pubout", "-outform", "DER"))


def sign(key: Path, message: bytes, user_id: bytes = gm.DEFAULT_USER_ID) -> tuple[int, int]:
    """The command's signature, (r, s)."""
    (key.parent / "message").write_bytes(message)
    options = ("-rawin", "-digest", "sm3", "-pkeyopt", f"distid:{user_id.decode()}", "-in", key.parent / "message")
    return decode_dss_signature(openssl("pkeyutl", "-sign", "-inkey", key, *options))


def believes(directory: Path, key: gm.Sm2Key, signature: tuple[int, int], message: bytes) -> bool:
    """Whether the command verifies (r, s) under the default user id."""
    files = {"spki": key.spki, "signed": message, "signature": encode_dss_signature(*signature)}
    for name, data in files.items():
        (directory / name).write_bytes(data)
    done = subprocess.run(
        [
            "openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", directory / "spki", "-rawin",
            "-digest", "sm3", "-pkeyopt", f"distid:{gm.DEFAULT_USER_ID.decode()}", "-in", directory / "signed",
            "-sigfile", directory / "signature",
        ],
        capture_output=True,
        check=False,
    )  # fmt: skip
    return done.returncode == 0
