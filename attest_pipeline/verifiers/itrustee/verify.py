"""Proof of iTrustee Evidence: items `report` and `ima_log`."""

from collections.abc import Mapping
from datetime import datetime

from attest_pipeline.model import Claims, EndorsementRef, Endorsements, Evidence
from attest_pipeline.verifiers._huawei.quoter import endorsement_refs, prove_report
from attest_pipeline.verifiers._huawei.report import Report, read_evidence
from attest_pipeline.verifiers._huawei.report_claims import make_claims
from attest_pipeline.verifiers._huawei.roots import trusted_roots


class ItrusteeVerifier:
    """Proves the item `report`, and binds `ima_log` if it is given."""

    tee = "itrustee"
    media_types = frozenset({"application/vnd.huawei.itrustee+json"})
    challenge_bytes = 32
    """The nonce has 64 bytes at most, half of which the digest of an IMA log takes."""

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        """Trust Huawei's roots, and the development anchors of vendor `huawei`."""
        self._roots = trusted_roots(trust_anchors)

    def endorsements_for(self, evidence: Evidence) -> tuple[EndorsementRef, ...]:
        """Certificates of Huawei's authorities, or of the service that certified the AK. Raises BadEvidence."""
        report, _ = _read(evidence)
        return endorsement_refs(report)

    def verify(
        self, evidence: Evidence, endorsements: Endorsements, *, challenge: bytes | None, now: datetime
    ) -> Claims:
        """Prove the report at `now`. `challenge` is the whole nonce, or all before the digest of an IMA log.

        Raises BadEvidence.
        """
        report, ima_log = _read(evidence)
        quoter, bound = prove_report(report, ima_log, endorsements, self._roots, challenge, now)
        return make_claims(self.tee, report, quoter, bound)


def _read(evidence: Evidence) -> tuple[Report, bytes | None]:
    return read_evidence(evidence.items.get("report", b""), evidence.items.get("ima_log"))
