"""What parse and the collateral worker say to one another on `collateral.get`, as MessagePack."""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from attest_pipeline.errors import Unavailable
from attest_pipeline.model import EndorsementKind, EndorsementRef

MAX_REFS: Final = 64
"""References in one request."""


class Ask(Struct, frozen=True):
    """Which collateral is wanted, and how many seconds the answer may wait for what has to be fetched first."""

    refs: Annotated[tuple[EndorsementRef, ...], Meta(max_length=MAX_REFS)]
    patience: Annotated[float, Meta(ge=0, le=10)] = 0.0


class Held(Struct, frozen=True, tag="held", kw_only=True):
    """Documents, the window in which they hold, and from when on they must be called stale (seconds since 1970)."""

    documents: tuple[bytes, ...]
    valid_from: int
    valid_until: int
    stale_at: int


class Absent(Struct, frozen=True, tag="absent"):
    """There is none: the vendor says so, or no vendor serves that kind. Believed for `seconds`."""

    seconds: float


class Later(Struct, frozen=True, tag="later"):
    """Not known yet; worth asking again after `seconds`."""

    seconds: float


Answer = Held | Absent | Later


class Reply(Struct, frozen=True):
    """Reference name (`<kind>/<key>`) → answer. What did not fit into the message is left out."""

    answers: dict[str, Answer]


_encoder: Final = msgspec.msgpack.Encoder()
_asks: Final = msgspec.msgpack.Decoder(Ask)
_replies: Final = msgspec.msgpack.Decoder(Reply)


def name_of(ref: EndorsementRef) -> str:
    """Name under which collateral is kept: kind and key, whatever item it is for."""
    return f"{ref.kind}/{ref.key}"


def vendor_of(kind: EndorsementKind) -> str:
    """First word of a kind: whose it is. A label of metrics, so never of more values than there are kinds."""
    return kind.partition("-")[0]


def encode_ask(ask: Ask) -> bytes:
    """A request."""
    return _encoder.encode(ask)


def decode_ask(data: bytes) -> Ask | None:
    """A request, or None if it is none."""
    try:
        return _asks.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


def encode_reply(answers: Mapping[str, Answer], limit: int) -> bytes:
    """Answers of up to `limit` bytes of documents; the others must be asked for again."""
    fitting: dict[str, Answer] = {}
    for name, answer in answers.items():
        limit -= sum(map(len, answer.documents)) if isinstance(answer, Held) else 0
        if limit < 0:
            break
        fitting[name] = answer
    return _encoder.encode(Reply(fitting))


def decode_reply(data: bytes) -> Reply:
    """Answers. Raises Unavailable if they cannot be read: the worker is of another version, and may be the next try."""
    try:
        return _replies.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Unavailable(f"answer on collateral: {str(error)[:80]}") from None
