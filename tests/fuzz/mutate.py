"""Structure-aware mutation: a tree is altered as a tree, a leaf by the format it holds, anything else as bytes."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, Final, NamedTuple

from fuzz.case import MAX_ITEM, Case
from fuzz.formats import FORMATS, Format, Pairs, Tree, Verbatim

MAX_DEPTH: Final = 6
_ROUNDS: Final = (1, 1, 1, 2, 3, 6)
_REPEATS: Final = (2, 8, 64, 5000)
_EDGES: Final = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 63, (1 << 64) - 1)
_ODD: Final[Sequence[Any]] = (
    None, True, False, 0, -1, 1.5, 1e308, float("inf"), float("nan"), 1 << 31, 1 << 63, 1 << 64, -(1 << 64), 10**400,
    "", "0", "\0", "\ud800", "é" * 300, "x" * 70_000, b"", b"\0", b"\xff" * 64, [], Pairs(), Pairs([["", None]]),
    *(Verbatim(one * 20_000) for one in (b"[", b'{"":', b"\x81", b"\xa1\0", b"\xd9\xd9\xf7", b"\x30\x80", b"<a>")),
    Verbatim(b'"' + b'\\"' * 20_000),
    *map(Verbatim, (b"1" * 5000, b"1e999", b"[" * 900 + b"]" * 900, b"\x81" * 900 + b"\0", b"\x9f\xff", b"\xc2\x40")),
)  # fmt: skip
"""Values of other types and at the edges of their own, and what recursive or lenient readers trip over."""


def mutate(rng: Random, case: Case, other: Case) -> Case:
    """The case with one or more items altered; `other` lends whole items."""
    items = dict(case.items)
    for _ in range(rng.choice(_ROUNDS)):
        name = rng.choice([*items] or [""])
        chance = rng.random()
        if chance < 0.03:
            items.pop(name, None)
        elif chance < 0.06:
            items[name] = other.items.get(name, b"")
        else:
            items[name] = mutate_bytes(rng, items.get(name, b""))[:MAX_ITEM]
    return Case(items, case.given)


def mutate_bytes(rng: Random, data: bytes, depth: int = 0) -> bytes:
    """The bytes altered: mostly within the format that they are of."""
    if depth < MAX_DEPTH and rng.random() < 0.8:
        for form in FORMATS:
            tree = form.read(data)
            if isinstance(tree, list):
                return _mutate_tree(rng, data, tree, form, depth)
    return _havoc(rng, bytearray(data))


def _mutate_tree(rng: Random, data: bytes, tree: Tree, form: Format, depth: int) -> bytes:
    try:
        _alter(rng, tree, depth)
        return form.write(tree)
    except RecursionError:  # an earlier mutation has nested it too deep for this one
        return _havoc(rng, bytearray(data))


def _alter(rng: Random, tree: Tree, depth: int) -> None:
    """Alter one place of the tree."""
    places = list(_places(tree))
    if not places:
        tree.append(["", None] if isinstance(tree, Pairs) else b"")
        return
    place = rng.choice(places)
    chance = rng.random()
    if chance < 0.08:
        del place.holder[place.at]
    elif chance < 0.16:
        place.holder.insert(rng.randrange(len(place.holder) + 1), _copied(place.holder[place.at]))
    elif chance < 0.22:
        place.put(_copied(rng.choice(places).value))
    elif chance < 0.26 and isinstance(place.holder, Pairs):
        member = place.holder[place.at]
        member[0] = _altered(rng, member[0], depth)
    else:
        place.put(_altered(rng, place.value, depth))


class _Place(NamedTuple):
    """Where something stands in a tree: an element of a list, or the value of a member of Pairs."""

    holder: list[Any]
    at: int

    @property
    def value(self) -> Tree:
        """What stands there."""
        return self.holder[self.at][1] if isinstance(self.holder, Pairs) else self.holder[self.at]

    def put(self, value: Tree) -> None:
        """Have something else stand there."""
        if isinstance(self.holder, Pairs):
            self.holder[self.at][1] = value
        else:
            self.holder[self.at] = value


def _places(tree: Tree) -> Iterator[_Place]:
    pending = [tree]
    while pending:
        holder = pending.pop()
        for index in range(len(holder)):
            place = _Place(holder, index)
            yield place
            if isinstance(place.value, list):
                pending.append(place.value)


def _copied(tree: Tree) -> Tree:
    return type(tree)(map(_copied, tree)) if isinstance(tree, list) else tree


def _altered(rng: Random, value: Tree, depth: int) -> Tree:
    chance = rng.random()
    if chance < 0.12:
        return _copied(rng.choice(_ODD))
    if isinstance(value, bytes):
        return mutate_bytes(rng, value, depth + 1)
    if isinstance(value, str):
        return mutate_bytes(rng, value.encode("utf-8", "surrogatepass"), depth + 1).decode("utf-8", "surrogateescape")
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return rng.choice((value + 1, value - 1, -value, value ^ 1 << rng.randrange(64), rng.choice(_EDGES)))
    return value


def _havoc(rng: Random, data: bytearray) -> bytes:
    """Alter bytes that have no form, or as if they had none."""
    for _ in range(rng.choice(_ROUNDS)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 2, 4, 16, 256)))
        chance = rng.randrange(9)
        if chance < 2 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif chance == 2:
            data[at : at + 1] = bytes((rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256))),))
        elif chance < 5:
            _put_number(rng, data, at)
        elif chance == 5:
            del data[at:end]
        elif chance == 6:
            data[at:at] = bytes(data[at:end]) * rng.choice(_REPEATS)
        elif chance == 7:
            data[at:at] = rng.randbytes(rng.choice((1, 4, 64)))
        else:
            del data[at:]
    return bytes(data)


def _put_number(rng: Random, data: bytearray, at: int) -> None:
    """Put a number where a length may stand: near what stands there, or at an edge."""
    size = rng.choice((1, 2, 3, 4, 8))
    turn = rng.choice((1, -1))  # big-endian, or little-endian as the same bytes backwards
    found = int.from_bytes(data[at : at + size][::turn])
    number = rng.choice((found + 1, found - 1, found * 2, len(data), len(data) - at, rng.choice(_EDGES)))
    data[at : at + size] = (number % (1 << 8 * size)).to_bytes(size)[::turn]
