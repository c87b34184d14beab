"""Verifier of Huawei iTrustee Evidence (`docs/verifiers/itrustee.md`)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from attest_pipeline.model import Claims, EndorsementKind, EndorsementRef, Endorsements, Evidence
from attest_pipeline.verifiers._huawei.roots import trusted_roots
from attest_pipeline.verifiers.itrustee import abi
from attest_pipeline.verifiers.itrustee.abi import Report
from attest_pipeline.verifiers.itrustee.claims import claims_of
from attest_pipeline.verifiers.itrustee.verify import check_nonce, check_report, prove_quoter

_OF_A_SERVICE: Final = (EndorsementRef(item="ak_issuer", kind=EndorsementKind.HUAWEI_AK_ISSUER, key="itrustee"),)
_OF_HUAWEI: Final = (
    EndorsementRef(item="ca", kind=EndorsementKind.HUAWEI_CA, key="itrustee"),
    EndorsementRef(item="crl", kind=EndorsementKind.HUAWEI_CA, key="itrustee/crl", required=False),
)


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
        return _OF_A_SERVICE if report.scenario == abi.AS_NO_DAA else _OF_HUAWEI

    def verify(
        self, evidence: Evidence, endorsements: Endorsements, *, challenge: bytes | None, now: datetime
    ) -> Claims:
        """Prove the report at `now`. `challenge` is the whole nonce, or all before the digest of an IMA log.

        Raises BadEvidence.
        """
        report, ima_log = _read(evidence)
        quoter = prove_quoter(report, endorsements, self._roots, now)
        bound = check_nonce(report, challenge, ima_log)
        check_report(report, quoter)
        return claims_of(report, quoter, bound)


def _read(evidence: Evidence) -> tuple[Report, bytes | None]:
    return abi.read_evidence(evidence.items.get("report", b""), evidence.items.get("ima_log"))
