"""The quote's proof: scheme by scheme, and what no quote may get away with."""

import hashlib
import struct
from functools import cache
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tpm_lab import CHALLENGE, Key, attest, flipped, pcr_json, selection, sign, sized, spki, values

from attest_pipeline.crypto import load_spki
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import FieldValue
from attest_pipeline.verifiers._tpm.abi import Quote, Scheme, parse_signature
from attest_pipeline.verifiers._tpm.quote import (
    MAX_PCRS,
    Pcrs,
    check_pcrs,
    lasting_fields,
    make_pcrs,
    momentary_fields,
    prove_quote,
    read_pcrs,
)


class Proof(NamedTuple):
    """A quote that holds, how it was signed, and the values that it stands for."""

    quote: Quote
    scheme: Scheme
    pcrs: Pcrs


@cache
def key(kind: str) -> Key:
    if kind == "RSA":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key({"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}[kind])


def prove(
    message: bytes,
    signature: bytes,
    pcrs: dict[int, bytes],
    *,
    of: str = "P-256",
    challenge: bytes | None = CHALLENGE,
) -> Proof:
    quoted, values = parse_signature(signature), make_pcrs(pcrs)
    quote = prove_quote(message, quoted, load_spki(spki(key(of))), challenge)
    check_pcrs(quote.state.registers, values, quoted.scheme.hash_name)
    return Proof(quote, quoted.scheme, values)


def refusal(message: bytes, pcrs: dict[int, bytes], *, signature: bytes | None = None, **options: object) -> Reason:
    with pytest.raises(BadEvidence) as refused:
        prove(message, sign(key("P-256"), message) if signature is None else signature, pcrs, **options)  # type: ignore[arg-type]
    return refused.value.reason


def fields_of(proof: Proof) -> dict[str, FieldValue]:
    return {**lasting_fields(proof.quote.state, proof.pcrs, proof.scheme), **momentary_fields(proof.quote)}


@pytest.mark.parametrize(
    ("kind", "hash_name", "salt", "scheme"),
    [
        ("RSA", "sha256", None, "rsassa-sha256"),
        ("RSA", "sha384", None, "rsassa-sha384"),
        ("RSA", "sha256", 32, "rsapss-sha256"),
        ("RSA", "sha256", 256 - 32 - 2, "rsapss-sha256"),
        ("P-256", "sha256", None, "ecdsa-sha256"),
        ("P-384", "sha384", None, "ecdsa-sha384"),
    ],
)
@pytest.mark.parametrize("bank", ["sha1", "sha256", "sha384", "sha512"])
def test_every_scheme_holds_over_every_bank(
    kind: str, hash_name: str, salt: int | None, scheme: str, bank: str
) -> None:
    pcrs = values(bank)
    message = attest(pcrs, bank=bank, hash_name=hash_name)
    proof = prove(message, sign(key(kind), message, hash_name, salt=salt), pcrs, of=kind)
    fields = fields_of(proof)
    assert (fields["quote_scheme"], fields["pcr_bank"], fields["pcr_selection"]) == (scheme, bank, "0,4,7")
    assert proof.pcrs.claims == {f"pcr{number}": value.hex() for number, value in pcrs.items()}


def test_what_the_quote_says_is_told() -> None:
    pcrs = values()
    message = attest(pcrs)
    fields = fields_of(prove(message, sign(key("P-256"), message), pcrs))
    expected = {
        "extra_data": CHALLENGE.hex(),
        "clock": 77_000,
        "clock_safe": True,
        "reset_count": 5,
        "restart_count": 2,
        "tpm_firmware_version": "0000000000001234",
        "boot_measured": True,
    }
    assert {name: fields[name] for name in expected} == expected


@pytest.mark.parametrize("pcrs", [{0: bytes(32), 4: b"\1" * 32}, {0: b"\1" * 32}, {0: b"\1" * 32, 4: bytes(32)}])
def test_a_boot_is_measured_only_if_pcr_0_and_4_are_quoted_and_not_zero(pcrs: dict[int, bytes]) -> None:
    message = attest(pcrs)
    assert fields_of(prove(message, sign(key("P-256"), message), pcrs))["boot_measured"] is False


def test_each_flipped_byte_of_a_quote_and_its_signature_is_refused() -> None:
    pcrs = values()
    message = attest(pcrs)
    signature = sign(key("P-256"), message)
    for offset in range(len(message)):
        with pytest.raises(BadEvidence):
            prove(flipped(message, offset), signature, pcrs, challenge=None)
    for offset in range(len(signature)):
        with pytest.raises(BadEvidence):
            prove(message, flipped(signature, offset), pcrs)


def test_each_flipped_pcr_is_refused() -> None:
    pcrs = values()
    message = attest(pcrs)
    assert {refusal(message, pcrs | {n: flipped(pcrs[n], 9)}) for n in pcrs} == {Reason.UNBOUND}


@pytest.mark.parametrize("challenge", [b"", CHALLENGE[:-1], CHALLENGE + b"\0", flipped(CHALLENGE, 31), bytes(32)])
def test_the_whole_of_extra_data_is_compared(challenge: bytes) -> None:
    assert refusal(attest(values()), values(), challenge=challenge) is Reason.CHALLENGE_MISMATCH


def test_without_a_challenge_none_is_compared() -> None:
    message = attest(values(), extra=b"")
    assert prove(message, sign(key("P-256"), message), values(), challenge=None).quote.extra_data == b""


def test_a_pcr_that_is_not_selected_is_not_believed() -> None:
    pcrs = values()
    message = attest(pcrs)
    assert refusal(message, {**pcrs, 14: bytes(32)}) is Reason.UNBOUND
    assert refusal(message, {number: pcrs[number] for number in (0, 4)}) is Reason.UNBOUND
    assert refusal(message, {}) is Reason.UNBOUND


def test_values_cannot_move_to_other_registers() -> None:
    """The digest of shifted values is the same; the selection says whose they are."""
    moved = dict(zip((1, 5, 8), values().values(), strict=True))
    assert refusal(attest(values()), moved) is Reason.UNBOUND


def test_a_quote_over_nothing_is_refused() -> None:
    assert refusal(attest({}, selections=(selection("sha256", ()),)), {}) is Reason.UNBOUND


def test_values_of_another_bank_are_refused_though_their_bytes_add_up() -> None:
    joined = b"".join(values("sha256", (0, 1)).values())
    uneven = {0: joined[:20], 1: joined[20:]}
    assert refusal(attest(values("sha256", (0, 1))), uneven) is Reason.UNBOUND


def test_the_digest_is_by_the_hash_of_the_signature_not_by_that_of_the_bank() -> None:
    pcrs = values("sha384")
    message = attest(pcrs, bank="sha384", hash_name="sha384")
    assert refusal(message, pcrs) is Reason.UNBOUND


def test_a_signature_over_sha1_is_refused() -> None:
    pcrs = values()
    message = attest(pcrs, hash_name="sha1")
    signature = sign(key("RSA"), message, "sha1")
    assert refusal(message, pcrs, signature=signature, of="RSA") is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    "signature",
    [
        struct.pack(">HH", 0x0018, 0x000B) + sized(bytes(32)) + sized(bytes(32)),
        struct.pack(">HH", 0x0018, 0x000B) + sized(b"\1" * 33) + sized(b"\1" * 32),
        struct.pack(">HH", 0x0018, 0x000B) + sized(b"") + sized(b""),
        struct.pack(">HH", 0x0014, 0x000B) + sized(bytes(64)),
        struct.pack(">HH", 0x0016, 0x000B) + sized(bytes(64)),
    ],
)
@pytest.mark.parametrize("of", ["P-256", "RSA"])
def test_a_signature_that_is_none_or_of_another_kind_of_key_is_refused(signature: bytes, of: str) -> None:
    assert refusal(attest(values()), values(), signature=signature, of=of) is Reason.BAD_SIGNATURE


def test_a_salt_of_another_length_is_refused() -> None:
    message = attest(values())
    signature = sign(key("RSA"), message, salt=20)
    assert refusal(message, values(), signature=signature, of="RSA") is Reason.BAD_SIGNATURE


def test_pss_shorter_than_its_hash_is_refused() -> None:
    signature = struct.pack(">HH", 0x0016, 0x000B) + sized(b"\1" * 20)
    assert refusal(attest(values()), values(), signature=signature, of="RSA") is Reason.BAD_SIGNATURE


# ── the JSON of PCR values ────────────────────────────────────────────────────────────────────────────────────────────
def test_pcr_values_are_read_in_any_order() -> None:
    pcrs = values()
    assert read_pcrs(pcr_json(dict(reversed(pcrs.items())))).values == pcrs
    assert read_pcrs(b'{"0": "AB"}').values == {0: b"\xab"}


@pytest.mark.parametrize(
    "text",
    [
        '{"00": "ab"}',
        '{"+1": "ab"}',
        '{"1 ": "ab"}',
        '{"1_0": "ab"}',
        '{"\u0661": "ab"}',
        '{"one": "ab"}',
        '{"1": "a"}',
        '{"1": "a b"}',
        '{"1": "0xab"}',
        '{"1": 7}',
        '{"1": "ab", "1": "cd"}',
        '{"1": "ab", "01": "cd"}',
        '["ab"]',
        '{"1": "ab"',
    ],
)
def test_values_that_are_not_in_their_plain_form_are_malformed(text: str) -> None:
    with pytest.raises(BadEvidence) as refused:
        read_pcrs(text.encode())
    assert refused.value.reason is Reason.MALFORMED


def test_no_values_and_too_many_are_told_apart() -> None:
    for data, reason in ((b"", Reason.EMPTY), (b" " * (MAX_PCRS + 1), Reason.TOO_LARGE)):
        with pytest.raises(BadEvidence) as refused:
            read_pcrs(data)
        assert refused.value.reason is reason


def test_a_negative_register_is_no_register() -> None:
    pcrs = {-1: hashlib.sha256(b"x").digest()}
    assert refusal(attest(values()), pcrs) is Reason.UNBOUND
