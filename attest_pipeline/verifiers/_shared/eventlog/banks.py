"""The banks that measurement registers come in, and how a register is extended."""

import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from attest_pipeline import gm


class Bank(NamedTuple):
    """A hash: its TPM_ALG_ID, the bytes of its digest, and the digest of some data."""

    algorithm: int
    size: int
    digest: Callable[[bytes], bytes]


BANKS: Final[Mapping[str, Bank]] = MappingProxyType(
    {
        "sha1": Bank(0x0004, 20, lambda data: hashlib.sha1(data, usedforsecurity=False).digest()),
        "sha256": Bank(0x000B, 32, lambda data: hashlib.sha256(data).digest()),
        "sha384": Bank(0x000C, 48, lambda data: hashlib.sha384(data).digest()),
        "sha512": Bank(0x000D, 64, lambda data: hashlib.sha512(data).digest()),
        "sm3": Bank(0x0012, 32, gm.sm3),
    }
)
"""Name of a hash → bank (TCG Algorithm Registry, section 5.2)."""


def extend(registers: dict[int, bytes], register: int, digest: bytes, bank: Bank) -> None:
    """Extend a register, which starts as zeros unless it has a value."""
    registers[register] = bank.digest(registers.get(register, bytes(bank.size)) + digest)
