"""Every real file is explained by what the library makes of it, and stays explained that way."""

from pathlib import Path

from vectors.others import NOT_OURS
from vectors.record import RECORD, lines, summary
from vectors.walk import Book, Outcome

PAGE = Path(__file__).parents[2] / "docs/vectors.md"


def test_no_real_file_is_unexplained(book: Book) -> None:
    assert [path for path in book.corpus.paths if path not in book.pages] == []


def test_every_explanation_is_the_one_on_record(book: Book) -> None:
    """Write the record anew with `PYTHONPATH=tests python -m vectors.record <vectors>`, and read the difference."""
    recorded, found = RECORD.read_text().splitlines(), lines(book)
    assert sorted(set(recorded) ^ set(found)) == []
    assert len(recorded) == len(set(recorded)) == len(book.corpus.paths)


def test_what_the_index_calls_valid_is_not_rejected_and_what_it_calls_invalid_is(book: Book) -> None:
    for path, row in book.corpus.index.items():
        word = row["expected"].partition(" ")[0].rstrip(":")
        if word in {"VALID", "INVALID"}:
            assert (book.pages[path].outcome is Outcome.REJECTED) == (word == "INVALID"), path


def test_the_formats_that_are_not_ours_are_named_and_the_page_says_what_the_walk_shows(book: Book) -> None:
    named = {page.ground for page in book.pages.values() if page.outcome is Outcome.NOT_OURS}
    assert named == set(NOT_OURS.values())
    for ground in sorted(named):
        print(ground)  # noqa: T201 - the table that the test prints
    assert summary(book) in PAGE.read_text()
