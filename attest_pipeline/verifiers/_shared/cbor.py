"""Strict CBOR (RFC 8949) for untrusted bytes: the one door to the decoder.

By default cbor2 forgives trailing bytes, duplicate keys and indefinite lengths, and it runs decoders of tags (regular
expressions, big numbers, cyclic lists, string references) that cost an attacker nothing and us everything.
"""

import io
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, NoReturn

import cbor2

from attest_pipeline.errors import BadEvidence, Reason

MAX_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 16
MAX_ITEMS: Final = 10_000
Map = cbor2.frozendict
"""What a map is decoded to; naming it tells one apart faster than `Mapping` does."""
_LEAVES: Final = frozenset({int, str, bytes, bool, type(None)})
_KEYS: Final = frozenset({int, str})
_LIVE_TAGS: Final = (*range(6), 25, *range(28, 31), *range(35, 38), 100, 256, 258, 260, 261, 1004, 43000, 55799)


def decode(
    data: bytes, *, tags: frozenset[int] = frozenset(), max_bytes: int = MAX_BYTES, indefinite: bool = False
) -> object:
    """The one data item that fills the buffer: int, str, bytes, bool, None, tuple, Mapping, or CBORTag of `tags`.

    Maps have integer or text keys. `tags` may name tags that have no meaning to the decoder, such as 18 (COSE_Sign1).
    `indefinite` admits items of indefinite length, which some firmware writes. Raises BadEvidence(MALFORMED |
    TOO_LARGE).
    """
    if len(data) > max_bytes:
        raise BadEvidence(Reason.TOO_LARGE, f"CBOR of {len(data)} bytes")
    buffer = io.BytesIO(data)
    decoder = cbor2.CBORDecoder(
        buffer,
        max_depth=MAX_DEPTH,
        allow_indefinite=indefinite,
        allow_duplicate_keys=False,
        semantic_decoders=_DENIED,
        tag_hook=_only(tags),
    )
    try:
        value = decoder.decode(immutable=True)
    except cbor2.CBORError as error:
        raise BadEvidence(Reason.MALFORMED, f"CBOR: {str(error)[:120]}") from None
    if buffer.tell() != len(data):  # the decoder reads ahead, and goes back to the end of the item
        raise BadEvidence(Reason.MALFORMED, "bytes behind the CBOR item")
    _check_tree(value)
    return value


def _deny(*_: object) -> NoReturn:
    raise ValueError("tag is not admitted")


_DENIED: Final[Mapping[int, Callable[..., Any]]] = dict.fromkeys(_LIVE_TAGS, _deny)


@cache
def _only(tags: frozenset[int]) -> Callable[[cbor2.CBORTag, bool], cbor2.CBORTag]:
    def admit(tag: cbor2.CBORTag, _: bool) -> cbor2.CBORTag:  # noqa: FBT001 - the decoder's signature
        return tag if tag.tag in tags else _deny()

    return admit


def _check_tree(root: object) -> None:
    """Admit plain types only, and no more than MAX_ITEMS of them."""
    items: list[Any] = [root]
    for item in items:  # to which it adds its children
        kind = type(item)
        if kind in _LEAVES:
            continue
        if kind is tuple:
            items += item
        elif kind is Map:
            if not _KEYS.issuperset(map(type, item)):
                raise BadEvidence(Reason.MALFORMED, "CBOR map key is neither integer nor text")
            items += item.values()
        elif kind is cbor2.CBORTag:
            items.append(item.value)
        else:
            raise BadEvidence(Reason.MALFORMED, f"CBOR item of type {kind.__name__}")
        if len(items) > MAX_ITEMS:
            raise BadEvidence(Reason.TOO_LARGE, f"CBOR of more than {MAX_ITEMS} items")
