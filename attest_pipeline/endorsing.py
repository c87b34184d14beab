"""Endorsements for the Evidence of one collection: what came with it, and what the host has for the rest."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from attest_pipeline.errors import Unavailable
from attest_pipeline.model import EndorsementRef, Endorsements, Evidence, EvidenceCollection
from attest_pipeline.ports import NOTHING, AsksFurther, EndorsementSource, Found, Verifier


class Snapshot(EndorsementSource):
    """Endorsements that the Verifier Owner published with a configuration version."""

    def __init__(self, index: Mapping[str, Sequence[str]], documents: Mapping[str, bytes]) -> None:
        """`index` maps `<kind>/<key>` to SHA-256 digests, `documents` maps a digest to the document."""
        self._found = {name: Found(tuple(documents[digest] for digest in digests)) for name, digests in index.items()}

    def find(self, ref: EndorsementRef) -> Found:
        """Documents of the configuration for that reference."""
        return self._found.get(f"{ref.kind}/{ref.key}", NOTHING)


class Gathered(NamedTuple):
    """What one Evidence is proven with: its Endorsements, the time it is judged at, and the items that are stale."""

    endorsements: Endorsements
    now: datetime
    degraded: tuple[str, ...]


class Endorsing:
    """Finds what verifiers ask for."""

    def __init__(self, source: EndorsementSource, verifiers: Mapping[str, Verifier]) -> None:
        """`source` is the host's; `verifiers` are those of the tenant, by TEE."""
        self._source = source
        self._verifiers = verifiers
        self._asking = {tee: one for tee, one in verifiers.items() if isinstance(one, AsksFurther)}

    def __call__(self, evidence: Evidence, collection: EvidenceCollection, now: datetime) -> Gathered:
        """Endorsements of one Evidence of the collection, whose TEE has a verifier; `now` is when it was received.

        Raises BadEvidence, and Unavailable if an answer is not known yet.
        """
        found = self._found(self._verifiers[evidence.tee].endorsements_for(evidence), collection, {})
        asking = self._asking.get(evidence.tee)
        if asking is not None and collection.as_of is None:  # what is fetched now tells of no past
            further = asking.further_endorsements(evidence, _given(found, collection))
            found = self._found(further, collection, found)
        degraded = tuple([item for item, one in found.items() if one.stale])
        return Gathered(_given(found, collection), _judged_at(now, collection, found.values()), degraded)

    def _found(
        self, refs: Sequence[EndorsementRef], collection: EvidenceCollection, known: Mapping[str, Found]
    ) -> dict[str, Found]:
        """What is known, and what the host has for each reference; the collection's own Endorsements go first."""
        found = dict(known)
        waits: list[Unavailable] = []
        for ref in refs:
            if ref.item in collection.endorsements:
                continue
            try:
                one = self._source.find(ref)
                found[ref.item] = _together(found[ref.item], one) if ref.item in found else one
            except Unavailable as error:
                waits.append(error)
        if waits:
            raise longest(waits)
        return found


def longest(waits: Sequence[Unavailable]) -> Unavailable:
    """The wait after which there may be nothing more to wait for."""
    return max(waits, key=lambda wait: wait.retry_after)


def _given(found: Mapping[str, Found], collection: EvidenceCollection) -> Endorsements:
    """The documents that were found, and those that came with the Evidence."""
    documents = {item: one.documents for item, one in found.items() if one.documents}
    return Endorsements(documents | collection.endorsements if collection.endorsements else documents)


def _together(one: Found, other: Found) -> Found:
    """The documents of one item: stale if any is, and they all hold from the beginning of the youngest."""
    valid_from = max(one.valid_from, other.valid_from)
    return Found(one.documents + other.documents, one.stale or other.stale, valid_from)


def _judged_at(received: datetime, collection: EvidenceCollection, found: Iterable[Found]) -> datetime:
    """When Evidence is judged: as received, or as of the first moment when what was fetched for it holds.

    Vendors date what they issue, so collateral that Evidence had to wait for is younger than the Evidence.
    """
    since = max([one.valid_from for one in found], default=0)
    if collection.as_of is not None or not since:
        return received
    return max(received, datetime.fromtimestamp(since, UTC))
