"""The formats of Evidence as trees that can be cut, doubled and put together again, rightly or not.

A tree is made of `Pairs` (maps with any key any number of times, and DER elements by tag), lists, and leaves. Writers
take whatever tree they are given: what no encoder would write is what a parser has to meet.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sized
from typing import Any, Final, NamedTuple

import cbor2
import msgspec

from attest_pipeline.verifiers._shared.der import elements

Tree = Any
"""A leaf is a text, bytes, a number, a truth value or None."""


class Pairs(list[list[Any]]):
    """Members `[key, value]` in their order."""


class Tag(list[Any]):
    """A CBOR tag: `[number, content]`."""


class Verbatim(bytes):
    """Bytes that every writer puts down as they are."""

    __slots__ = ()


class Format(NamedTuple):
    """`read` gives a list or Pairs; anything else, if the bytes are not of this format or hold a leaf alone."""

    read: Callable[[bytes], Tree | None]
    write: Callable[[Tree], bytes]


# ── JSON ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _read_json(data: bytes) -> Tree | None:
    if data.lstrip()[:1] not in (b"{", b"["):
        return None
    try:
        return json.loads(data, object_pairs_hook=lambda members: Pairs(map(list, members)))
    except (ValueError, RecursionError):
        return None


def _write_json(tree: Tree) -> bytes:
    return _json_text(tree).encode("utf-8", "surrogatepass")


def _json_text(tree: Tree) -> str:
    if isinstance(tree, Pairs):
        return "{" + ",".join(f"{_json_text(str(key))}:{_json_text(value)}" for key, value in tree) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(map(_json_text, tree)) + "]"
    if isinstance(tree, bytes):
        text = tree.decode("latin-1")
        return text if isinstance(tree, Verbatim) else json.dumps(text)
    return json.dumps(tree, ensure_ascii=False)


# ── CBOR ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _read_cbor(data: bytes) -> Tree | None:
    if not data or data[0] >> 5 not in (4, 5, 6):  # array, map, tag: a leaf is as good as any bytes
        return None
    try:
        return _cbor_tree(cbor2.loads(data))
    except (cbor2.CBORError, ValueError, TypeError, RecursionError):
        return None


def _cbor_tree(item: object) -> Tree:
    if isinstance(item, cbor2.CBORTag):
        return Tag([item.tag, _cbor_tree(item.value)])
    if isinstance(item, Mapping):
        return Pairs([key, _cbor_tree(value)] for key, value in item.items())
    return list(map(_cbor_tree, item)) if isinstance(item, list | tuple) else item


def _write_cbor(tree: Tree) -> bytes:
    if isinstance(tree, Tag) and len(tree) == 2 and isinstance(tree[0], int):
        return _cbor_head(6, abs(tree[0])) + _write_cbor(tree[1])
    if isinstance(tree, Pairs):
        return _cbor_head(5, len(tree)) + b"".join(_write_cbor(key) + _write_cbor(value) for key, value in tree)
    if isinstance(tree, list):
        return _cbor_head(4, len(tree)) + b"".join(map(_write_cbor, tree))
    if isinstance(tree, Verbatim):
        return tree
    return cbor2.dumps(tree.encode("utf-8", "replace").decode() if isinstance(tree, str) else tree)


def _cbor_head(major: int, count: int) -> bytes:
    return bytes((major << 5 | cbor2.dumps(count % 2**64)[0],)) + cbor2.dumps(count % 2**64)[1:]


# ── MessagePack ───────────────────────────────────────────────────────────────────────────────────────────────────────
def _read_msgpack(data: bytes) -> Tree | None:
    if not data or not (0x80 <= data[0] < 0xA0 or 0xDC <= data[0] <= 0xDF):  # map or array
        return None
    try:
        return _msgpack_tree(msgspec.msgpack.decode(data))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, TypeError):
        return None


def _msgpack_tree(item: object) -> Tree:
    if isinstance(item, dict):
        return Pairs([key, _msgpack_tree(value)] for key, value in item.items())
    return list(map(_msgpack_tree, item)) if isinstance(item, list) else item


def _write_msgpack(tree: Tree) -> bytes:
    if isinstance(tree, Pairs):
        return b"\xdf" + _count(tree) + b"".join(_write_msgpack(key) + _write_msgpack(value) for key, value in tree)
    if isinstance(tree, list):
        return b"\xdd" + _count(tree) + b"".join(map(_write_msgpack, tree))
    if isinstance(tree, Verbatim):
        return tree
    if isinstance(tree, str):
        text = tree.encode("utf-8", "surrogatepass")
        return b"\xdb" + _count(text) + text
    return msgspec.msgpack.encode(tree % (1 << 64) if type(tree) is int and abs(tree) >> 63 else tree)


def _count(content: Sized) -> bytes:
    return len(content).to_bytes(4)


# ── DER and PEM ───────────────────────────────────────────────────────────────────────────────────────────────────────
_CONSTRUCTED: Final = 0x20
_MAX_DEPTH: Final = 20


def _read_der(data: bytes) -> Tree | None:
    if data[:1] != b"\x30":
        return None
    try:
        return _der_tree(data)
    except (ValueError, IndexError):
        return None


def _der_tree(data: bytes, depth: int = 0) -> Pairs:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deep")
    return Pairs(
        [tag, _der_tree(content, depth + 1) if tag & _CONSTRUCTED else content] for tag, content, _ in elements(data)
    )


def _write_der(tree: Tree) -> bytes:
    if isinstance(tree, Pairs):
        return b"".join(der(key & 0xFF if isinstance(key, int) else 0x0C, _write_der(value)) for key, value in tree)
    if isinstance(tree, list):
        return b"".join(map(_write_der, tree))
    return _as_bytes(tree)


def der(tag: int, content: bytes) -> bytes:
    """A DER element."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content


def _as_bytes(leaf: object) -> bytes:
    if isinstance(leaf, bytes):
        return leaf
    if isinstance(leaf, int):
        return leaf.to_bytes((leaf.bit_length() + 8) // 8, signed=True)
    return str(leaf).encode("utf-8", "surrogatepass")


_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----([A-Za-z0-9+/=\s]+)-----END [A-Z0-9 ]+-----\s*")


def _read_pem(data: bytes) -> Tree | None:
    blocks = _PEM.findall(data) if data.lstrip().startswith(b"-----BEGIN") else []
    try:
        return Pairs([label.decode(), binascii.a2b_base64(body)] for label, body in blocks) or None
    except ValueError:
        return None


def _write_pem(tree: Tree) -> bytes:
    return b"".join(_pem_block(_as_bytes(label), _write_der(content)) for label, content in tree)


def _pem_block(label: bytes, content: bytes) -> bytes:
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label, base64.encodebytes(content), label)


# ── text ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
_HEX: Final = re.compile(rb"([0-9a-fA-F]{2}){4,}")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{12,}=*")
_BASE64URL: Final = re.compile(rb"[A-Za-z0-9_-]{12,}=*")
_MARKUP: Final = re.compile(r"(<[^<>]*>)")


def _read_hex(data: bytes) -> Tree | None:
    return [bytes.fromhex(data.decode())] if _HEX.fullmatch(data) else None


def _read_base64(data: bytes) -> Tree | None:
    return [binascii.a2b_base64(data)] if _BASE64.fullmatch(data) and len(data) % 4 == 0 else None


def _read_base64url(data: bytes) -> Tree | None:
    fits = _BASE64URL.fullmatch(data) and len(data.rstrip(b"=")) % 4 != 1
    return [base64.urlsafe_b64decode(data.rstrip(b"=") + b"===")] if fits else None


def _read_jws(data: bytes) -> Tree | None:
    parts = list(map(_read_base64url, data.split(b".")))
    return [part[0] for part in parts if part] if len(parts) == 3 and all(parts) else None


def _read_markup(data: bytes) -> Tree | None:
    return _MARKUP.split(data.decode()) if data.startswith(b"<") and data.isascii() else None


def _read_lines(data: bytes) -> Tree | None:
    lines = data.split(b"\n")
    return [line + b"\n" for line in lines] if len(lines) > 2 and data.isascii() else None


def _base64url(tree: Tree) -> bytes:
    return base64.urlsafe_b64encode(_write_der(tree)).rstrip(b"=")


FORMATS: Final = (
    Format(_read_json, _write_json),
    Format(_read_pem, _write_pem),
    Format(_read_der, _write_der),
    Format(_read_msgpack, _write_msgpack),
    Format(_read_cbor, _write_cbor),
    Format(_read_jws, lambda tree: b".".join(map(_base64url, tree))),
    Format(_read_hex, lambda tree: _write_der(tree).hex().encode()),
    Format(_read_base64url, _base64url),
    Format(_read_base64, lambda tree: base64.b64encode(_write_der(tree))),
    Format(_read_markup, _write_der),
    Format(_read_lines, _write_der),
)
"""In the order in which they are tried: what is more particular comes first."""
