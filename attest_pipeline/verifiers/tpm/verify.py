"""Proof of TPM Evidence: items `attest`, `signature`, `pcrs`, and what may come with them."""

from collections.abc import Mapping
from datetime import datetime

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, EndorsementKind, EndorsementRef, Endorsements, Evidence
from attest_pipeline.verifiers._tpm.abi import parse_quote, parse_signature
from attest_pipeline.verifiers._tpm.logs import check_logs
from attest_pipeline.verifiers._tpm.quote import CHALLENGE_BYTES, prove_quote, read_pcrs
from attest_pipeline.verifiers.tpm.ak import Ak, endorsed_ak, key_name
from attest_pipeline.verifiers.tpm.claims import make_claims
from attest_pipeline.verifiers.tpm.roots import trusted_roots


class TpmVerifier:
    """Proves TPM 2.0 quotes over one bank of PCRs.

    Evidence: `attest` (TPMS_ATTEST), `signature` (TPMT_SIGNATURE), `pcrs` (JSON, number to hexadecimal), and if given
    `event_log` (TCG2), `ima_log` (ASCII or binary), `ak_cert`, `ak_public` (names the key, proves nothing).
    Endorsements: `ak` (an enrolled public key), or `ak_cert`, `ca` and `crl`. `trust_anchors` may name further roots
    under `tpm` (development only). A SHA-1 bank is reported, not refused: that is policy; a signature over SHA-1 is
    refused.
    """

    tee = "tpm"
    media_types = frozenset({"application/vnd.trustedcomputinggroup.tpm2.quote"})
    challenge_bytes = CHALLENGE_BYTES

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        self._roots = trusted_roots(trust_anchors)

    def endorsements_for(self, evidence: Evidence) -> tuple[EndorsementRef, ...]:
        """The AK, enrolled or certified, and the certificates of manufacturers' authorities with their CRL.

        The AK goes by the SHA-256 of its SubjectPublicKeyInfo if the Evidence brings it, else by the qualified name
        that the quote gives. Raises BadEvidence.
        """
        public = evidence.items.get("ak_public")
        name = parse_quote(_item(evidence, "attest")).qualified_signer.hex() if public is None else key_name(public)
        return (
            EndorsementRef(item="ak", kind=EndorsementKind.TPM_AK, key=name, required=False),
            EndorsementRef(item="ak_cert", kind=EndorsementKind.TPM_AK_CERT, key=name, required=False),
            EndorsementRef(item="ca", kind=EndorsementKind.TPM_CA, key="authorities", required=False),
            EndorsementRef(item="crl", kind=EndorsementKind.TPM_CA, key="crl", required=False),
        )

    def verify(
        self, evidence: Evidence, endorsements: Endorsements, *, challenge: bytes | None, now: datetime
    ) -> Claims:
        """Prove the quote at `now`; `challenge` is all of extraData. Raises BadEvidence."""
        attest, pcrs = _item(evidence, "attest"), read_pcrs(_item(evidence, "pcrs"))
        signature = parse_signature(_item(evidence, "signature"))
        ak = endorsed_ak(endorsements, evidence.items.get("ak_cert"), self._roots, now)
        _check_claimed_key(evidence, ak)
        proof = prove_quote(attest, signature, pcrs, ak.key, challenge)
        return make_claims(proof, ak, check_logs(proof, evidence), bound=challenge is not None)


def _item(evidence: Evidence, name: str) -> bytes:
    return evidence.items.get(name, b"")


def _check_claimed_key(evidence: Evidence, ak: Ak) -> None:
    """The key that the Evidence brings is the endorsed one; by itself it proves nothing."""
    public = evidence.items.get("ak_public")
    if public is not None and key_name(public) != ak.name:
        raise BadEvidence(Reason.IDENTITY_MISMATCH, "ak_public is not the endorsed AK")
