"""Claims of an Azure confidential VM on SEV-SNP."""

from functools import lru_cache

from msgspec.structs import replace

from attest_pipeline.model import Claims
from attest_pipeline.verifiers._amd import proof as amd
from attest_pipeline.verifiers._amd.abi import Report
from attest_pipeline.verifiers._amd.fields import is_debug, report_fields
from attest_pipeline.verifiers._azure.hcl import Vm
from attest_pipeline.verifiers._azure.vtpm import CHECKS, SCHEME, conditional_checks
from attest_pipeline.verifiers._shared.recurring import renewed_claims
from attest_pipeline.verifiers._tpm.abi import State
from attest_pipeline.verifiers._tpm.quote import Pcrs, Proof, lasting_fields, momentary_fields
from attest_pipeline.verifiers.az_snp_vtpm.paravisor import Paravisor


def make_claims(paravisor: Paravisor, vtpm: Proof, version: int, *, bound: bool) -> Claims:
    """Claims of a proven VM; `bound` says whether a challenge was equal.

    The launch measurement is that of the paravisor; the PCRs tell what it started.
    """
    hcl, report, endorsed = paravisor
    same = replace(report, report_data=b"", signature_r=b"", signature_s=b"")
    lasting = _lasting(same, endorsed, hcl.runtime.vm, vtpm.quote.state, vtpm.pcrs, version, bound)
    fields = {"report_data": report.report_data.hex(), "user_data": hcl.runtime.user_data}
    return renewed_claims(lasting, {**fields, **momentary_fields(vtpm.quote)})


@lru_cache(maxsize=8192)
def _lasting(
    report: Report,
    endorsed: amd.Endorsed,
    vm: Vm,
    state: State,
    pcrs: Pcrs,
    version: int,
    bound: bool,  # noqa: FBT001 - lru_cache is slow with keywords
) -> Claims:
    """Claims that a VM makes until it measures something new, of a report without what is new in each."""
    leaf, documents = endorsed.leaf, endorsed.documents
    checks = (*amd.CHECKS, *amd.conditional_checks(report, documents), "report_of_paravisor", *CHECKS)
    return Claims(
        tee="az-snp-vtpm",
        hardware_id=None if leaf.vlek else report.chip_id.hex(),
        debug=is_debug(report),
        tcb_status=None,
        measurements={"measurement": report.measurement.hex(), **pcrs.claims},
        signer=endorsed.signer,
        challenge_verified=bound,
        endorsements=dict(documents),
        fields={
            **report_fields(report, leaf),
            **vm.fields,
            **lasting_fields(state, pcrs, SCHEME),
            "revocation_checked": "crl" in documents,
            "evidence_version": version,
        },
        checks=(*checks, *conditional_checks(version, bound=bound)),
    )
