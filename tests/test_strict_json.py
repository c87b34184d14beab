from typing import Annotated

import pytest
from msgspec import Meta, Struct

from attest_pipeline import strict_json
from attest_pipeline.errors import BadEvidence, Reason


class Pair(Struct, forbid_unknown_fields=True):
    name: str
    value: Annotated[int, Meta(ge=0, le=255)]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"a": 1}{',
        b'{"a": 1, "a": 1}',
        b'{"a": 1, "\\u0061": 2}',
        b'{"b": [{"a": 1, "a": 2}]}',
        b'{"a": "\\ud800"}',
        b'{"\\uDFFF": 1}',
        b'["\\ud83d", "\\ude00"]',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": "\xff"}',
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"1" * 5000 + b"}",
    ],
)
def test_what_is_ambiguous_broken_or_bottomless_is_malformed(text: bytes) -> None:
    with pytest.raises(BadEvidence) as refused:
        strict_json.load(text)
    assert refused.value.reason is Reason.MALFORMED


def test_an_escaped_surrogate_pair_is_the_one_character_that_it_means() -> None:
    assert strict_json.load(b'["\\ud83d\\ude00"]') == ["\N{GRINNING FACE}"]


def test_a_document_is_of_the_type_that_was_asked_for() -> None:
    assert strict_json.decode(b'{"value": 7, "name": "x"}', Pair, "pair") == Pair("x", 7)


@pytest.mark.parametrize("text", [b"[]", b'{"name": "x"}', b'{"name": "x", "value": 256}', b'{"name": 1, "value": 1}'])
def test_a_document_of_another_type_is_malformed(text: bytes) -> None:
    with pytest.raises(BadEvidence, match="pair") as refused:
        strict_json.decode(text, Pair, "pair")
    assert refused.value.reason is Reason.MALFORMED
