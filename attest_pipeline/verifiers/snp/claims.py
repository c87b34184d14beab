"""Claims of an SEV-SNP guest."""

from functools import lru_cache

from attest_pipeline.model import Claims
from attest_pipeline.verifiers._amd.abi import Guest, Report
from attest_pipeline.verifiers._amd.fields import guest_fields, is_debug
from attest_pipeline.verifiers._amd.proof import CHECKS, Endorsed, conditional_checks
from attest_pipeline.verifiers._shared.recurring import renewed_claims


def make_claims(report: Report, endorsed: Endorsed, *, bound: bool) -> Claims:
    """Claims of a report proven under that leaf; `bound` says whether a challenge was equal."""
    return renewed_claims(_lasting(report.guest, endorsed, bound), {"report_data": report.report_data.hex()})


@lru_cache(maxsize=8192)
def _lasting(guest: Guest, endorsed: Endorsed, bound: bool) -> Claims:  # noqa: FBT001 - lru_cache is slow with keywords
    """Claims that a guest makes time and again: all but its report data."""
    leaf, documents = endorsed.leaf, endorsed.documents
    checks = (*CHECKS, *conditional_checks(guest, documents))
    return Claims(
        tee="snp",
        hardware_id=None if leaf.vlek else guest.chip_id.hex(),
        debug=is_debug(guest),
        tcb_status=None,
        measurements={"measurement": guest.measurement.hex()},
        signer=endorsed.signer,
        challenge_verified=bound,
        endorsements=dict(documents),
        fields={**guest_fields(guest, leaf), "revocation_checked": "crl" in documents},
        checks=(*checks, "challenge") if bound else checks,
    )
