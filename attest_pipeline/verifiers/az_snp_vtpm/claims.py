"""Claims of an Azure confidential VM on SEV-SNP."""

from functools import lru_cache

from attest_pipeline.model import Claims
from attest_pipeline.verifiers._amd import proof as amd
from attest_pipeline.verifiers._amd.abi import Guest
from attest_pipeline.verifiers._amd.fields import guest_fields, is_debug
from attest_pipeline.verifiers._azure.hcl import Vm
from attest_pipeline.verifiers._azure.vtpm import CHECKS, SCHEME, Vtpm, conditional_checks
from attest_pipeline.verifiers._shared.recurring import renewed_claims
from attest_pipeline.verifiers._tpm.abi import State
from attest_pipeline.verifiers._tpm.quote import Pcrs, lasting_fields, momentary_fields
from attest_pipeline.verifiers.az_snp_vtpm.paravisor import Paravisor


def make_claims(paravisor: Paravisor, vtpm: Vtpm, version: int, *, bound: bool) -> Claims:
    """Claims of a proven VM; `bound` says whether a challenge was equal.

    The launch measurement is that of the paravisor; the PCRs tell what it started.
    """
    hcl, report, endorsed = paravisor
    lasting = _lasting(report.guest, endorsed, hcl.runtime.vm, vtpm.quote.state, vtpm.pcrs, version, bound)
    fields = {"report_data": report.report_data.hex(), "user_data": hcl.runtime.user_data}
    return renewed_claims(lasting, {**fields, **momentary_fields(vtpm.quote)})


@lru_cache(maxsize=8192)
def _lasting(
    guest: Guest,
    endorsed: amd.Endorsed,
    vm: Vm,
    state: State,
    pcrs: Pcrs,
    version: int,
    bound: bool,  # noqa: FBT001 - lru_cache is slow with keywords
) -> Claims:
    """Claims that a VM makes until it measures something new."""
    leaf, documents = endorsed.leaf, endorsed.documents
    checks = (*amd.CHECKS, *amd.conditional_checks(guest, documents), "report_of_paravisor", *CHECKS)
    return Claims(
        tee="az-snp-vtpm",
        hardware_id=None if leaf.vlek else guest.chip_id.hex(),
        debug=is_debug(guest),
        tcb_status=None,
        measurements={"measurement": guest.measurement.hex(), **pcrs.claims},
        signer=endorsed.signer,
        challenge_verified=bound,
        endorsements=dict(documents),
        fields={
            **guest_fields(guest, leaf),
            **vm.fields,
            **lasting_fields(state, pcrs, SCHEME),
            "revocation_checked": "crl" in documents,
            "evidence_version": version,
        },
        checks=(*checks, *conditional_checks(version, bound=bound)),
    )
