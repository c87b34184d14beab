"""Matching: a Reference Value Set matches as a whole or not at all."""

import msgspec
import pytest
import token_lab as lab
from hypothesis import given
from hypothesis import strategies as st

from attest_pipeline.matching import NO_MATCH, ReferenceValues, listed_logs
from attest_pipeline.model import (
    AllowList,
    EventLog,
    FieldValue,
    LoggedEvent,
    LogName,
    Match,
    Mismatch,
    ReferenceValueSet,
)

Values = dict[str, tuple[FieldValue, ...]]


def reference(values: Values, name: str = "web", version: str = "1", tee: str = "tdx") -> ReferenceValueSet:
    return ReferenceValueSet(name=name, version=version, tee=tee, values=values)


def match(fields: dict[str, FieldValue], *sets: ReferenceValueSet, tee: str = "tdx") -> Match:
    return ReferenceValues(sets).match(msgspec.structs.replace(lab.CLAIMS, tee=tee, fields=fields))


def test_a_set_matches_if_every_claim_has_an_allowed_value() -> None:
    found = match({"mrtd": "a", "rtmr0": "c", "more": 1}, reference({"mrtd": ("a",), "rtmr0": ("b", "c")}))
    assert found == Match(matched=True, set="web", version="1")


@pytest.mark.parametrize("fields", [{"mrtd": "a", "rtmr0": "x"}, {"mrtd": "a"}, {"rtmr0": "b"}, {}])
def test_one_claim_that_differs_or_is_absent_fails_the_set(fields: dict[str, FieldValue]) -> None:
    assert not match(fields, reference({"mrtd": ("a",), "rtmr0": ("b",)})).matched


def test_values_of_two_versions_never_combine() -> None:
    old = reference({"mrtd": ("a",), "rtmr0": ("b",)}, version="1")
    new = reference({"mrtd": ("A",), "rtmr0": ("B",)}, version="2")
    assert match({"mrtd": "a", "rtmr0": "b"}, old, new).version == "1"
    assert match({"mrtd": "A", "rtmr0": "B"}, old, new).version == "2"
    mixed = match({"mrtd": "a", "rtmr0": "B"}, old, new)
    assert (mixed.matched, mixed.version, mixed.mismatches) == (False, "1", (Mismatch("rtmr0", ("b",), "B"),))


def test_values_of_two_sets_never_combine() -> None:
    one = reference({"mrtd": ("a",), "rtmr0": ("b",)}, "one")
    two = reference({"mrtd": ("a",), "rtmr0": ("c",), "rtmr1": ("d",)}, "two")
    assert not match({"mrtd": "a", "rtmr0": "c", "rtmr1": "x"}, one, two).matched


@pytest.mark.parametrize(
    ("got", "allowed"), [(True, 1), (1, True), (False, 0), (0, False), ("1", 1), (1, "1"), ("true", True)]
)
def test_a_value_of_another_type_is_another_value(got: FieldValue, allowed: FieldValue) -> None:
    assert not match({"first": "x", "debug": got}, reference({"first": ("x",), "debug": (allowed,)})).matched
    assert not match({"debug": got}, reference({"debug": (allowed,)})).matched
    assert match({"debug": allowed}, reference({"debug": (allowed,)})).matched


def test_null_is_never_allowed_even_if_it_is_listed() -> None:
    listed = reference({"debug": (None,), "mrtd": ("a",)})
    assert not match({"debug": None, "mrtd": "a"}, listed).matched
    assert not match({"mrtd": "a"}, listed).matched


def test_a_set_without_values_never_matches() -> None:
    assert match({"mrtd": "a"}, reference({})) == NO_MATCH
    assert not match({"mrtd": "a"}, reference({"mrtd": ()})).matched


def test_a_set_of_another_tee_is_not_looked_at() -> None:
    assert match({"mrtd": "a"}, reference({"mrtd": ("a",)}, tee="sgx")) == NO_MATCH


def test_without_sets_nothing_matches() -> None:
    assert match({"mrtd": "a"}) == NO_MATCH


def test_the_earlier_of_two_that_match_is_named() -> None:
    assert match({"mrtd": "a"}, reference({"mrtd": ("a",)}, "one"), reference({"mrtd": ("a",)}, "two")).set == "one"


def test_a_mismatch_names_the_first_of_many_allowed_values() -> None:
    found = match({"mrtd": "x"}, reference({"mrtd": tuple(str(number) for number in range(5000))}))
    assert found.mismatches == (Mismatch("mrtd", ("0", "1", "2", "3", "4", "5", "6", "7"), "x"),)


def test_every_mismatch_against_the_closest_set_is_told() -> None:
    far = reference({"mrtd": ("a",), "rtmr0": ("1",), "rtmr1": ("2",)}, "far")
    near = reference({"mrtd": ("a",), "rtmr0": ("b",), "rtmr1": ("2",)}, "near")
    found = match({"mrtd": "a", "rtmr0": "b", "rtmr1": "x"}, far, near)
    assert (found.set, found.mismatches) == ("near", (Mismatch("rtmr1", ("2",), "x"),))


def test_sets_that_begin_with_different_claims_are_all_found() -> None:
    by_signer = reference({"mrsigner": ("s",), "isvsvn": (2, 3)}, "by-signer")
    by_image = reference({"mrtd": ("a",)}, "by-image")
    assert match({"mrsigner": "s", "isvsvn": 3}, by_image, by_signer).set == "by-signer"
    assert match({"mrtd": "a"}, by_signer, by_image).set == "by-image"


def test_where_no_set_comes_near_the_first_one_shows_what_was_expected() -> None:
    found = match({"mrtd": "x"}, reference({"mrtd": ("a", "b")}), reference({"mrtd": ("c",)}, "other"))
    assert found == Match(matched=False, set="web", version="1", mismatches=(Mismatch("mrtd", ("a", "b"), "x"),))


VALUES = st.one_of(st.booleans(), st.integers(0, 2), st.sampled_from("abc"), st.none())
FIELDS = st.dictionaries(st.sampled_from(["f", "g", "h"]), VALUES)
SETS = st.lists(st.dictionaries(st.sampled_from(["f", "g", "h"]), st.lists(VALUES, max_size=2).map(tuple)), max_size=4)


@given(FIELDS, SETS)
def test_the_index_finds_exactly_the_first_set_that_matches_whole(
    fields: dict[str, FieldValue], values: list[Values]
) -> None:
    def same(got: FieldValue, allowed: FieldValue) -> bool:
        return got is not None and type(got) is type(allowed) and got == allowed

    whole = [
        number
        for number, wanted in enumerate(values)
        if wanted and all(any(same(fields.get(name), one) for one in allowed) for name, allowed in wanted.items())
    ]
    found = match(fields, *(reference(wanted, str(number)) for number, wanted in enumerate(values)))
    assert found.matched == bool(whole)
    assert not found.matched or int(found.set or "") in whole


# ── measurement logs ──────────────────────────────────────────────────────────────────────────────────────────────────
def event(digest: str, text: str = "/usr/bin/cat", register: int = 10, *, proven: bool = True) -> LoggedEvent:
    return LoggedEvent(register, "ima-ng", digest, text, proven)


def match_log(
    *events: LoggedEvent,
    digests: tuple[str, ...] = ("aa", "bb"),
    registers: tuple[int, ...] = (10,),
    explained: tuple[int, ...] = (10,),
    name: LogName = LogName.IMA,
) -> Match:
    wanted = AllowList(registers=registers, digests=digests)
    baseline = msgspec.structs.replace(reference({"mrtd": ("a",)}), logs={LogName.IMA: wanted})
    log = EventLog(name=name, digest="00", registers=explained, events=events)
    claims = msgspec.structs.replace(lab.CLAIMS, fields={"mrtd": "a"}, logs=(log,))
    return ReferenceValues([baseline]).match(claims)


def test_a_log_matches_if_every_event_is_on_the_list() -> None:
    assert match_log(event("aa"), event("bb"), event("aa")) == Match(matched=True, set="web", version="1")


@given(st.lists(st.sampled_from(["aa", "bb"])), st.integers(0, 9), st.sampled_from(["cc", "", "AA", "a"]))
def test_one_event_that_is_not_on_the_list_fails_the_set_wherever_it_stands(
    good: list[str], place: int, stranger: str
) -> None:
    events = [event(digest) for digest in good]
    events.insert(place, event(stranger))
    found = match_log(*events)
    assert not found.matched
    assert found.mismatches[0] == Mismatch("ima_events_not_allowed", (0,), 1)


def test_a_later_good_entry_of_the_same_path_does_not_whitewash_a_bad_one() -> None:
    found = match_log(event("cc", "/usr/bin/nc"), event("aa", "/usr/bin/nc"))
    assert found.mismatches[1:] == (Mismatch("ima_event", (), "cc ima-ng /usr/bin/nc"),)


def test_an_event_that_nobody_knows_the_content_of_is_never_allowed_even_if_nothing_is_listed() -> None:
    violation = LoggedEvent(10, "violation", "", "/etc/shadow", text_authenticated=False)
    found = match_log(violation, digests=("", "aa"))
    assert found.mismatches[1:] == (Mismatch("ima_event", (), "violation (unproven: /etc/shadow)"),)


def test_the_first_of_many_strangers_are_named_and_all_are_counted() -> None:
    found = match_log(*(event(f"{number:04x}", "x" * 2048) for number in range(5000)))
    assert found.mismatches[0] == Mismatch("ima_events_not_allowed", (0,), 5000)
    assert [mismatch.got for mismatch in found.mismatches[1:]] == [f"{n:04x} ima-ng {'x' * 128}" for n in range(8)]


def test_a_text_that_no_digest_covers_is_marked_and_an_empty_one_is_left_out() -> None:
    found = match_log(event("cc", "/boot/vmlinuz", proven=False), event("dd", "", proven=False))
    assert [mismatch.got for mismatch in found.mismatches[1:]] == ["cc ima-ng (unproven: /boot/vmlinuz)", "dd ima-ng"]


def test_an_allow_list_without_that_log_does_not_match() -> None:
    found = match_log(event("aa"), name=LogName.TCG2)
    assert found.mismatches == (Mismatch("ima_registers", ("10",), None),)


def test_a_log_must_explain_every_register_of_the_list_and_only_these_are_judged() -> None:
    found = match_log(event("aa"), registers=(11, 10))
    assert found.mismatches == (Mismatch("ima_registers", ("10,11",), "10"),)
    assert match_log(event("aa"), event("cc", register=11), explained=(10, 11)).matched


def test_values_and_logs_of_two_sets_never_combine() -> None:
    logs = ({LogName.IMA: AllowList(registers=(10,), digests=(digest,))} for digest in ("aa", "bb"))
    one, two = (
        msgspec.structs.replace(reference({"mrtd": (value,)}, value), logs=wanted)
        for value, wanted in zip("ab", logs, strict=True)
    )
    log = EventLog(name=LogName.IMA, digest="00", registers=(10,), events=(event("bb"),))
    claims = msgspec.structs.replace(lab.CLAIMS, fields={"mrtd": "a"}, logs=(log,))
    assert not ReferenceValues([one, two]).match(claims).matched
    assert listed_logs([one, two, reference({"mrtd": ("c",)})]) == {("tdx", LogName.IMA)}
