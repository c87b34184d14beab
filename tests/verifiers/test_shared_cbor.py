"""Strict CBOR: what cbor2 forgives or runs is refused, and nothing but BadEvidence comes out."""

import contextlib

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared.cbor import MAX_BYTES, MAX_DEPTH, MAX_ITEMS, decode

LIVE_TAGS = [0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000, 55799]


def tagged(number: int, value: bytes) -> bytes:
    return b"\xda" + number.to_bytes(4) + value


def reason_of(data: bytes) -> Reason:
    with pytest.raises(BadEvidence) as caught:
        decode(data)
    return caught.value.reason


def test_plain_values_come_back_as_immutable_types() -> None:
    assert decode(cbor2.dumps({1: [b"a", "b", -3], "k": {2: None, 3: True}})) == {
        1: (b"a", "b", -3),
        "k": {2: None, 3: True},
    }


def test_an_allowed_tag_comes_back_with_its_number() -> None:
    assert decode(cbor2.dumps(cbor2.CBORTag(18, [b"x"])), tags=frozenset({18})) == cbor2.CBORTag(18, (b"x",))


@pytest.mark.parametrize("number", LIVE_TAGS)
@pytest.mark.parametrize("value", ["613a", "4101", "820101", "01", "a0"])
def test_a_tag_with_a_decoder_behind_it_is_never_run(number: int, value: str) -> None:
    assert reason_of(tagged(number, bytes.fromhex(value))) is Reason.MALFORMED


def test_a_regular_expression_bomb_is_refused_unread() -> None:
    assert reason_of(b"\xd8\x23" + cbor2.dumps("(a+)+" * 5 + "$")) is Reason.MALFORMED


def test_a_tag_that_is_unknown_or_only_allowed_elsewhere_is_malformed() -> None:
    assert reason_of(tagged(999, b"\x01")) is Reason.MALFORMED
    assert reason_of(cbor2.dumps(cbor2.CBORTag(18, []))) is Reason.MALFORMED


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01\x02",  # trailing bytes
        cbor2.dumps(bytes(5000)) + b"\0",  # trailing byte, far behind what is read first
        b"\xa2\x01\x01\x01\x02",  # duplicate key
        b"\xa2\x01\x01\x18\x01\x02",  # duplicate key, written in two ways
        b"\x9f\x01\xff",  # indefinite array
        b"\xbf\xff",  # indefinite map
        b"\x5f\x41\x01\xff",  # indefinite byte string
        b"\x7f\x61a\xff",  # indefinite text
        b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",  # 2^63 elements
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",  # 2^63 bytes
        b"\x61\xff",  # no UTF-8
        b"\x1c",  # reserved
        b"\xff",  # break without start
        b"\xf7",  # undefined
        b"\xf8\x20",  # simple value
        b"\xf9\x3c\x00",  # float
        b"\xa1\x41\x01\x01",  # key of bytes
        b"\xa1\xf5\x01",  # key of a truth value
        b"\xa1\x80\x01",  # key of an array
        b"\x81" * (MAX_DEPTH + 1) + b"\x01",
    ],
)
def test_what_no_deterministic_encoder_writes_is_malformed(data: bytes) -> None:
    assert reason_of(data) is Reason.MALFORMED


def test_too_many_bytes_or_items_are_too_large() -> None:
    assert reason_of(cbor2.dumps(bytes(MAX_BYTES))) is Reason.TOO_LARGE
    assert reason_of(cbor2.dumps([0] * MAX_ITEMS)) is Reason.TOO_LARGE
    assert decode(cbor2.dumps([0] * (MAX_ITEMS - 1))) == (0,) * (MAX_ITEMS - 1)


def test_a_small_document_of_nested_empty_arrays_is_bounded_by_its_items() -> None:
    assert reason_of(b"\x99\xf0\x00" + b"\x80" * 0xF000) is Reason.TOO_LARGE


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_but_bad_evidence(data: bytes) -> None:
    with contextlib.suppress(BadEvidence):
        decode(data, tags=frozenset({18, 399}))
