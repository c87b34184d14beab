"""Real Evidence as further seeds, where it lies beside the checkout. Nothing of it is copied into the project."""

from pathlib import Path
from typing import Final

from verifiers_conformance import cases, inputs, load_runner

from fuzz.case import Case
from fuzz.verifiers import Given, make_case

_CONFORMANCE: Final = Path(__file__).resolve().parents[3] / "shared" / "conformance"
_MAX_SEEDS: Final = 8


def seeds(tee: str) -> list[Case]:
    """Evidence that must verify, under the vendors' pinned roots; none where there is none."""
    if not _CONFORMANCE.is_dir():
        return []
    runner = load_runner(_CONFORMANCE)
    known = [line for line in (_CONFORMANCE / "cases.jsonl").read_text().splitlines() if f'"tee": "{tee}"' in line]
    held = [case for case in cases(_CONFORMANCE, tee) if case["expect"]["outcome"] == "verified"] if known else []
    found = []
    for case in held[:_MAX_SEEDS]:
        evidence, endorsements, challenge, now = inputs(runner.request(case, str(_CONFORMANCE.parent / "vectors")))
        found.append(make_case(evidence, endorsements, Given(tee, {}, challenge, now)))
    return found
