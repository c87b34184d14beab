"""Binary IMA logs for the tests, put together apart from verifier and simulator, so that a mistake in either shows."""

import hashlib
import struct


def field(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


def template_data(file_digest: bytes, path: bytes, algorithm: bytes = b"sha256") -> bytes:
    """Template data of `ima-ng`."""
    return field(algorithm + b":\0" + file_digest) + field(path + b"\0")


def ima_entry(data: bytes, template: bytes = b"ima-ng", noted: bytes | None = None, register: int = 10) -> bytes:
    """An entry that notes the SHA-256 of its template data, or another digest."""
    digest = hashlib.sha256(data).digest() if noted is None else noted
    return struct.pack("<I", register) + digest + field(template) + field(data)


def extended(*digests: bytes) -> bytes:
    """A register of SHA-256 after these extensions."""
    value = bytes(32)
    for digest in digests:
        value = hashlib.sha256(value + digest).digest()
    return value
