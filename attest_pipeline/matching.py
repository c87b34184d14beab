"""The match stage: compare proven Claims with Reference Value Sets. Knows no TEE and judges nothing.

A set matches as a whole or not at all: values of two sets, or of two versions of one, never combine. Sets are indexed
by one claim, so that a tenant with a hundred thousand baselines pays for the few that could match.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from attest_pipeline.model import Claims, FieldValue, Match, Mismatch, ReferenceValueSet

_SHOWN: Final = 8
"""Allowed values that a mismatch names: a set may allow thousands, and every token would carry them."""
NO_MATCH: Final = Match(matched=False, set=None, version=None)
_Key = tuple[str, str, FieldValue]


class ReferenceValues:
    """All Reference Value Sets of a tenant, ready to be compared with Claims."""

    def __init__(self, sets: Iterable[ReferenceValueSet]) -> None:
        """Index the sets; an earlier set is preferred where two match. A set that demands nothing never matches."""
        self._by_value: dict[_Key, list[ReferenceValueSet]] = defaultdict(list)
        self._index_fields: dict[str, dict[str, None]] = defaultdict(dict)
        self._by_tee: dict[str, list[ReferenceValueSet]] = defaultdict(list)
        for reference in (one for one in sets if one.values):
            field = next(iter(reference.values))
            self._by_tee[reference.tee].append(reference)
            self._index_fields[reference.tee][field] = None
            for value in reference.values[field]:
                self._by_value[reference.tee, field, value].append(reference)

    def match(self, claims: Claims) -> Match:
        """The first set that matches whole; otherwise every mismatch against the closest one."""
        candidates = [
            reference
            for field in self._index_fields.get(claims.tee, ())
            for reference in self._by_value.get((claims.tee, field, claims.fields.get(field)), ())
        ]
        closest: tuple[int, Match] | None = None
        for reference in candidates or self._by_tee.get(claims.tee, ())[:1]:
            mismatches = _mismatches(reference, claims)
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
