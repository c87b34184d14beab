import hashlib
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from attest_pipeline.collateral.budget import Budget, Rate
from attest_pipeline.collateral.cache import Bounded
from attest_pipeline.collateral.exchange import (
    MAX_REFS,
    Absent,
    Answer,
    Ask,
    Held,
    Later,
    decode_ask,
    decode_reply,
    encode_ask,
    encode_reply,
    name_of,
)
from attest_pipeline.collateral.records import (
    DAY,
    FOREVER,
    WEEK,
    Lifetime,
    Record,
    due_at,
    is_usable,
    rolls_back,
    stale_at,
)
from attest_pipeline.errors import Unavailable
from attest_pipeline.model import EndorsementKind, EndorsementRef

NOW = 1_795_000_000
LIFETIME = Lifetime(refresh_after=DAY, stale_after=WEEK)


def record(**changes: object) -> Record:
    made = Record(
        name="amd-crl/milan",
        documents=(b"crl",),
        source="amd",
        fetched_at=NOW,
        valid_from=NOW - DAY,
        valid_until=NOW + 30 * DAY,
        sequence=(4, 9),
    )
    return replace(made, **changes)


# ── ageing ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_record_is_due_before_it_is_stale_and_stale_before_it_ends() -> None:
    one = record()
    assert NOW + 0.9 * DAY <= due_at(one, LIFETIME) <= NOW + DAY
    assert stale_at(one, LIFETIME) == NOW + WEEK
    assert is_usable(one, NOW + 30 * DAY - 1)
    assert not is_usable(one, NOW + 30 * DAY)


def test_a_record_that_ends_soon_is_due_before_its_last_fourth() -> None:
    assert due_at(record(valid_until=NOW + 3600), LIFETIME) == NOW + 2700


def test_a_certificate_of_years_is_due_a_week_before_its_end() -> None:
    ageless = Lifetime(refresh_after=FOREVER, stale_after=FOREVER)
    end = NOW + 7 * 365 * DAY
    assert due_at(record(valid_until=end), ageless) == end - WEEK


def test_records_of_one_moment_are_due_at_different_moments() -> None:
    due = {due_at(record(name=f"amd-crl/product{number}"), LIFETIME) for number in range(50)}
    assert len(due) > 40


@pytest.mark.parametrize(
    ("sequence", "back"), [((4, 9), False), ((5, 9), False), ((4, 8), True), ((5, 8), True), ((3, 10), True)]
)
def test_a_part_of_an_earlier_version_is_a_roll_back(sequence: tuple[int, ...], back: bool) -> None:  # noqa: FBT001 - a table
    assert rolls_back(record(sequence=sequence), record()) is back


def test_the_first_of_its_name_rolls_nothing_back() -> None:
    assert not rolls_back(record(), None)
    assert not rolls_back(record(sequence=()), record())


def test_a_record_names_its_documents_by_digest() -> None:
    assert record().digests == (hashlib.sha256(b"crl").hexdigest(),)
    assert record().size == 3


# ── bounds ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def bounded(max_count: int, max_bytes: int) -> Bounded[bytes]:
    return Bounded(len, max_count=max_count, max_bytes=max_bytes)


def test_what_was_used_least_recently_goes_first() -> None:
    cache = bounded(2, 100)
    cache.put("a", b"1")
    cache.put("b", b"2")
    assert cache.get("a") == b"1"
    assert cache.put("c", b"3") == ["b"]
    assert list(cache) == [b"1", b"3"]


def test_a_look_is_no_use() -> None:
    cache = bounded(2, 100)
    cache.put("a", b"1")
    cache.put("b", b"2")
    assert cache.peek("a") == b"1"
    assert cache.put("c", b"3") == ["a"]


def test_what_is_larger_than_the_whole_is_not_held() -> None:
    cache = bounded(9, 4)
    cache.put("small", b"1")
    assert set(cache.put("large", b"12345")) == {"small", "large"}
    assert len(cache) == cache.bytes == 0


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.binary(max_size=6))))
def test_the_bounds_hold_whatever_is_put(puts: Sequence[tuple[str, bytes]]) -> None:
    cache = bounded(3, 10)
    for name, value in puts:
        cache.put(name, value)
        assert len(cache) <= 3
        assert cache.bytes == sum(map(len, cache)) <= 10


# ── budgets ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_burst_goes_at_once_and_then_one_each_interval() -> None:
    budget = Budget(Rate(interval=10.0, burst=2))
    for _ in range(2):
        assert budget.wait(100.0) == 0.0
        budget.spend(100.0)
    assert budget.wait(100.0) == pytest.approx(10.0)
    assert budget.wait(104.0) == pytest.approx(6.0)
    assert budget.wait(110.0) == 0.0


def test_a_budget_never_grants_more_than_its_rate() -> None:
    budget, now, gone = Budget(Rate(interval=10.0, burst=3)), 0.0, 0
    while now < 1000.0:
        now += budget.wait(now)
        budget.spend(now)
        gone += 1
    assert gone <= 3 + 1000 / 10 + 1


def test_a_clock_that_is_set_back_grants_no_more_and_stops_nobody() -> None:
    budget, year = Budget(Rate(interval=10.0)), 31_536_000.0
    budget.spend(2 * year)
    assert budget.wait(year) == 10.0
    assert budget.wait(year + 10.0) == 0.0


def test_a_vendor_that_asks_for_silence_gets_it() -> None:
    budget = Budget(Rate(interval=1.0, burst=5))
    budget.pause(50.0)
    budget.pause(40.0)
    assert budget.wait(20.0) == pytest.approx(30.0)
    assert budget.wait(50.0) == 0.0


def test_the_estimate_counts_who_waits_before() -> None:
    budget = Budget(Rate(interval=10.0))
    budget.spend(0.0)
    assert budget.estimate(0.0, 3) == pytest.approx(40.0)


def test_a_clock_that_steps_back_grants_nothing() -> None:
    budget = Budget(Rate(interval=10.0))
    budget.spend(100.0)
    assert budget.wait(0.0) == pytest.approx(10.0)


# ── the exchange ──────────────────────────────────────────────────────────────────────────────────────────────────────
REF = EndorsementRef(item="crl", kind=EndorsementKind.AMD_CRL, key="milan")
HELD = Held(documents=(b"12345",), valid_from=1, valid_until=2, stale_at=3)


def test_a_request_and_its_reply_survive_the_way() -> None:
    ask = Ask((REF,), 1.5)
    assert decode_ask(encode_ask(ask)) == ask
    answers: dict[str, Answer] = {name_of(REF): HELD, "amd-crl/genoa": Later(3.0), "amd-crl/turin": Absent(9.0)}
    assert decode_reply(encode_reply(answers, 100)).answers == answers


def test_documents_that_do_not_fit_are_left_out_of_the_reply() -> None:
    answers = {str(number): HELD for number in range(5)}
    assert list(decode_reply(encode_reply(answers, 12)).answers) == ["0", "1"]


@pytest.mark.parametrize("data", [b"", b"\xc1", msgspec.msgpack.encode({"refs": 1}), b"\x81\xa1" + b"\xff"])
def test_what_is_no_request_is_none(data: bytes) -> None:
    assert decode_ask(data) is None
    with pytest.raises(Unavailable):
        decode_reply(data)


def test_a_request_for_too_much_or_with_too_much_patience_is_none() -> None:
    assert decode_ask(encode_ask(Ask((REF,) * (MAX_REFS + 1)))) is None
    assert decode_ask(encode_ask(Ask((REF,), 11.0))) is None
