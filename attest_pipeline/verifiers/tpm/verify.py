"""Proof of TPM Evidence: items `attest`, `signature`, `pcrs`, and what may come with them."""

from collections.abc import Mapping
from datetime import datetime

from attest_pipeline.model import Claims, EndorsementRef, Endorsements, Evidence
from attest_pipeline.verifiers._tpm.claims import make_claims
from attest_pipeline.verifiers._tpm.machine import endorsement_refs, prove_machine
from attest_pipeline.verifiers._tpm.quote import CHALLENGE_BYTES
from attest_pipeline.verifiers._tpm.roots import trusted_roots


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
        """The AK, enrolled or certified, and the certificates of manufacturers' authorities. Raises BadEvidence."""
        return endorsement_refs(evidence)

    def verify(
        self, evidence: Evidence, endorsements: Endorsements, *, challenge: bytes | None, now: datetime
    ) -> Claims:
        """Prove the quote at `now`; `challenge` is all of extraData. Raises BadEvidence."""
        machine = prove_machine(evidence, evidence.items.get("ima_log"), endorsements, self._roots, challenge, now)
        return make_claims(self.tee, machine, machine.measured.logs, bound=challenge is not None)
