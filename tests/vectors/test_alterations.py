"""Real Evidence that holds, with one thing changed: it no longer holds, and nothing but a reason comes out."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from vectors.walk import Book, Trial, refused

from attest_pipeline.errors import Reason
from attest_pipeline.model import Endorsements, Evidence

OPTIONAL = {"event_log", "ak_public", "rim_driver", "rim_vbios", "ark", "ocsp"}
"""Items that may be absent; if they are there, they count."""
TIMELESS = {"cca", "psa", "csv"}
"""TEEs of which nothing has a date."""
FOREVER = {"nvidia-gpu", "nvidia-switch"}
"""TEEs whose certificates end with the year 9999."""
EARLY, LATE = datetime(1970, 1, 1, tzinfo=UTC), datetime(9998, 1, 1, tzinfo=UTC)
WRONG: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "one zero": lambda _: b"\0",
    "zeros": lambda data: bytes(len(data)),
    "garbage": lambda _: bytes(range(256)) * 3,
    "text": lambda _: b"hello",
    "an empty object": lambda _: b"{}",
    "an empty map": lambda _: b"\xa0",
    "deep nesting": lambda _: b"[" * 5000,
    "too much": lambda _: bytes(5_000_000),
    "the beginning": lambda data: data[:40],
}


def altered_items(trial: Trial, change: Callable[[bytes], bytes]) -> Iterator[Trial]:
    """The trial with each item of Evidence and Endorsements changed in turn."""
    for name, data in trial.evidence.items.items():
        yield trial._replace(evidence=Evidence(trial.evidence.tee, {**trial.evidence.items, name: change(data)}))
    for name, documents in trial.endorsements.items.items():
        for place, data in enumerate(documents):
            others = (*documents[:place], change(data), *documents[place + 1 :])
            yield trial._replace(endorsements=Endorsements({**trial.endorsements.items, name: others}))


@pytest.mark.parametrize("wrong", WRONG)
def test_an_item_that_is_something_else_is_refused(book: Book, wrong: str) -> None:
    for trial in book.proven:
        for altered in altered_items(trial, WRONG[wrong]):
            refused(book.run(altered))


def test_without_an_item_that_is_not_optional_nothing_holds(book: Book) -> None:
    for trial in book.proven:
        items, documents = trial.evidence.items, trial.endorsements.items
        for gone in {*items, *documents} - OPTIONAL:
            evidence = Evidence(trial.evidence.tee, {name: one for name, one in items.items() if name != gone})
            endorsements = Endorsements({name: one for name, one in documents.items() if name != gone})
            refused(book.run(trial._replace(evidence=evidence, endorsements=endorsements)))


def test_another_challenge_is_a_mismatch_whatever_its_length(book: Book) -> None:
    for trial in book.proven:
        carried = trial.challenge or b"\xa5" * 64
        wrong = [carried + b"\0", bytes((carried[0] ^ 1,)) + carried[1:], carried[:-1] + bytes((carried[-1] ^ 0x80,))]
        shorter = [b"", carried[:-1], carried[: len(carried) // 2]] if trial.challenge else []
        for challenge in (*wrong, *shorter):
            assert refused(book.run(trial._replace(challenge=challenge))) is Reason.CHALLENGE_MISMATCH


@pytest.mark.parametrize(("at", "reason"), [(EARLY, Reason.NOT_YET_VALID), (LATE, Reason.EXPIRED)])
def test_whatever_has_dates_does_not_hold_outside_them(book: Book, at: datetime, reason: Reason) -> None:
    for trial in book.proven:
        tee, documents = trial.evidence.tee, trial.endorsements.items
        endless = tee in FOREVER and at is LATE and documents.keys().isdisjoint({"rim_driver", "rim_vbios", "ocsp"})
        if tee not in TIMELESS and "ak" not in documents and not endless:
            assert refused(book.run(trial._replace(at=at))) is reason, trial.evidence.tee


def test_evidence_of_one_tee_is_none_of_another(book: Book) -> None:
    for trial in book.proven:
        for tee in book.verifiers.keys() - {trial.evidence.tee}:
            refused(book.run(trial._replace(evidence=Evidence(tee, trial.evidence.items))))
