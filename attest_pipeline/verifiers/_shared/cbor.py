"""Strict CBOR (RFC 8949) for untrusted bytes: the one door to the decoder.

By default cbor2 forgives trailing bytes, duplicate keys and indefinite lengths, and it runs decoders of tags (regular
expressions, big numbers, cyclic lists, string references) that cost an attacker nothing and us everything.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn

import cbor2

from attest_pipeline.errors import BadEvidence, Reason

MAX_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 16
MAX_ITEMS: Final = 10_000
_LEAVES: Final = (int, str, bytes, bool, type(None))
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
        read_size=1,  # reads no further than the item, so that its end is known
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
    if buffer.tell() != len(data):
        raise BadEvidence(Reason.MALFORMED, "bytes behind the CBOR item")
    _check_tree(value)
    return value


def _deny(*_: object) -> NoReturn:
    raise ValueError("tag is not admitted")


_DENIED: Final[Mapping[int, Callable[..., Any]]] = dict.fromkeys(_LIVE_TAGS, _deny)


def _only(tags: frozenset[int]) -> Callable[[cbor2.CBORTag, bool], cbor2.CBORTag]:
    def admit(tag: cbor2.CBORTag, _: bool) -> cbor2.CBORTag:  # noqa: FBT001 - the decoder's signature
        return tag if tag.tag in tags else _deny()

    return admit


def _check_tree(root: object) -> None:
    """Admit plain types only, and no more than MAX_ITEMS of them."""
    pending = [root]
    count = 0
    while pending:
        count += 1
        if count > MAX_ITEMS:
            raise BadEvidence(Reason.TOO_LARGE, f"CBOR of more than {MAX_ITEMS} items")
        item = pending.pop()
        if type(item) not in _LEAVES:
            pending.extend(_children(item))


def _children(item: object) -> Iterator[object]:
    if isinstance(item, cbor2.CBORTag):
        yield item.value
    elif isinstance(item, tuple):
        yield from item
    elif isinstance(item, Mapping):
        if any(type(key) not in (int, str) for key in item):
            raise BadEvidence(Reason.MALFORMED, "CBOR map key is neither integer nor text")
        yield from item.values()
    else:
        raise BadEvidence(Reason.MALFORMED, f"CBOR item of type {type(item).__name__}")
