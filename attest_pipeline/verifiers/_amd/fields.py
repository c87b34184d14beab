"""Claims of an SEV-SNP report under canonical names."""

from typing import Final

from attest_pipeline.model import FieldValue
from attest_pipeline.verifiers._amd.abi import Guest
from attest_pipeline.verifiers._amd.kds import Leaf

_DEBUG: Final = 1 << 19


def is_debug(guest: Guest) -> bool:
    """Whether the host may look into the guest (guest policy, bit 19)."""
    return bool(guest.policy & _DEBUG)


def guest_fields(guest: Guest, leaf: Leaf) -> dict[str, FieldValue]:
    """Every field of the report that a policy may ask for, but the one that changes."""
    return {
        "measurement": guest.measurement.hex(),
        **_identity(guest),
        **_guest_policy(guest.policy),
        **_platform(guest, leaf),
    }


def _identity(guest: Guest) -> dict[str, FieldValue]:
    """Who the guest is and what it says."""
    return {
        "version": guest.version,
        "guest_svn": guest.guest_svn,
        "vmpl": guest.vmpl,
        "host_data": guest.host_data.hex(),
        "family_id": guest.family_id.hex(),
        "image_id": guest.image_id.hex(),
        "id_key_digest": guest.id_key_digest.hex(),
        "author_key_digest": guest.author_key_digest.hex(),
        "author_key_enabled": guest.author_key,
        "report_id": guest.report_id.hex(),
        "report_id_ma": guest.report_id_ma.hex(),
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


def _platform(guest: Guest, leaf: Leaf) -> dict[str, FieldValue]:
    """Where the guest runs: chip, product, keys and TCB versions, the reported one also part by part."""
    tcb = guest.reported_tcb
    return {
        "product": leaf.product.name,
        "signing_key": "vlek" if leaf.vlek else "vcek",
        "csp_id": leaf.csp_id,
        "mask_chip_key": guest.mask_chip_key,
        "chip_id": guest.chip_id.hex(),
        "platform_info": guest.platform_info,
        "reported_tcb": tcb.hex(),
        "committed_tcb": guest.committed_tcb.hex(),
        "launch_tcb": guest.launch_tcb.hex(),
        "current_tcb": guest.current_tcb.hex(),
        **{name: tcb[index] for name, index in leaf.product.parts.items()},
        "current_version": f"{guest.current_major}.{guest.current_minor}.{guest.current_build}",
        "committed_version": f"{guest.committed_major}.{guest.committed_minor}.{guest.committed_build}",
        "launch_mitigations": guest.launch_mitigations,
        "current_mitigations": guest.current_mitigations,
    }
