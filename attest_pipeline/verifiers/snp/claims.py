"""Claims of an SEV-SNP guest."""

from collections.abc import Mapping
from typing import Final

from attest_pipeline.model import Claims, FieldValue
from attest_pipeline.verifiers.snp.abi import CPUID_SINCE, Report
from attest_pipeline.verifiers.snp.kds import Leaf

CHECKS: Final = (
    "report_format",
    "leaf_chain_to_pinned_root",
    "leaf_chain_current",
    "signing_key_kind",
    "reported_tcb_of_leaf",
    "chip_id_of_leaf",
    "report_signature",
)
"""What always holds; `product_of_leaf` (report version 3 and later), `chain_not_revoked` and `challenge` may follow."""

_DEBUG: Final = 1 << 19


def make_claims(report: Report, leaf: Leaf, signer: str, documents: Mapping[str, str], *, bound: bool) -> Claims:
    """Claims of a proven report under the documents (name → SHA-256); `bound` says whether a challenge was equal."""
    measurement = report.measurement.hex()
    revocation = "crl" in documents
    held = (
        ("product_of_leaf", report.version >= CPUID_SINCE),
        ("chain_not_revoked", revocation),
        ("challenge", bound),
    )
    return Claims(
        tee="snp",
        hardware_id=None if leaf.vlek else report.chip_id.hex(),
        debug=bool(report.policy & _DEBUG),
        tcb_status=None,
        measurements={"measurement": measurement},
        signer=signer,
        challenge_verified=bound,
        endorsements=dict(documents),
        fields={
            "measurement": measurement,
            **_identity(report),
            **_guest_policy(report.policy),
            **_platform(report, leaf),
            "revocation_checked": revocation,
        },
        checks=(*CHECKS, *(name for name, made in held if made)),
    )


def _identity(report: Report) -> dict[str, FieldValue]:
    """Who the guest is and what it says."""
    return {
        "version": report.version,
        "guest_svn": report.guest_svn,
        "vmpl": report.vmpl,
        "report_data": report.report_data.hex(),
        "host_data": report.host_data.hex(),
        "family_id": report.family_id.hex(),
        "image_id": report.image_id.hex(),
        "id_key_digest": report.id_key_digest.hex(),
        "author_key_digest": report.author_key_digest.hex(),
        "author_key_enabled": report.author_key,
        "report_id": report.report_id.hex(),
        "report_id_ma": report.report_id_ma.hex(),
    }


def _guest_policy(policy: int) -> dict[str, FieldValue]:
    """The guest policy bit by bit, so that Rego needs no bit arithmetic (AMD 56860, table GUEST_POLICY)."""
    return {
        "policy": policy,
        "abi_minor": policy & 0xFF,
        "abi_major": policy >> 8 & 0xFF,
        "smt": bool(policy & 1 << 16),
        "migrate_ma": bool(policy & 1 << 18),
        "debug": bool(policy & _DEBUG),
        "single_socket": bool(policy & 1 << 20),
    }


def _platform(report: Report, leaf: Leaf) -> dict[str, FieldValue]:
    """Where the guest runs: chip, product, keys and TCB versions, the reported one also part by part."""
    tcb = report.reported_tcb
    return {
        "product": leaf.product.name,
        "signing_key": "vlek" if leaf.vlek else "vcek",
        "csp_id": leaf.csp_id,
        "mask_chip_key": report.mask_chip_key,
        "chip_id": report.chip_id.hex(),
        "platform_info": report.platform_info,
        "reported_tcb": tcb.hex(),
        "committed_tcb": report.committed_tcb.hex(),
        "launch_tcb": report.launch_tcb.hex(),
        "current_tcb": report.current_tcb.hex(),
        **{name: tcb[index] for name, index in leaf.product.parts.items()},
        "current_version": f"{report.current_major}.{report.current_minor}.{report.current_build}",
        "committed_version": f"{report.committed_major}.{report.committed_minor}.{report.committed_build}",
        "launch_mitigations": report.launch_mitigations,
        "current_mitigations": report.current_mitigations,
    }
