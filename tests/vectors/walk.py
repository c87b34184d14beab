"""The corpus of real files, and the book in which each gets its one explanation by being run through the library."""

import csv
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from attest_pipeline import verifiers
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, Endorsements, Evidence

ROOMS = ("evidence", "secgear", "rats", "trustee")
Source = str | bytes
"""A file by its path in the corpus, or bytes taken out of one."""


class Outcome(StrEnum):
    """What a file is to the library."""

    VERIFIED = "verified"
    REJECTED = "rejected"
    PARSED = "parse-only"
    ENDORSEMENT = "endorsement"
    EXPECTATION = "expectation"
    NOT_OURS = "not ours"


class Explanation(NamedTuple):
    """`by` is the TEE or the code that read the file; `ground` says why, or what the file serves."""

    outcome: Outcome
    by: str
    ground: str


class Corpus:
    """The files by path; `index` are the rows of the evidence's INDEX.tsv by the same paths."""

    def __init__(self, root: Path) -> None:
        self.root = root
        found = (path for room in ROOMS for path in (root / room).rglob("*") if path.is_file())
        self.paths = tuple(sorted(path.relative_to(root).as_posix() for path in found))
        with (root / "evidence/INDEX.tsv").open(newline="") as rows:
            self.index = {f"evidence/{row['path']}": row for row in csv.DictReader(rows, delimiter="\t")}

    def glob(self, pattern: str) -> list[str]:
        """Paths that match; a star does not cross folders, and what starts with two of them stands anywhere."""
        depth = pattern.count("/")
        return [path for path in self.paths if path.count("/") == depth and fnmatch(path, pattern)]

    def read(self, source: Source) -> bytes:
        """The bytes of a file, or the bytes themselves."""
        return source if isinstance(source, bytes) else (self.root / source).read_bytes()

    def json(self, path: str) -> Any:
        """A file's JSON."""
        return json.loads(self.read(path))

    def window(self, path: str) -> tuple[datetime, datetime]:
        """From when to when a file holds, as INDEX has it: `A..B`, days or seconds. Raises ValueError."""
        start, end = self.index[path]["verification_time"].removeprefix("PCK ").partition(" ")[0].split("..")
        return instant(start), instant(end)


class Trial(NamedTuple):
    """What stood in front of a verifier."""

    evidence: Evidence
    endorsements: Endorsements
    challenge: bytes | None
    at: datetime


class Book:
    """Explanations by path, made by proving; a file that serves several proofs keeps its first explanation.

    `proven` are the trials that held.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.pages: dict[str, Explanation] = {}
        self.proven: list[Trial] = []
        tees = sorted(verifiers.installed() - {"sample"})
        self.verifiers = verifiers.load(tees, {})

    def note(self, path: str, outcome: Outcome, by: str, ground: str = "") -> None:
        """Explain a file, unless it is explained already."""
        assert path in self.corpus.paths, path
        self.pages.setdefault(path, Explanation(outcome, by, ground))

    def prove(
        self,
        tee: str,
        evidence: Mapping[str, Source],
        endorsements: Mapping[str, Source | Sequence[Source]],
        at: datetime,
        challenge: bytes | None = None,
    ) -> Claims | BadEvidence:
        """What the verifier says; if it holds, the first item is verified and all the others are its endorsements."""
        given = {name: [one] if isinstance(one, str | bytes) else one for name, one in endorsements.items()}
        items = {name: self.corpus.read(source) for name, source in evidence.items()}
        documents = {name: tuple(map(self.corpus.read, sources)) for name, sources in given.items()}
        trial = Trial(Evidence(tee, items), Endorsements(documents), challenge, at)
        outcome = self.run(trial)
        if isinstance(outcome, Claims):
            self.proven.append(trial)
            sources = (*evidence.values(), *(one for several in given.values() for one in several))
            self._note_proof(outcome, *sources)
        return outcome

    def run(self, trial: Trial) -> Claims | BadEvidence:
        """What the verifier says; nothing but these two may come out of it."""
        verifier = self.verifiers[trial.evidence.tee]
        try:
            return verifier.verify(trial.evidence, trial.endorsements, challenge=trial.challenge, now=trial.at)
        except BadEvidence as error:
            return error

    def _note_proof(self, claims: Claims, main: Source, *others: Source) -> None:
        if isinstance(main, str):
            self.note(main, Outcome.VERIFIED, claims.tee, standing(claims))
        served = main if isinstance(main, str) else "evidence"
        for source in others:
            if isinstance(source, str):
                self.note(source, Outcome.ENDORSEMENT, claims.tee, f"of {served}")

    def refuse(self, path: str, by: str, outcome: Claims | BadEvidence) -> None:
        """Explain a file by the reason why it did not hold."""
        self.note(path, Outcome.REJECTED, by, refused(outcome))


def held(outcome: Claims | BadEvidence) -> Claims:
    """The claims of Evidence that must hold."""
    assert isinstance(outcome, Claims), outcome
    return outcome


def refused(outcome: Claims | BadEvidence) -> Reason:
    """Why Evidence did not hold that must not."""
    assert isinstance(outcome, BadEvidence), outcome
    return outcome.reason


def standing(claims: Claims) -> str:
    """TCB status, where the TEE has one, and whether it is in debug mode."""
    return ", ".join(filter(None, (claims.tcb_status, f"debug {claims.debug}")))


def instant(text: str) -> datetime:
    """A time of INDEX: a day, or a second."""
    return datetime.fromisoformat(text.rstrip("Z")).replace(tzinfo=UTC)


def differing(expected: Mapping[str, Any], claims: Claims, names: Mapping[str, str] | None = None) -> list[str]:
    """Names of recorded values that the claims do not repeat; `names` are those that the library calls otherwise."""
    found = claims.fields | claims.measurements
    ours = {name: (names or {}).get(name, name) for name in expected}
    return [name for name, our in ours.items() if our in found and _plain(expected[name]) != _plain(found[our])]


def _plain(value: object) -> str:
    """Numbers as decimal text, whatever the notation; bit flags as numbers."""
    text = str(int(value) if isinstance(value, bool) else value).lower()
    return str(int(text, 16)) if text.startswith("0x") else text
