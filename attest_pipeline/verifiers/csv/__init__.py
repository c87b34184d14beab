"""Verifier of Hygon CSV Evidence (`docs/verifiers/csv.md`)."""

from collections.abc import Mapping
from datetime import datetime

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, EndorsementKind, EndorsementRef, Endorsements, Evidence
from attest_pipeline.verifiers.csv import abi
from attest_pipeline.verifiers.csv.claims import claims_of
from attest_pipeline.verifiers.csv.roots import trusted_roots
from attest_pipeline.verifiers.csv.verify import check_event_log, check_report, find_hsk_cek, prove_chain


class CsvVerifier:
    """Proves the item `report`, version 1 or 2, with `hsk_cek` endorsed or beside it, and `event_log` if given."""

    tee = "csv"
    media_types = frozenset({"application/vnd.hygon.csv"})
    challenge_bytes = 64

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        """Trust Hygon's root, and the development anchors of vendor `hygon`. Raises Misconfigured."""
        self._roots = trusted_roots(trust_anchors)

    def endorsements_for(self, evidence: Evidence) -> tuple[EndorsementRef, ...]:
        """Certificates of the chip by its serial number, unless the Evidence brings them. Raises BadEvidence."""
        if "hsk_cek" in evidence.items:
            return ()
        serial = abi.parse(evidence.items.get("report", b"")).serial
        if not serial.isalnum():
            raise BadEvidence(Reason.MALFORMED, "report without the serial number of a chip")
        key = serial.decode("ascii").lower()
        return (EndorsementRef(item="hsk_cek", kind=EndorsementKind.HYGON_HSK_CEK, key=key),)

    def verify(
        self,
        evidence: Evidence,
        endorsements: Endorsements,
        *,
        challenge: bytes | None,
        now: datetime,  # noqa: ARG002 - Hygon's certificates have no dates
    ) -> Claims:
        """Prove the report; `challenge` is all 64 bytes of report_data, unmasked. Raises BadEvidence."""
        report = abi.parse(evidence.items.get("report", b""))
        chain = prove_chain(find_hsk_cek(evidence, endorsements), report.pek, self._roots)
        check_report(report, chain, challenge)
        log = evidence.items.get("event_log")
        logs = () if log is None else (check_event_log(report, log),)
        return claims_of(report, chain, logs, bound=challenge is not None)
