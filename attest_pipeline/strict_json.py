"""JSON that says each thing once: no member twice, no NaN, UTF-8 alone. For everything that an Attester writes as JSON.

msgspec and the standard library both take the last of two equal members; whoever reads the first is then deceived.
Half of a surrogate pair, which only an escape can spell, is no UTF-8: whoever writes the text on would fail.
"""

import json
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from attest_pipeline.errors import BadEvidence, Reason

_ESCAPED: Final = b"\\u"
_T = TypeVar("_T")


def load(data: bytes) -> object:
    """The document as plain Python values. Raises BadEvidence(MALFORMED); bound the size of `data` first."""
    try:
        found: object = _decoder.decode(data.decode())
        if _ESCAPED in data:
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadEvidence(Reason.MALFORMED, f"no JSON: {str(error)[:120]}") from None
    return found


def decode(data: bytes, kind: type[_T], what: str) -> _T:
    """The document as a value of that type; `what` names it in errors. Raises BadEvidence(MALFORMED)."""
    return convert(load(data), kind, what)


def convert(document: object, kind: type[_T], what: str) -> _T:
    """A loaded document as a value of that type. Raises BadEvidence(MALFORMED)."""
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise BadEvidence(Reason.MALFORMED, f"{what}: {str(error)[:120]}") from None


def _unique(members: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) != len(members):
        raise BadEvidence(Reason.MALFORMED, "a JSON member stands twice")
    return found


def _refuse(constant: str) -> object:
    raise ValueError(constant)


_decoder: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse)
