"""A reader that knows again what it has read gives nothing but what reading anew would give."""

from collections.abc import Sequence
from typing import NamedTuple

import cbor2
import pytest

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared import cbor, recurring
from attest_pipeline.verifiers._shared.recurring import Latest, Recurring


class Letter(NamedTuple):
    """A nonce, a text, and a signature."""

    nonce: bytes
    text: str
    signature: bytes


class Reader:
    """Reads letters in CBOR, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.recurring = Recurring(self._read, lambda letter: (letter.nonce, letter.signature), self._renewed)

    def _read(self, data: bytes) -> Letter:
        self.asked += 1
        match cbor.decode(data):
            case (bytes(nonce), str(text), bytes(signature)):
                return Letter(nonce, text, signature)
        pytest.fail("no letter")

    @staticmethod
    def _renewed(letter: Letter, fields: Sequence[bytes]) -> Letter | None:
        nonce, signature = fields
        return None if signature == bytes(32) else Letter(nonce, letter.text, signature)


@pytest.fixture
def reader() -> Reader:
    """A reader that has read one letter."""
    made = Reader()
    made.recurring(written())
    return made


def written(nonce: bytes = b"n" * 32, text: str = "text", signature: bytes = b"s" * 32) -> bytes:
    """A letter as it travels."""
    return cbor2.dumps([nonce, text, signature])


def test_that_only_the_fields_differ_is_seen_without_reading(reader: Reader) -> None:
    for number in range(3):
        nonce, signature = bytes([number]) * 32, bytes([number + 100]) * 32
        assert reader.recurring(written(nonce, "text", signature)) == Letter(nonce, "text", signature)
    assert reader.asked == 1


@pytest.mark.parametrize(
    "data",
    [
        written(text="test"),
        written(text="text!"),
        written(nonce=b"n" * 33),
        written(nonce=b"n" * 40, signature=b"s" * 24),
        written(nonce=b"n" * 31, text="text!"),
    ],
    ids=["other text", "longer", "longer field", "the same length in other parts", "shifted"],
)
def test_what_differs_in_anything_else_is_read(reader: Reader, data: bytes) -> None:
    expected = Letter(*cbor2.loads(data))
    assert reader.recurring(data) == expected
    assert reader.asked == 2
    assert reader.recurring(data) == expected


def test_every_altered_byte_is_read_as_if_it_were_the_first(reader: Reader) -> None:
    whole = written()
    fresh = Reader()
    for place in range(len(whole)):
        altered = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        assert outcome(reader, altered) == outcome(fresh, altered, anew=True)


def outcome(reader: Reader, data: bytes, *, anew: bool = False) -> object:
    """The letter, or how it was refused."""
    try:
        return reader._read(data) if anew else reader.recurring(data)
    except (BadEvidence, pytest.fail.Exception) as error:
        return str(error)


def test_fields_are_found_in_whatever_order_they_are_named() -> None:
    both = Recurring(
        bytes, lambda value: (value[40:60], value[10:30]), lambda value, fields: value[:0] + b"".join(fields)
    )
    both(bytes(range(70)))
    assert (
        both(bytes(range(10)) + b"a" * 20 + bytes(range(30, 40)) + b"b" * 20 + bytes(range(60, 70)))
        == b"b" * 20 + b"a" * 20
    )


@pytest.mark.parametrize(
    "data",
    [
        written(nonce=b"n" * 11),
        written(nonce=b"s" * 32),
        written(nonce=b"n" * 16, text="n" * 16),
        written(nonce=b"\x20" * 32),
    ],
    ids=["a short field", "equal fields", "a field that stands twice", "a field that begins like its length"],
)
def test_fields_whose_place_cannot_be_told_are_not_remembered(data: bytes) -> None:
    reader = Reader()
    for asked in (1, 2):
        reader.recurring(bytes(bytearray(data)))
        assert reader.asked == asked


def test_no_forged_letter_shifts_the_fields_of_a_genuine_one() -> None:
    reader, nonce = Reader(), bytes(range(31)) + b"\x20"
    reader.recurring(written(nonce=b"\x20" * 32))  # 0x20 is also what stands before it: its length
    assert reader.recurring(written(nonce=nonce)).nonce == nonce


def test_what_cannot_be_renewed_is_read(reader: Reader) -> None:
    assert reader.recurring(written(signature=bytes(32))).signature == bytes(32)
    assert reader.asked == 2


def test_the_very_bytes_that_were_read_last_are_not_looked_at_again() -> None:
    reader, data, failing = Reader(), written(nonce=b"n" * 15), b"no letter"
    assert reader.recurring(data) is reader.recurring(data)
    with pytest.raises(BadEvidence):
        reader.recurring(failing)
    assert reader.recurring(written(nonce=b"m" * 15)).nonce == b"m" * 15
    with pytest.raises(BadEvidence):
        reader.recurring(failing)
    assert reader.recurring(data).nonce == b"n" * 15


@pytest.mark.parametrize(("limit", "value"), [("_KEPT", 10), ("_KEPT_BYTES", 10 * len(written()))])
def test_memory_is_bounded_in_number_and_in_bytes(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(recurring, limit, value)
    reader = Reader()
    for number in range(300):
        reader.recurring(written(text=f"{number:04}"))
        assert len(reader.recurring._layouts[len(written())].known) <= 10


def test_a_full_memory_goes_on_to_serve_those_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader()
    monkeypatch.setattr(recurring, "_KEPT", 10)
    for _ in range(5):  # a fleet of twice its size takes turns
        for number in range(20):
            reader.recurring(written(text=f"{number:04}"))
    assert reader.asked == 20 + 4 * 10


def test_a_full_memory_takes_up_another_fleet_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader()
    monkeypatch.setattr(recurring, "_KEPT", 10)
    for number in range(10):
        reader.recurring(written(text=f"{number:04}"))
    for turn in range(20):
        asked = reader.asked
        for number in range(10, 20):
            reader.recurring(written(text=f"{number:04}", nonce=bytes([turn]) * 32))
    assert reader.asked == asked


class Maker:
    """Makes a list of the parts that it is given, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.latest = Latest(self._make)

    def _make(self, *parts: bytes | None) -> list[bytes | None]:
        self.asked += 1
        if parts == (b"bad",):
            raise BadEvidence(Reason.MALFORMED, "bad")
        return list(parts)


def test_the_parts_that_a_device_sends_again_are_compared_and_not_made_anew() -> None:
    maker = Maker()
    for _ in range(3):
        assert maker.latest("one", b"log" * 9, None) == [b"log" * 9, None]
    assert maker.asked == 1
    for parts in ((b"log" * 8, None), (b"log" * 9, b""), (b"log" * 9,), (None, b"log" * 9)):
        assert maker.latest("one", *parts) == list(parts)
    assert maker.asked == 5
    assert maker.latest("one", b"log" * 9, None) == [b"log" * 9, None]
    assert maker.asked == 5


def test_devices_that_send_equal_parts_share_what_was_made_of_them() -> None:
    maker = Maker()
    assert maker.latest("one", b"log") is maker.latest("two", b"log")
    assert maker.latest("two", b"other") is not maker.latest("one", b"log")
    assert maker.asked == 2


def test_what_was_refused_is_refused_again() -> None:
    maker = Maker()
    maker.latest("one", b"log")
    for _ in range(2):
        with pytest.raises(BadEvidence):
            maker.latest("one", b"bad")
    assert maker.asked == 3


def test_what_is_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = Maker()
    monkeypatch.setattr(recurring, "_LARGEST", 100)
    for _ in range(2):
        maker.latest("one", b"x" * 60, b"y" * 41)
    assert maker.asked == 2
    assert not maker.latest._of


@pytest.mark.parametrize(("limit", "value"), [("_KEPT", 10), ("_PARTS_BYTES", 100)])
def test_memory_of_parts_is_bounded_in_number_and_in_bytes(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(recurring, limit, value)
    maker = Maker()
    for turn in range(30):
        for number in range(20):
            assert maker.latest(number, b"%010d" % number) == [b"%010d" % number]
            assert len(maker.latest._equal) <= 10
        assert turn or maker.asked == 20
    assert maker.asked < 20 * 30 - 9 * 10  # those that it knows go on to be served


def test_devices_are_forgotten_before_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = Maker()
    monkeypatch.setattr(recurring, "_KEPT", 10)
    for number in range(100):
        maker.latest(number, b"the same")
        assert len(maker.latest._of) <= 10
    assert maker.asked == 1


def test_what_is_forgotten_is_made_anew() -> None:
    maker = Maker()
    maker.latest("one", b"log")
    maker.latest.forget()
    maker.latest("one", b"log")
    assert maker.asked == 2
