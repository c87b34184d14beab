"""The table of recipes: one for each kind of Endorsement."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from attest_pipeline.collateral.amd import AmdChain, AmdCrl, AmdLeaf
from attest_pipeline.collateral.hygon import HygonChip
from attest_pipeline.collateral.intel import IntelDcap
from attest_pipeline.collateral.nvidia import NvidiaRim, NvidiaStatus
from attest_pipeline.collateral.recipes import BadCollateral, Documents, Recipe, Unserved, split_name
from attest_pipeline.collateral.records import MAX_RECORD, Record
from attest_pipeline.model import EndorsementKind, TrustAnchor

_Served = IntelDcap | AmdChain | AmdCrl | AmdLeaf | HygonChip | NvidiaRim | NvidiaStatus
_SERVED: Final[Mapping[EndorsementKind, type[_Served]]] = {
    EndorsementKind.INTEL_DCAP: IntelDcap,
    EndorsementKind.AMD_CHAIN: AmdChain,
    EndorsementKind.AMD_CRL: AmdCrl,
    EndorsementKind.AMD_LEAF: AmdLeaf,
    EndorsementKind.HYGON_HSK_CEK: HygonChip,
    EndorsementKind.NVIDIA_RIM: NvidiaRim,
    EndorsementKind.NVIDIA_CERTIFICATE_STATUS: NvidiaStatus,
}


class Book:
    """Recipes by kind. `trust_anchors` are roots beyond the vendors', for development and simulators only."""

    def __init__(self, trust_anchors: Iterable[TrustAnchor] = ()) -> None:
        anchors: dict[str, tuple[bytes, ...]] = {}
        for anchor in trust_anchors:
            anchors[anchor.vendor] = (*anchors.get(anchor.vendor, ()), anchor.spki)
        unserved = Unserved()
        self._recipes: dict[EndorsementKind, Recipe] = dict.fromkeys(EndorsementKind, unserved)
        for kind, make in _SERVED.items():
            self._recipes[kind] = make(anchors)

    def of(self, name: str) -> tuple[Recipe, str]:
        """Recipe and key of a reference name. Raises BadCollateral."""
        kind, key = split_name(name)
        return self._recipes[kind], key

    def needs(self, name: str) -> tuple[str, ...]:
        """Names that the proof of that one stands on. Raises BadCollateral."""
        recipe, key = self.of(name)
        return recipe.needs(key)

    def record(self, name: str, documents: tuple[bytes, ...], needed: Documents, *, source: str, now: int) -> Record:
        """Documents as a record fetched and proven at `now` (seconds since 1970). Raises BadCollateral."""
        recipe, key = self.of(name)
        facts = recipe.facts(key, documents, needed, datetime.fromtimestamp(now, UTC))
        made = Record(
            name=name,
            documents=documents,
            source=source,
            fetched_at=now,
            valid_from=int(facts.valid_from.timestamp()),
            valid_until=int(facts.valid_until.timestamp()),
            sequence=facts.sequence,
        )
        if made.size > MAX_RECORD:
            raise BadCollateral(f"{made.size} bytes; {MAX_RECORD} are allowed")
        return made
