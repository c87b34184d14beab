"""The walk: every file explained, the explanations as lines, and what they come to; run as a module it writes both."""

import sys
from collections import Counter
from pathlib import Path

from vectors import amd, arm, claims, documents, huawei, hygon, intel, logs, nitro, nvidia, others, tpm
from vectors.walk import Book, Corpus, Outcome

FAMILIES = (intel, documents, amd, nitro, arm, claims, huawei, hygon, tpm, nvidia, logs, others)
RECORD = Path(__file__).with_name("explanations.tsv")


def walk(root: Path) -> Book:
    """Every family's explanations of the files under the directory of real evidence."""
    book = Book(Corpus(root))
    for family in FAMILIES:
        family.explain(book)
    return book


def lines(book: Book) -> list[str]:
    """Path, outcome, who read it, why: one line for each file."""
    return ["\t".join((path, *explanation)) for path, explanation in sorted(book.pages.items())]


def summary(book: Book) -> str:
    """Files by outcome, and those that were proven or refused by TEE, as a table in Markdown."""
    outcomes = Counter(page.outcome for page in book.pages.values())
    tees = Counter((page.by, page.outcome) for page in book.pages.values())
    head = f"| read by | {' | '.join(Outcome)} |\n|---{'|---:' * len(Outcome)}|\n"
    rows = [(name, [tees[name, outcome] for outcome in Outcome]) for name in sorted(book.verifiers)]
    rest = [outcomes[outcome] - sum(row[number] for _, row in rows) for number, outcome in enumerate(Outcome)]
    rows += [("other readers, or none", rest), ("all", [outcomes[outcome] for outcome in Outcome])]
    return head + "".join(f"| {name} | {' | '.join(map(str, counts))} |\n" for name, counts in rows)


def main() -> None:
    """Write the record anew."""
    book = walk(Path(sys.argv[1]))
    RECORD.write_text("\n".join(lines(book)) + "\n")
    sys.stdout.write(summary(book))


if __name__ == "__main__":
    main()
