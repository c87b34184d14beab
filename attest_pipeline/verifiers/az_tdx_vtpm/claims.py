"""Claims of an Azure confidential VM on TDX."""

from attest_pipeline.model import Claims
from attest_pipeline.verifiers._azure.hcl import Hcl
from attest_pipeline.verifiers._azure.vtpm import CHECKS, conditional_checks
from attest_pipeline.verifiers._intel import quote as intel
from attest_pipeline.verifiers._intel.tcb import Verdict
from attest_pipeline.verifiers._intel.td import TdReport, is_debug, td_fields, td_measurements
from attest_pipeline.verifiers._intel.verifier import COLLATERAL, platform_fields
from attest_pipeline.verifiers._tpm.quote import Proof, lasting_fields, momentary_fields


def make_claims(
    report: TdReport, proof: intel.Proof, verdict: Verdict, hcl: Hcl, vtpm: Proof, version: int, *, bound: bool
) -> Claims:
    """Claims of a proven VM; `bound` says whether a challenge was compared and equal.

    MRTD and RTMRs are those of the paravisor; the PCRs tell what it started.
    """
    pcrs, fields = vtpm.pcrs.claims, td_fields(report)
    checks = (*intel.CHECKS, "tdx_module_identity", "stored_report_is_quoted", *CHECKS)
    return Claims(
        tee="az-tdx-vtpm",
        hardware_id=proof.attestation.pck.platform.ppid.hex(),
        debug=is_debug(report),
        tcb_status=verdict.status.value,
        measurements={**td_measurements(fields), **pcrs},
        signer=proof.attestation.signer,
        challenge_verified=bound,
        endorsements={COLLATERAL: proof.collateral.digest},
        fields={
            **fields,
            **platform_fields(proof, verdict),
            **hcl.fields,
            **lasting_fields(vtpm.quote.state, vtpm.pcrs, vtpm.signature.scheme),
            **momentary_fields(vtpm.quote),
            "evidence_version": version,
        },
        checks=(*checks, *conditional_checks(version, bound=bound)),
    )
