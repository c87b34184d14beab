"""One target under mutated input for a while: which inputs to try, and what counts as a finding."""

import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from random import Random
from typing import Final

from msgspec import Struct

from attest_pipeline.errors import Misconfigured
from fuzz.case import Case, Target
from fuzz.lines import Lines
from fuzz.memory import memories
from fuzz.mutate import mutate

CPU_LIMIT: Final = 0.2
"""Seconds of CPU that one input may take."""
MAX_WORDS: Final = 512
"""Characters of a refusal: one sentence for people, which repeats nothing of an attacker's size."""
MAX_KEPT: Final = 256
MAX_KEPT_BYTES: Final = 8 * 1024 * 1024
MAX_FINDINGS: Final = 16
_WATCHED_EVERY: Final = 2
"""Half of the executions run at full speed: watching costs up to five times the parser's own Python."""
_LIBRARY: Final = "attest_pipeline"


class Finding(Struct, frozen=True):
    """An input that a target must not answer so; `what` says how it did, `where` tells findings apart."""

    target: str
    what: str
    where: str
    case: Case


class Tally(Struct):
    """What a campaign has done so far. `slowest` is in seconds of CPU, `lines` counts lines of the library."""

    executions: int = 0
    slowest: float = 0.0
    lines: int = 0
    findings: list[Finding] = []


class Campaign:
    """Inputs for one target: its seeds, what is made of them, and what reached a line that nothing had reached."""

    def __init__(self, target: Target, rng: Random) -> None:
        self._target = target
        self._rng = rng
        self._seeds = target.seeds()
        self._kept: list[Case] = []
        self._kept_bytes = 0
        self._lines = Lines()
        self.tally = Tally(findings=[])

    def run(self, seconds: float, announce: Callable[[Case], None]) -> None:
        """Every seed, then altered ones until the time is over or there are findings enough."""
        for seed in self._seeds:
            self._execute(seed, announce)
        end = time.monotonic() + seconds
        while time.monotonic() < end and len(self.tally.findings) < MAX_FINDINGS:
            self._execute(self._next(), announce)

    def _next(self) -> Case:
        rng = self._rng
        pool = self._kept if self._kept and rng.random() < 0.5 else self._seeds
        case = mutate(rng, rng.choice(pool), rng.choice(self._seeds))
        return self._target.resign(case) if rng.random() < 0.5 else case

    def _execute(self, case: Case, announce: Callable[[Case], None]) -> None:
        announce(case)
        self.tally.executions += 1
        watched = bool(self.tally.executions % _WATCHED_EVERY)
        with self._lines if watched else nullcontext():
            finding, seconds = judge(self._target, case)
        if watched and self._lines.reached > self.tally.lines:
            self._keep(case)
            self.tally.lines = self._lines.reached
        if not watched:
            self.tally.slowest = max(self.tally.slowest, seconds)
        if finding is None and seconds > CPU_LIMIT:
            finding = confirm_slow(self._target, case)
        if finding is not None and finding.where not in {known.where for known in self.tally.findings}:
            self.tally.findings.append(finding)

    def _keep(self, case: Case) -> None:
        self._kept.append(case)
        self._kept_bytes += _size(case)
        while len(self._kept) > MAX_KEPT or self._kept_bytes > MAX_KEPT_BYTES:
            self._kept_bytes -= _size(self._kept.pop(0))


def judge(target: Target, case: Case) -> tuple[Finding | None, float]:
    """Run a target once: a finding if it raises what it must not, and the seconds of CPU that it took."""
    finding = None
    start = time.process_time()
    try:
        try:
            target.run(case)
        except target.errors as refusal:
            _check_words(refusal)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - what is looked for; a panic of Rust code is no Exception
        finding = _finding(target, case, error)
    return finding, time.process_time() - start


def _check_words(refusal: Exception) -> None:
    """What a refusal says must be fit for logs, tokens and the wire, and must not repeat what an attacker sent.

    Operators may read as much of their own files as they like.
    """
    said = str(refusal)
    said.encode()
    ours = type(refusal).__module__.startswith(_LIBRARY) and not isinstance(refusal, Misconfigured)
    if ours and len(said) > MAX_WORDS:
        raise OverflowError(f"{len(said)} characters of refusal: {said[:80]}")


def confirm_slow(target: Target, case: Case) -> Finding | None:
    """A finding if the case takes too long each of three times, with nothing remembered and nobody watching."""
    times = []
    for _ in range(3):
        for forget in memories((_LIBRARY,)):
            forget()
        times.append(judge(target, case)[1])
    if min(times) <= CPU_LIMIT:
        return None
    return Finding(target.name, f"{1000 * min(times):.0f} ms of CPU", "slow", case)


def _finding(target: Target, case: Case, error: BaseException) -> Finding:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _LIBRARY in frame.filename] or frames[-1:]
    where = f"{type(error).__name__} at {ours[-1].filename.rpartition('/')[2]}:{ours[-1].lineno}"
    return Finding(target.name, f"{type(error).__name__}: {str(error)[:200]}", where, case)


def _size(case: Case) -> int:
    return sum(map(len, case.items.values()))
