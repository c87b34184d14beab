"""Proof of Azure TDX Evidence: Intel root → PCK → TD quote of the paravisor → run-time data → AK → TPM quote."""

from datetime import datetime
from typing import Final

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.verifiers._azure.document import Document, read_tdx
from attest_pipeline.verifiers._azure.hcl import TDX, check_binding, parse_hcl
from attest_pipeline.verifiers._azure.vtpm import prove_vtpm
from attest_pipeline.verifiers._intel.abi import Quote, parse_quote
from attest_pipeline.verifiers._intel.td import TdReport, check_module, td_report
from attest_pipeline.verifiers._intel.verifier import DcapVerifier, judge_platform
from attest_pipeline.verifiers._tpm.quote import CHALLENGE_BYTES
from attest_pipeline.verifiers.az_tdx_vtpm.abi import parse_td_report
from attest_pipeline.verifiers.az_tdx_vtpm.claims import make_claims

_TD_INFO: Final = slice(120, 520)
"""ATTRIBUTES to RTMR3 in the body of a quote."""


class AzTdxVerifier(DcapVerifier):
    """Proves the item `evidence`, the JSON of an Azure confidential VM in any of its three versions.

    Endorsement: `collateral`. Debug mode, weak attributes and an old TCB are reported, not refused: that is policy.
    """

    tee = "az-tdx-vtpm"
    media_types = frozenset({"application/vnd.microsoft.azure.tdx-vtpm+json"})
    challenge_bytes = CHALLENGE_BYTES

    def verify(
        self, evidence: Evidence, endorsements: Endorsements, *, challenge: bytes | None, now: datetime
    ) -> Claims:
        """Prove the Evidence at `now`; `challenge` is all of the TPM quote's extraData. Raises BadEvidence."""
        document, quote = _document(evidence), self._quote(evidence)
        report = td_report(quote)
        proof = self._prove(quote, endorsements, now)
        check_module(report, proof.collateral.tcb_info)
        verdict = judge_platform(proof, report.tee_tcb_svn, report.tee_tcb_svn2)
        hcl = parse_hcl(document.hcl_report, TDX)
        check_stored_report(hcl.hardware, quote, report)
        check_binding(hcl, report.report_data)
        vtpm = prove_vtpm(document, hcl, challenge)
        return make_claims(report, proof, verdict, hcl, vtpm, document.version, bound=challenge is not None)

    def _quote(self, evidence: Evidence) -> Quote:
        return parse_quote(_document(evidence).hardware)


def check_stored_report(stored: bytes, quote: Quote, report: TdReport) -> None:
    """Require that the TDREPORT in the HCL report is the one that was quoted. Raises BadEvidence(UNBOUND | MALFORMED).

    Its MAC can be checked on its own machine only; the quote, which was made from it, is what proves it.
    """
    inner = parse_td_report(stored)
    if inner.report_data != report.report_data or inner.td_info != quote.body[_TD_INFO]:
        raise BadEvidence(Reason.UNBOUND, "TDREPORT in the HCL report is not the one that was quoted")


def _document(evidence: Evidence) -> Document:
    return read_tdx(evidence.items.get("evidence", b""))
