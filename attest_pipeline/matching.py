"""The match stage: compare proven Claims with Reference Value Sets. Knows no TEE and judges nothing.

A set matches as a whole or not at all: values of two sets, or of two versions of one, never combine. Sets are indexed
by one claim, so that a tenant with a hundred thousand baselines pays for the few that could match.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from attest_pipeline.model import (
    AllowList,
    Claims,
    EventLog,
    FieldValue,
    LoggedEvent,
    LogName,
    Match,
    Mismatch,
    ReferenceValueSet,
)

_SHOWN: Final = 8
"""Allowed values that a mismatch names, and events that are named: there may be thousands, and every token would carry
them."""
_TEXT_SHOWN: Final = 128
"""Characters of an event's text in a mismatch."""
NO_MATCH: Final = Match(matched=False, set=None, version=None)
_Key = tuple[str, str, FieldValue]


class _Baseline(NamedTuple):
    """A Reference Value Set, and the digests of its allow-lists ready to be looked up."""

    reference: ReferenceValueSet
    allowed: dict[LogName, frozenset[str]]


class ReferenceValues:
    """All Reference Value Sets of a tenant, ready to be compared with Claims."""

    def __init__(self, sets: Iterable[ReferenceValueSet]) -> None:
        """Index the sets; an earlier set is preferred where two match. A set that demands nothing never matches."""
        self._by_value: dict[_Key, list[_Baseline]] = defaultdict(list)
        self._index_fields: dict[str, dict[str, None]] = defaultdict(dict)
        self._by_tee: dict[str, list[_Baseline]] = defaultdict(list)
        for reference in (one for one in sets if one.values):
            field = next(iter(reference.values))
            baseline = _Baseline(reference, {name: frozenset(one.digests) for name, one in reference.logs.items()})
            self._by_tee[reference.tee].append(baseline)
            self._index_fields[reference.tee][field] = None
            for value in reference.values[field]:
                self._by_value[reference.tee, field, value].append(baseline)

    def match(self, claims: Claims) -> Match:
        """The first set that matches whole; otherwise every mismatch against the closest one."""
        candidates = [
            baseline
            for field in self._index_fields.get(claims.tee, ())
            for baseline in self._by_value.get((claims.tee, field, claims.fields.get(field)), ())
        ]
        closest: tuple[int, Match] | None = None
        for baseline in candidates or self._by_tee.get(claims.tee, ())[:1]:
            reference = baseline.reference
            mismatches = (*_mismatches(reference, claims), *_log_mismatches(baseline, claims))
            if not mismatches:
                return Match(matched=True, set=reference.name, version=reference.version)
            if closest is None or len(mismatches) < closest[0]:
                found = Match(matched=False, set=reference.name, version=reference.version, mismatches=mismatches)
                closest = len(mismatches), found
        return closest[1] if closest else NO_MATCH


def _mismatches(reference: ReferenceValueSet, claims: Claims) -> tuple[Mismatch, ...]:
    return tuple(
        Mismatch(field, allowed[:_SHOWN], claims.fields.get(field))
        for field, allowed in reference.values.items()
        if not _allowed(claims.fields.get(field), allowed)
    )


def _allowed(got: FieldValue, allowed: tuple[FieldValue, ...]) -> bool:
    """Whether a claim has one of the allowed values; true is not 1, and null is never allowed."""
    return got is not None and any(type(got) is type(value) and got == value for value in allowed)


# ── measurement logs ──────────────────────────────────────────────────────────────────────────────────────────────────
def listed_logs(sets: Iterable[ReferenceValueSet]) -> frozenset[tuple[str, LogName]]:
    """The logs, each with its TEE, for which there is an allow-list: the events of any other need not travel."""
    return frozenset((reference.tee, name) for reference in sets for name in reference.logs)


def _log_mismatches(baseline: _Baseline, claims: Claims) -> Iterator[Mismatch]:
    """What the allow-lists say against the logs. Every event counts, whatever comes before or after it."""
    logs = {log.name: log for log in claims.logs}
    for name, wanted in baseline.reference.logs.items():
        if name not in logs or not {*wanted.registers} <= {*logs[name].registers}:
            explained = _joined(logs[name].registers) if name in logs else None
            yield Mismatch(f"{name}_registers", (_joined(wanted.registers),), explained)
        elif strangers := _strangers(wanted, baseline.allowed[name], logs[name]):
            yield Mismatch(f"{name}_events_not_allowed", (0,), len(strangers))
            yield from (Mismatch(f"{name}_event", (), _described(event)) for event in strangers[:_SHOWN])


def _strangers(wanted: AllowList, allowed: frozenset[str], log: EventLog) -> list[LoggedEvent]:
    """Events that are not on the list. One without a digest (an IMA violation) never is."""
    return [
        event
        for event in log.events
        if event.register in wanted.registers and (event.digest not in allowed or not event.digest)
    ]


def _described(event: LoggedEvent) -> str:
    shown = event.text[:_TEXT_SHOWN]
    text = shown if event.text_authenticated or not shown else f"(unproven: {shown})"
    return " ".join(filter(None, (event.digest, event.kind, text)))


def _joined(registers: Iterable[int]) -> str:
    return ",".join(map(str, sorted(registers)))
