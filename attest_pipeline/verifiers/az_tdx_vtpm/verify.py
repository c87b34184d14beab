"""Proof of Azure TDX Evidence: Intel root → PCK → TD quote of the paravisor → run-time data → AK → TPM quote."""

from datetime import datetime
from typing import Final

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.verifiers._azure.hcl import TDX, Hcl, check_binding, parse_hcl
from attest_pipeline.verifiers._azure.vtpm import prove_vtpm
from attest_pipeline.verifiers._intel.abi import Quote, State
from attest_pipeline.verifiers._intel.td import check_td, judge_td
from attest_pipeline.verifiers._intel.verifier import DcapVerifier
from attest_pipeline.verifiers._tpm.quote import CHALLENGE_BYTES
from attest_pipeline.verifiers.az_tdx_vtpm.abi import Td, parse_td_report, read_td
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
        document, quote, *_ = _td(evidence)
        check_td(quote)
        td = judge_td(self._prove(quote, endorsements, now))
        hcl = quoted_hcl(document.hcl_report, quote.report_data, quote.state)
        vtpm = prove_vtpm(document, hcl, challenge)
        return make_claims(quote, td, hcl, vtpm, document.version, bound=challenge is not None)

    def _quote(self, evidence: Evidence) -> Quote:
        return _td(evidence).quote


def quoted_hcl(hcl_report: bytes, report_data: bytes, state: State) -> Hcl:
    """HCL report whose TDREPORT is the one that was quoted, and so is its run-time data.

    The MAC of the TDREPORT can be checked on its own machine only; the quote, which was made from it, is what proves
    it. Raises BadEvidence(UNBOUND | MALFORMED | TOO_LARGE).
    """
    hcl = parse_hcl(hcl_report, TDX)
    stored = parse_td_report(hcl.hardware)
    if stored.report_data != report_data or stored.td_info != state.report[_TD_INFO]:
        raise BadEvidence(Reason.UNBOUND, "TDREPORT in the HCL report is not the one that was quoted")
    check_binding(hcl, report_data)
    return hcl


def _td(evidence: Evidence) -> Td:
    return read_td(evidence.items.get("evidence", b""))
