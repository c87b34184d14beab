"""Claims of an SEV-SNP report under canonical names."""

from typing import Final

from attest_pipeline.model import FieldValue
from attest_pipeline.verifiers._amd.abi import Report
from attest_pipeline.verifiers._amd.kds import Leaf

_DEBUG: Final = 1 << 19


def is_debug(report: Report) -> bool:
    """Whether the host may look into the guest (guest policy, bit 19)."""
    return bool(report.policy & _DEBUG)


def report_fields(report: Report, leaf: Leaf) -> dict[str, FieldValue]:
    """Every field of the report that a policy may ask for."""
    return {
        "measurement": report.measurement.hex(),
        **_identity(report),
        **_guest_policy(report.policy),
        **_platform(report, leaf),
    }


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
