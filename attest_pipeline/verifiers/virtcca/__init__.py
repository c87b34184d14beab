"""Verifier of Huawei virtCCA Evidence (`docs/verifiers/virtcca.md`)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from attest_pipeline.model import Claims, EndorsementKind, EndorsementRef, Endorsements, Evidence
from attest_pipeline.verifiers._arm.token import check_challenge
from attest_pipeline.verifiers._huawei.roots import trusted_roots
from attest_pipeline.verifiers.virtcca.claims import claims_of
from attest_pipeline.verifiers.virtcca.verify import check_logs, prove_owner, prove_token

_ENDORSEMENTS: Final = (
    EndorsementRef(item="ca", kind=EndorsementKind.HUAWEI_CA, key="virtcca"),
    EndorsementRef(item="crl", kind=EndorsementKind.HUAWEI_CA, key="virtcca/crl", required=False),
)


class VirtccaVerifier:
    """Proves the items `token` and `dev_cert`, and `event_log` and `ima_log` if they are given."""

    tee = "virtcca"
    media_types = frozenset({"application/vnd.huawei.virtcca"})
    challenge_bytes = 64

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        """Trust Huawei's roots, and the development anchors of vendor `huawei`."""
        self._roots = trusted_roots(trust_anchors)

    def endorsements_for(self, evidence: Evidence) -> tuple[EndorsementRef, ...]:  # noqa: ARG002 - the same for all
        """The certificates of Huawei's authorities, and their CRL if the operator has one."""
        return _ENDORSEMENTS

    def verify(
        self, evidence: Evidence, endorsements: Endorsements, *, challenge: bytes | None, now: datetime
    ) -> Claims:
        """Prove the Evidence at `now`. `challenge` is label 10 of the CVM token, 64 bytes. Raises BadEvidence."""
        device = prove_owner(evidence, endorsements, self._roots, now)
        proof = prove_token(evidence.items.get("token", b""), device)
        verified = check_challenge(proof.challenge, challenge)
        logs = check_logs(proof.realm, evidence)
        return claims_of(proof, device, logs=logs, challenge_verified=verified)
