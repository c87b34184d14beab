"""Claims of an SEV-SNP guest."""

from attest_pipeline.model import Claims
from attest_pipeline.verifiers._amd.abi import Report
from attest_pipeline.verifiers._amd.fields import is_debug, report_fields
from attest_pipeline.verifiers._amd.proof import CHECKS, Endorsed, conditional_checks


def make_claims(report: Report, endorsed: Endorsed, *, bound: bool) -> Claims:
    """Claims of a report proven under that leaf; `bound` says whether a challenge was equal."""
    leaf, documents = endorsed.leaf, endorsed.documents
    checks = (*CHECKS, *conditional_checks(report, documents))
    return Claims(
        tee="snp",
        hardware_id=None if leaf.vlek else report.chip_id.hex(),
        debug=is_debug(report),
        tcb_status=None,
        measurements={"measurement": report.measurement.hex()},
        signer=endorsed.signer,
        challenge_verified=bound,
        endorsements=dict(documents),
        fields={**report_fields(report, leaf), "revocation_checked": "crl" in documents},
        checks=(*checks, "challenge") if bound else checks,
    )
