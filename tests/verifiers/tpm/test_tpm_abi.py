"""TPM structures: strict, and nothing but BadEvidence comes out of hostile ones."""

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tpm_lab import CHALLENGE, attest, selection, sized, values

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._tpm.abi import CLOCK, MAX_STRUCTURE, parse_quote, parse_signature

PCRS = values()
QUOTE = attest(PCRS)
SIGNATURE = struct.pack(">HH", 0x0018, 0x000B) + sized(b"r" * 32) + sized(b"s" * 32)


def quote_reason(data: bytes) -> Reason:
    with pytest.raises(BadEvidence) as refused:
        parse_quote(data)
    return refused.value.reason


def signature_reason(data: bytes) -> Reason:
    with pytest.raises(BadEvidence) as refused:
        parse_signature(data)
    return refused.value.reason


def test_a_quote_is_read_field_by_field() -> None:
    quote = parse_quote(QUOTE)
    assert quote.extra_data == CHALLENGE
    assert CLOCK.unpack(quote.clock_info) == (77_000, 5, 2, True)
    assert (*quote.state.registers[:2], quote.state.firmware_version) == ("sha256", (0, 4, 7), 0x1234)


def test_a_selection_may_reach_to_pcr_31() -> None:
    assert parse_quote(attest(PCRS, selections=(selection("sha384", (31, 8), size=4),))).state.registers.numbers == (
        8,
        31,
    )


@pytest.mark.parametrize(
    "data",
    [
        QUOTE[:3],
        b"\0" + QUOTE[1:],
        b"\xffTCG" + attest(PCRS, kind=0x8017)[4:],
        attest(PCRS, safe=2),
        attest(PCRS, selections=()),
        attest(PCRS, selections=(selection("sha1", (0,)), selection("sha256", (0,)))),
        attest(PCRS, selections=(selection("sha256", (0,), size=5),)),
        QUOTE + b"\0",
    ],
)
def test_what_is_no_quote_over_one_bank_is_malformed(data: bytes) -> None:
    assert quote_reason(data) is Reason.MALFORMED


def test_a_structure_that_is_cut_anywhere_is_malformed() -> None:
    assert {quote_reason(QUOTE[:end]) for end in range(1, len(QUOTE))} == {Reason.MALFORMED}
    assert {signature_reason(SIGNATURE[:end]) for end in range(1, len(SIGNATURE))} == {Reason.MALFORMED}


def test_nothing_and_too_much_are_told_apart() -> None:
    assert quote_reason(b"") is signature_reason(b"") is Reason.EMPTY
    assert quote_reason(bytes(MAX_STRUCTURE + 1)) is Reason.TOO_LARGE


@pytest.mark.parametrize(("bank", "reason"), [(0x0012, Reason.UNSUPPORTED_FORMAT), (0x000A, Reason.MALFORMED)])
def test_a_bank_of_sm3_is_not_supported_and_one_of_no_hash_is_malformed(bank: int, reason: Reason) -> None:
    selection = struct.pack(">HB", bank, 3) + b"\1\0\0"
    assert quote_reason(attest(PCRS, selections=(selection,))) is reason


def test_a_defined_algorithm_may_be_unsupported_and_any_other_is_malformed() -> None:
    assert signature_reason(b"\0\x05" + SIGNATURE[2:]) is Reason.UNSUPPORTED_FORMAT
    assert signature_reason(SIGNATURE[:2] + b"\0\x12" + SIGNATURE[4:]) is Reason.UNSUPPORTED_FORMAT
    assert signature_reason(b"\0\x15" + SIGNATURE[2:]) is Reason.MALFORMED
    assert signature_reason(SIGNATURE[:2] + b"\0\x0a" + SIGNATURE[4:]) is Reason.MALFORMED


def test_bytes_behind_a_signature_are_malformed() -> None:
    assert signature_reason(SIGNATURE + b"\0") is Reason.MALFORMED


@given(st.binary(max_size=300), st.integers(0, len(QUOTE)))
@settings(max_examples=150, deadline=None)
def test_nothing_but_bad_evidence_comes_out(data: bytes, cut: int) -> None:
    for mixed in (data, QUOTE[:cut] + data):
        with contextlib.suppress(BadEvidence):
            parse_quote(mixed)
        with contextlib.suppress(BadEvidence):
            parse_signature(mixed)
