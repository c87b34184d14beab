"""The threat model names tests that exist, and leaves out no row of its numbering."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "threat-model.md").read_text()


def test_every_test_that_the_threat_model_names_exists() -> None:
    named = set(re.findall(r"`(tests/[^`]+)`", PAGE))
    assert len(named) > 5
    assert sorted(name for name in named if not (ROOT / name).is_file()) == []


def test_every_row_from_1_to_23_is_answered_once() -> None:
    rows: list[int] = []
    for cell in re.findall(r"^\| ([0-9][0-9-, ]*) \|", PAGE, re.MULTILINE):
        for part in cell.split(", "):
            first, _, last = part.partition("-")
            rows.extend(range(int(first), int(last or first) + 1))
    assert sorted(rows) == list(range(1, 24))
