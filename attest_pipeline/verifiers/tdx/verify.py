"""Proof of TDX Evidence: item `quote`, optional item `event_log` (CCEL), endorsement `collateral`."""

from datetime import datetime

from attest_pipeline.model import Claims, Endorsements, EventLog, Evidence, LogName
from attest_pipeline.verifiers._intel.td import TdReport, check_td, judge_td
from attest_pipeline.verifiers._intel.verifier import DcapVerifier, check_challenge
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
        check_td(quote)
        td = judge_td(self._prove(quote, endorsements, now))
        bound = check_challenge(quote.report_data, challenge)
        log = evidence.items.get("event_log")
        explained = None if log is None else check_event_log(td.report, log)
        return make_claims(quote, td, explained, bound=bound)


def check_event_log(report: TdReport, log: bytes) -> EventLog:
    """What the log explains of the RTMRs (its register i + 1 is RTMR i).

    A register that the log does not extend is not compared, because run-time events never enter the CCEL.
    Raises BadEvidence(LOG_MISMATCH | MALFORMED | TOO_LARGE).
    """
    return explain(LogName.CCEL, log, read_tcg2(log, "sha384"), dict(enumerate(report.rtmrs, 1)))
