"""Claims of an Azure confidential VM on TDX."""

from functools import lru_cache

from attest_pipeline.model import Claims
from attest_pipeline.verifiers._azure.hcl import Hcl, Vm
from attest_pipeline.verifiers._azure.vtpm import CHECKS, SCHEME, Vtpm, conditional_checks
from attest_pipeline.verifiers._intel import quote as intel
from attest_pipeline.verifiers._intel.abi import Quote
from attest_pipeline.verifiers._intel.td import Td, is_debug, td_fields, td_measurements
from attest_pipeline.verifiers._intel.verifier import COLLATERAL, platform_fields
from attest_pipeline.verifiers._shared.recurring import renewed_claims
from attest_pipeline.verifiers._tpm.abi import State
from attest_pipeline.verifiers._tpm.quote import Pcrs, lasting_fields, momentary_fields


def make_claims(quote: Quote, td: Td, hcl: Hcl, vtpm: Vtpm, version: int, *, bound: bool) -> Claims:
    """Claims of a proven VM; `bound` says whether a challenge was compared and equal.

    MRTD and RTMRs are those of the paravisor; the PCRs tell what it started.
    """
    lasting = _lasting(td, hcl.runtime.vm, vtpm.quote.state, vtpm.pcrs, version, bound)
    fields = {
        "report_data": quote.report_data.hex(),
        "user_data": hcl.runtime.user_data,
        **momentary_fields(vtpm.quote),
    }
    return renewed_claims(lasting, fields)


@lru_cache(maxsize=8192)
def _lasting(
    td: Td,
    vm: Vm,
    state: State,
    pcrs: Pcrs,
    version: int,
    bound: bool,  # noqa: FBT001 - lru_cache is slow with keywords
) -> Claims:
    """Claims that a VM makes until it measures something new."""
    report, proof, verdict = td.report, td.proof, td.verdict
    fields = td_fields(report)
    checks = (*intel.CHECKS, "tdx_module_identity", "stored_report_is_quoted", *CHECKS)
    return Claims(
        tee="az-tdx-vtpm",
        hardware_id=proof.attestation.pck.platform.ppid.hex(),
        debug=is_debug(report),
        tcb_status=verdict.status.value,
        measurements={**td_measurements(fields), **pcrs.claims},
        signer=proof.attestation.signer,
        challenge_verified=bound,
        endorsements={COLLATERAL: proof.collateral.digest},
        fields={
            **fields,
            **platform_fields(proof, verdict),
            **vm.fields,
            **lasting_fields(state, pcrs, SCHEME),
            "evidence_version": version,
        },
        checks=(*checks, *conditional_checks(version, bound=bound)),
    )
