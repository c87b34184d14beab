"""Appraisal Policies: the constants they may use, and what is demanded of one before it may judge. Pure.

`docs/policies.md` says how to write one.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Final, Protocol

import msgspec

from attest_pipeline.appraisal import BOOLEAN_PATHS, View, findings, overall
from attest_pipeline.ear import CLAIM_VALUES, Status, Value
from attest_pipeline.errors import Misconfigured
from attest_pipeline.model import Policy
from attest_pipeline.ports import PolicyFailed

MAX_BYTES: Final = 64 * 1024
MAX_NESTING: Final = 12
"""Open brackets at once: the parser's time doubles with each (measured: 16 take 1.8 s, 20 more than 15 s)."""
FORBIDDEN: Final = ("http", "opa", "rand", "time.now_ns", "trace", "uuid")
"""Built-ins that reach outside, or make an answer differ from the last one for the same input."""

_PACKAGE: Final = re.compile(r"data\.(appraisal\.([a-z][a-z0-9_-]{0,31}))")
_LEXEME: Final = re.compile(
    r'"(?:\\.|[^"\\\n])*(?:"|(?P<unclosed>))|`[^`]*`|#[^\n]*|(?P<open>[\[({])|(?P<close>[\])}])'
)
"""A text without its end is a lexeme too, or each quotation mark in it would be read to the end of the line."""
_WRONG: Final[tuple[object, ...]] = (None, "zzz", [], {}, True)
"""Values of a wrong type. Rego orders across types (`"zzz" >= 7` is true), so a careless policy lets them pass."""


class Exhausted(PolicyFailed):
    """A policy outran its time or memory, or broke its engine."""


class Sandbox(Protocol):
    """Where a policy that nobody trusts yet may run. Every method raises PolicyFailed, or Exhausted."""

    def load(self, text: str) -> str:
        """Parse a policy and return its package, such as `data.appraisal.tdx`."""
        ...

    def names(self) -> frozenset[str]:
        """Every variable and reference in the policy, dotted."""
        ...

    def evaluate(self, rule: str, view: Mapping[str, object]) -> object:
        """The document of a rule for that input; None if undefined."""
        ...


@cache
def rego_constants() -> str:
    """The Rego module `data.ear`: AR4SI values by claim and name, from the table in `ear.py`."""
    lines = [
        "# Trustworthiness claim values (draft-ietf-rats-ar4si-09, section 2.3.4) by claim and name.",
        "# Generated from attest_pipeline/ear.py by attest_pipeline.owner.policies.rego_constants; do not edit.",
        "package ear",
    ]
    for claim, values in CLAIM_VALUES.items():
        everywhere = {"no_claim": Value.NO_CLAIM.value, "unexpected_evidence": Value.UNEXPECTED_EVIDENCE.value}
        members = [f'\t"{name}": {value},' for name, value in (everywhere | dict(values)).items()]
        lines += ["", f"{claim.value.replace('-', '_')} := {{", *members, "}"]
    return "\n".join(lines) + "\n"


def vet(text: str, sandbox: Sandbox) -> Policy:
    """The policy, if it is bounded, deterministic, declares what it reads, and is cautious about wrong input.

    Raises Misconfigured with a sentence that says what to change, and Exhausted, which a loaded host may cause too.
    """
    _check_text(text)
    try:
        package = sandbox.load(text)
        tee = _tee_of(package)
        _check_names(sandbox.names())
        reads = _reads(sandbox.evaluate(f"{package}.reads", {}))
        allow_unfresh = _allow_unfresh(sandbox.evaluate(f"{package}.allow_unfresh", {}))
        _check_caution(f"{package}.vector", reads, sandbox)
    except Exhausted:
        raise
    except PolicyFailed as error:
        raise Misconfigured(f"policy refused: {error}") from None
    return Policy(
        id=f"appraisal/{tee}",
        tee=tee,
        text=text,
        digest=hashlib.sha256(text.encode()).hexdigest(),
        reads=reads,
        allow_unfresh=allow_unfresh,
    )


def _check_text(text: str) -> None:
    """Limits that hold before a parser sees the text."""
    if len(text.encode()) > MAX_BYTES:
        raise Misconfigured(f"policy refused: longer than {MAX_BYTES} bytes")
    depth = 0
    for lexeme in _LEXEME.finditer(text):
        depth += bool(lexeme["open"]) - bool(lexeme["close"])
        unclosed = lexeme["unclosed"] is not None
        if unclosed or depth > MAX_NESTING:
            wrong = "a text is not closed" if unclosed else f"more than {MAX_NESTING} brackets are open"
            line = text.count("\n", 0, lexeme.start()) + 1
            raise Misconfigured(f"policy refused: {wrong} in line {line}")


def _tee_of(package: str) -> str:
    match = _PACKAGE.fullmatch(package)
    if match is None:
        raise PolicyFailed(f"its package is {package.removeprefix('data.')}; expected appraisal.<tee>")
    return match[2]


def _check_names(names: frozenset[str]) -> None:
    refused = sorted(name for name in names if any(f"{name}.".startswith(f"{root}.") for root in FORBIDDEN))
    if refused:
        raise PolicyFailed(f"it names {refused[-1]}: a verdict may depend on the declared input alone")
    if "vector" not in names:
        raise PolicyFailed("it has no rule `vector`")


def _reads(document: object) -> tuple[str, ...]:
    try:
        reads = msgspec.convert(document, tuple[str, ...])
    except msgspec.ValidationError:
        raise PolicyFailed('declare what it sees: reads := ["debug", "match.matched"]') from None
    View(reads)
    return reads


def _allow_unfresh(document: object) -> bool:
    if document is None:
        return False
    if not isinstance(document, bool):
        raise PolicyFailed("`allow_unfresh` is true, false, or left out")
    return document


def _check_caution(rule: str, reads: Sequence[str], sandbox: Sandbox) -> None:
    """Absent input, and input of wrong types, may be an error but never affirming, and never exhausts a limit."""
    for view in _probes(reads):
        try:
            document = sandbox.evaluate(rule, view)
        except Exhausted:
            raise
        except PolicyFailed:
            continue  # the engine objects to the type, as it will when it matters
        if document is None:
            continue
        if overall(findings(document)) is Status.AFFIRMING:
            raise PolicyFailed(f"it is affirming for the input {msgspec.json.encode(view).decode()[:200]}")


def _probes(reads: Sequence[str]) -> Iterator[dict[str, object]]:
    yield {}
    for wrong in _WRONG:
        told = [path for path in reads if not (wrong is True and path in BOOLEAN_PATHS)]
        view: dict[str, object] = {path: wrong for path in told if "." not in path}
        roots = {path.partition(".")[0] for path in told} - view.keys()
        for root in roots:
            view[root] = {path.removeprefix(f"{root}."): wrong for path in told if path.startswith(f"{root}.")}
        yield view
