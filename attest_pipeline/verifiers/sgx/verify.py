"""Proof of SGX Evidence: item `quote`, endorsement `collateral`."""

from datetime import datetime

from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.verifiers._intel.verifier import DcapVerifier, check_challenge, judge_platform
from attest_pipeline.verifiers.sgx.abi import enclave_report
from attest_pipeline.verifiers.sgx.claims import make_claims


class SgxVerifier(DcapVerifier):
    """Proves SGX quotes. Debug mode and an old TCB are reported, not refused: judging them is policy."""

    tee = "sgx"
    media_types = frozenset({"application/vnd.intel.sgx.quote"})
    challenge_bytes = 64

    def verify(
        self, evidence: Evidence, endorsements: Endorsements, *, challenge: bytes | None, now: datetime
    ) -> Claims:
        """Prove the quote at `now`; `challenge` is all 64 bytes of report_data. Raises BadEvidence."""
        quote = self._quote(evidence)
        report = enclave_report(quote.state)
        proof = self._prove(quote, endorsements, now)
        verdict = judge_platform(proof)
        bound = check_challenge(quote.report_data, challenge)
        return make_claims(quote, report, proof, verdict, bound=bound)
