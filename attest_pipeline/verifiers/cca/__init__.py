"""Verifier of Arm CCA tokens (`docs/verifiers/cca.md`)."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, EndorsementKind, EndorsementRef, Endorsements, Evidence
from attest_pipeline.verifiers._arm.token import check_challenge, read_tokens
from attest_pipeline.verifiers.cca.abi import read_platform_token
from attest_pipeline.verifiers.cca.claims import claims_of
from attest_pipeline.verifiers.cca.verify import prove


class CcaVerifier:
    """Proves the item `token`; the trust anchor is the endorsed CPAK of the platform, as CCA has no vendor root."""

    tee = "cca"
    media_types = frozenset({'application/eat+cwt; eat_profile="tag:arm.com,2023:realm#1.0.0"'})
    challenge_bytes = 64

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        """Take no anchors: only an Endorsement says which key a platform has."""

    def endorsements_for(self, evidence: Evidence) -> tuple[EndorsementRef, ...]:
        """The CPAK of the platform that the token names."""
        return _named(read_tokens(evidence.items.get("token", b"")).required_platform())

    def verify(
        self,
        evidence: Evidence,
        endorsements: Endorsements,
        *,
        challenge: bytes | None,
        now: datetime,  # noqa: ARG002 - neither token nor CPAK has a validity
    ) -> Claims:
        """Prove the token. `challenge` is the realm challenge, 64 bytes. Raises BadEvidence."""
        cpak = endorsements.one("cpak")
        if cpak is None:
            raise BadEvidence(Reason.MISSING_ENDORSEMENT, "no CPAK is endorsed for this platform")
        proof = prove(evidence.items.get("token", b""), cpak)
        return claims_of(proof, challenge_verified=check_challenge(proof.challenge, challenge))


@lru_cache(maxsize=8192)
def _named(platform_token: bytes) -> tuple[EndorsementRef, ...]:
    """Reference to the CPAK that an unproven platform token asks for."""
    platform = read_platform_token(platform_token).claims
    key = f"{platform.implementation_id.hex()}/{platform.instance_id.hex()}"
    return (EndorsementRef(item="cpak", kind=EndorsementKind.ARM_CPAK, key=key),)
