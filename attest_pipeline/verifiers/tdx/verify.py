"""Proof of TDX Evidence: item `quote`, optional item `event_log` (CCEL), endorsement `collateral`."""

from datetime import datetime

from attest_pipeline.model import Claims, Endorsements, EventLog, Evidence, LogName
from attest_pipeline.verifiers._intel.td import TdReport, check_module, td_report
from attest_pipeline.verifiers._intel.verifier import DcapVerifier, check_challenge, judge_platform
from attest_pipeline.verifiers._shared.eventlog.replay import explain
from attest_pipeline.verifiers._shared.eventlog.tcg2 import read_tcg2
from attest_pipeline.verifiers.tdx.claims import make_claims


class TdxVerifier(DcapVerifier):
    """Proves TDX quotes. Debug mode, weak attributes and an old TCB are reported, not refused: that is policy."""

    tee = "tdx"
    media_types = frozenset({"application/vnd.intel.tdx.quote"})
    challenge_bytes = 64

    def verify(
        self, evidence: Evidence, endorsements: Endorsements, *, challenge: bytes | None, now: datetime
    ) -> Claims:
        """Prove the quote at `now`; `challenge` is all 64 bytes of report_data. Raises BadEvidence."""
        quote = self._quote(evidence)
        report = td_report(quote)
        proof = self._prove(quote, endorsements, now)
        check_module(report, proof.collateral.tcb_info)
        verdict = judge_platform(proof, report.tee_tcb_svn, report.tee_tcb_svn2)
        bound = check_challenge(report.report_data, challenge)
        log = evidence.items.get("event_log")
        logs = () if log is None else (check_event_log(report, log),)
        return make_claims(report, proof, verdict, logs, bound=bound)


def check_event_log(report: TdReport, log: bytes) -> EventLog:
    """What the log explains of the RTMRs (its register i + 1 is RTMR i).

    A register that the log does not extend is not compared, because run-time events never enter the CCEL.
    Raises BadEvidence(LOG_MISMATCH | MALFORMED | TOO_LARGE).
    """
    return explain(LogName.CCEL, log, read_tcg2(log, "sha384"), dict(enumerate(report.rtmrs, 1)))
