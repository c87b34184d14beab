"""Proof of SEV-SNP Evidence: item `report`, endorsements `leaf`, `ask`, `ark` and `crl`."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, EndorsementKind, EndorsementRef, Endorsements, Evidence
from attest_pipeline.verifiers._amd import abi, proof
from attest_pipeline.verifiers._amd.abi import Guest, Report
from attest_pipeline.verifiers.snp.claims import make_claims


class SnpVerifier:
    """Proves SEV-SNP reports of version 2, 3 and 5 from Milan, Genoa and Turin, signed by a VCEK or a VLEK.

    Evidence: `report`, and `leaf` if the host does not know it (DER or PEM; it must lead to AMD's root anyway).
    Endorsements: `ask` (ASK or ASVK), and if present `leaf` (wins over the Evidence's), `ark`, `crl`. `trust_anchors`
    may name further roots under `amd` (development only). Debug mode, VMPL, migration, SMT and an old TCB are reported,
    not refused: that is policy.
    """

    tee = "snp"
    media_types = frozenset({"application/vnd.amd.sevsnp.report"})
    challenge_bytes = 64

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        self._anchors = frozenset(trust_anchors.get(proof.VENDOR, ()))

    def endorsements_for(self, evidence: Evidence) -> tuple[EndorsementRef, ...]:
        """Chain, CRL and (unless the Evidence brings it) leaf, under lower-case keys such as `milan/ask`.

        A version 2 report from Genoa must bring its leaf (`proof.report_product`). Raises BadEvidence.
        """
        guest, brought = _report(evidence).guest, evidence.items.get("leaf")
        return _with_leaf(guest) if brought is None else proof.chain_refs(guest, brought)

    def verify(
        self, evidence: Evidence, endorsements: Endorsements, *, challenge: bytes | None, now: datetime
    ) -> Claims:
        """Prove the report at `now`; `challenge` is all 64 bytes of report_data. Raises BadEvidence."""
        report = _report(evidence)
        known = proof.document(endorsements, "leaf")
        leaf = evidence.items.get("leaf") if known is None else known
        endorsed = proof.prove_leaf(proof.chain_of(leaf, endorsements), self._anchors)
        proof.check_current(endorsed, now)
        if challenge is not None and report.report_data != challenge:
            raise BadEvidence(Reason.CHALLENGE_MISMATCH, "report_data is not the challenge")
        proof.check_report(evidence.items["report"], report, endorsed)
        return make_claims(report, endorsed, bound=challenge is not None)


@lru_cache(maxsize=8192)
def _with_leaf(guest: Guest) -> tuple[EndorsementRef, ...]:
    """What is asked for if the Evidence brings no leaf."""
    product = proof.report_product(guest, None).name.lower()
    key = f"{product}/{guest.chip_id.hex()}/{guest.reported_tcb.hex()}"
    return (*proof.chain_refs(guest, None), EndorsementRef(item="leaf", kind=EndorsementKind.AMD_LEAF, key=key))


def _report(evidence: Evidence) -> Report:
    return abi.parse(evidence.items.get("report", b""))
