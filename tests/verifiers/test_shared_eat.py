"""Collections of tokens in their three forms."""

import cbor2
import pytest
from arm_tokens import reason_of

from attest_pipeline.errors import Reason
from attest_pipeline.verifiers._shared.eat import MAX_TEXT, ClaimsSet, read_collection

RECORD = [263, b"token"]


@pytest.mark.parametrize(
    "value",
    [
        cbor2.CBORTag(399, {44241: b"token"}),
        cbor2.CBORTag(907, {44241: RECORD}),
        {44241: RECORD},
        {"__cmwc_t": "tag:example.com,2026:x", 44241: RECORD},
        {44241: ['application/eat+cwt; eat_profile="tag:x"', b"token"]},
        {44241: [263, b"token", 4]},
    ],
)
def test_each_form_of_a_collection_gives_its_tokens_by_label(value: object) -> None:
    assert read_collection(cbor2.dumps(value)) == {44241: b"token"}


@pytest.mark.parametrize(
    "value",
    [
        b"token",
        [RECORD],
        cbor2.CBORTag(399, b"token"),
        cbor2.CBORTag(400, {44241: b"token"}),
        cbor2.CBORTag(399, {44241: RECORD}),
        cbor2.CBORTag(399, {44241: {}}),
        cbor2.CBORTag(399, {"realm": b"token"}),
        cbor2.CBORTag(907, {44241: b"token"}),
        {44241: [60, b"token"]},
        {44241: ["application/json", b"token"]},
        {44241: [263, b"token", 2]},
        {44241: [263, b"token", 4, 0]},
        {44241: [263, "token"]},
    ],
)
def test_anything_else_is_malformed(value: object) -> None:
    assert reason_of(lambda: read_collection(cbor2.dumps(value))) is Reason.MALFORMED


def test_a_truth_value_is_no_integer_and_a_long_text_no_claim() -> None:
    claims = ClaimsSet({1: True, 2: "x" * (MAX_TEXT + 1), 3: "sha-256\0\0"}, "token")
    assert reason_of(lambda: claims.integer(1, range(2))) is Reason.MALFORMED
    assert reason_of(lambda: claims.text(2)) is Reason.MALFORMED
    assert claims.text(3) == "sha-256"
