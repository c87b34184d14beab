"""Proof of a PSA token: the device's Initial Attestation Key, as endorsed, signed it."""

from collections.abc import Mapping
from datetime import datetime

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, EndorsementKind, EndorsementRef, Endorsements, Evidence
from attest_pipeline.verifiers._arm.anchor import load_anchor
from attest_pipeline.verifiers._arm.token import check_challenge
from attest_pipeline.verifiers._shared.cose import check_signature
from attest_pipeline.verifiers.psa.abi import Token, read_token
from attest_pipeline.verifiers.psa.claims import make_claims


class PsaVerifier:
    """Proves the item `token`; the trust anchor is the device's endorsed IAK, as PSA has no vendor root."""

    tee = "psa"
    media_types = frozenset(
        {
            'application/eat+cwt; eat_profile="tag:psacertified.org,2023:psa#tfm"',
            'application/eat+cwt; eat_profile="tag:psacertified.org,2019:psa#legacy"',
        }
    )
    challenge_bytes = 64

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        """Take no anchors: only an Endorsement says which key a device has."""

    def endorsements_for(self, evidence: Evidence) -> tuple[EndorsementRef, ...]:
        """The IAK of the device that the token names."""
        device = _token_of(evidence).device
        key = f"{device.implementation_id.hex()}/{device.instance_id.hex()}"
        return (EndorsementRef(item="iak", kind=EndorsementKind.PSA_IAK, key=key),)

    def verify(
        self,
        evidence: Evidence,
        endorsements: Endorsements,
        *,
        challenge: bytes | None,
        now: datetime,  # noqa: ARG002 - neither token nor IAK has a validity
    ) -> Claims:
        """Prove the token. `challenge` is the whole nonce: 32, 48 or 64 bytes. Raises BadEvidence."""
        token = _token_of(evidence)
        iak = endorsements.one("iak")
        if iak is None:
            raise BadEvidence(Reason.MISSING_ENDORSEMENT, "no IAK is endorsed for this device")
        anchor = load_anchor(iak)
        check_signature(token.message, anchor.key, "PSA token")
        bound = check_challenge(token.nonce, challenge)
        return make_claims(token, anchor, challenge_verified=bound)


def _token_of(evidence: Evidence) -> Token:
    return read_token(evidence.items.get("token", b""))
