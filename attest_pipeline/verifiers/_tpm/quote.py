"""The proof of a TPM quote: its signature under the AK, its challenge, and the PCR values that it stands for."""

import hashlib
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from attest_pipeline import strict_json
from attest_pipeline.crypto import EcKey, RsaKey
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import FieldValue
from attest_pipeline.verifiers._tpm import abi
from attest_pipeline.verifiers._tpm.abi import Quote, Registers, Scheme, Signature, State

CHECKS: Final = ("quote_format", "quote_signature", "pcr_selection", "pcr_digest")
"""What holds of every proven quote; `challenge` may follow."""
CHALLENGE_BYTES: Final = 32
"""What every TPM takes as qualifying data: a TPM2B_DATA holds the largest digest that the TPM knows, and two bytes."""
SIZES: Final = {name: hashlib.new(name).digest_size for name in abi.HASHES.values()}
"""Bytes of a digest, by the name of the hash."""
SIGNATURE_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
MAX_PCRS: Final = 8192
"""Bytes of the JSON of PCR values: 32 registers of SHA-512."""
_FIRMWARE_PCRS: Final = (0, 4)
"""Firmware, and what it started: a machine that measures nothing leaves these at zero."""


class Pcrs(Struct, frozen=True, eq=False):
    """Values of PCRs, not proven; remembered, and so one object for equal values.

    `numbers` ascending, `joined` their values in that order, `sizes` of each.
    `selection` are the numbers as text, `claims` are `pcr<number>` → hexadecimal value.
    """

    values: Mapping[int, bytes]
    numbers: tuple[int, ...]
    joined: bytes
    sizes: frozenset[int]
    selection: str
    claims: Mapping[str, str]


def make_pcrs(values: Mapping[int, bytes]) -> Pcrs:
    """PCRs of these values, by number."""
    numbers = tuple(sorted(values))
    ordered = [values[number] for number in numbers]
    claims = {f"pcr{number}": value.hex() for number, value in zip(numbers, ordered, strict=True)}
    sizes = frozenset(map(len, ordered))
    return Pcrs(values, numbers, b"".join(ordered), sizes, ",".join(map(str, numbers)), claims)


def read_pcrs(data: bytes) -> Pcrs:
    """PCR values out of JSON `{"0": "hex", …}`. Raises BadEvidence(EMPTY | TOO_LARGE | MALFORMED)."""
    if not data:
        raise BadEvidence(Reason.EMPTY, "no PCR values")
    if len(data) > MAX_PCRS:
        raise BadEvidence(Reason.TOO_LARGE, f"PCR values of {len(data)} bytes")
    given = strict_json.decode(data, dict[str, str], "PCR values")
    try:
        found = dict(zip(map(int, given), map(bytes.fromhex, given.values()), strict=True))
    except ValueError:
        raise BadEvidence(Reason.MALFORMED, "PCR values are not number to hexadecimal") from None
    digits = sum(map(len, given.values()))  # fromhex() skips spaces
    if [*map(str, found)] != [*given] or digits != 2 * sum(map(len, found.values())):
        raise BadEvidence(Reason.MALFORMED, "PCR values are not in their plain form")
    return make_pcrs(found)


def prove_quote(attest: bytes, signature: Signature, ak: EcKey | RsaKey, challenge: bytes | None) -> Quote:
    """Prove a TPMS_ATTEST under the AK, over the challenge unless that is None.

    That the key is an AK, which signs nothing but what a TPM made, is for its endorsement to say.
    Raises BadEvidence(CHALLENGE_MISMATCH | BAD_SIGNATURE | MALFORMED | …).
    """
    quote = abi.parse_quote(attest)
    if challenge is not None and quote.extra_data != challenge:
        raise BadEvidence(Reason.CHALLENGE_MISMATCH, "extraData is not the challenge")
    if signature.scheme.hash_name not in SIGNATURE_HASHES:
        raise BadEvidence(Reason.BAD_SIGNATURE, f"quote is signed over {signature.scheme.hash_name}")
    if not _verify(attest, signature, ak):
        raise BadEvidence(Reason.BAD_SIGNATURE, "quote is not signed by the AK")
    return quote


def check_pcrs(registers: Registers, pcrs: Pcrs, digest_name: str) -> None:
    """Require that the values are those of the quoted registers, no more and no fewer, in the bank's size.

    Their digest is by the hash of the signing scheme, not by that of the bank (Part 3, TPM2_Quote).
    Raises BadEvidence(UNBOUND).
    """
    if pcrs.numbers != registers.numbers or not pcrs.numbers:
        raise BadEvidence(Reason.UNBOUND, "PCR values are not those of the PCR selection in the quote")
    if pcrs.sizes != {SIZES[registers.bank]}:
        raise BadEvidence(Reason.UNBOUND, f"PCR values are not of the {registers.bank} bank")
    if hashlib.new(digest_name, pcrs.joined).digest() != registers.digest:
        raise BadEvidence(Reason.UNBOUND, "PCR values do not give the PCR digest of the quote")


def _verify(message: bytes, signature: Signature, key: EcKey | RsaKey) -> bool:
    (scheme, hash_name), parts = signature.scheme, signature.parts
    if isinstance(key, EcKey):
        if scheme != abi.ECDSA:
            return False
        r, s = parts
        return len(r) <= key.size >= len(s) and key.verify_pair(r, s, message, hash_name)
    if scheme == abi.RSASSA:
        return key.verify_pkcs1(parts[0], message, hash_name)
    return scheme == abi.RSAPSS and _verify_pss(key, parts[0], message, hash_name)


def _verify_pss(key: RsaKey, signature: bytes, message: bytes, hash_name: str) -> bool:
    """TPMs salt with as many bytes as fit; those in FIPS mode with as many as the hash has (Part 1, B.7)."""
    size = SIZES[hash_name]
    longest = len(signature) - size - 2
    return longest >= 0 and any(key.verify_pss(signature, message, hash_name, salt) for salt in (size, longest))


def lasting_fields(state: State, pcrs: Pcrs, scheme: Scheme) -> dict[str, FieldValue]:
    """PCRs, and what the quote says until the machine measures something new.

    `boot_measured`: firmware and boot loader left their mark in the PCRs.
    """
    return {
        **pcrs.claims,
        "pcr_bank": state.registers.bank,
        "pcr_selection": pcrs.selection,
        "boot_measured": all(any(pcrs.values.get(number, b"")) for number in _FIRMWARE_PCRS),
        "qualified_signer": state.qualified_signer.hex(),
        "tpm_firmware_version": f"{state.firmware_version:016x}",
        "quote_scheme": f"{scheme.name}-{scheme.hash_name}",
    }


def momentary_fields(quote: Quote) -> dict[str, FieldValue]:
    """What is new in each quote."""
    milliseconds, reset_count, restart_count, safe = abi.CLOCK.unpack(quote.clock_info)
    return {
        "extra_data": quote.extra_data.hex(),
        "clock": milliseconds,
        "clock_safe": bool(safe),
        "reset_count": reset_count,
        "restart_count": restart_count,
    }
