"""The proof of a DCAP quote: from its signature through attestation key, QE and PCK to Intel's root.

Source: Intel SGX/TDX DCAP Quote Verification Library, QuoteVerifier and EnclaveReportVerifier.
"""

import hashlib
from datetime import datetime
from functools import lru_cache
from typing import Final

from msgspec import Struct

from attest_pipeline.crypto import EcKey, UnusableKey, load_point
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._intel.abi import (
    SGX_REPORT_DATA,
    BodyType,
    Quote,
    SgxReport,
    State,
    parse_certification,
    parse_sgx_report,
)
from attest_pipeline.verifiers._intel.collateral import Collateral, check_collateral, prove_collateral
from attest_pipeline.verifiers._intel.documents import EnclaveIdentity
from attest_pipeline.verifiers._intel.pck import Pck, Platform, load_pck
from attest_pipeline.verifiers._shared.x509 import Path, check_not_listed, check_window, public_key, signed_path

CHECKS: Final = (
    "collateral_signatures",
    "collateral_current",
    "collateral_signers_not_revoked",
    "pck_chain_to_pinned_root",
    "pck_chain_current",
    "pck_chain_not_revoked",
    "qe_report_signature",
    "attestation_key_bound_to_qe",
    "qe_identity",
    "qe_not_debug",
    "collateral_of_this_platform",
    "quote_signature",
    "tcb_level",
)
"""What holds once `prove_quote` has returned and the TCB is judged."""


class AttestationKey(Struct, frozen=True, eq=False):
    """A key that a QE says it made, that QE's report, and the PCK (with its path) that vouches for the QE.

    `signer` is SHA-256 of the PCK's SubjectPublicKeyInfo, in hexadecimal; `authority` is the key of the CA that issued
    the PCK.
    """

    key: EcKey
    signer: str
    qe: SgxReport
    pck: Pck
    path: Path
    authority: bytes


class Proof(Struct, frozen=True, eq=False):
    """What a quote that holds rests on; one object for all of a device, while its state and its collateral last."""

    state: State
    attestation: AttestationKey
    collateral: Collateral


def prove_quote(quote: Quote, document: bytes, roots: frozenset[bytes], *, now: datetime, minimum: int = 0) -> Proof:
    """Prove the quote under that collateral at `now`, all but its TCB level. Raises BadEvidence.

    `minimum` is the least TCB evaluation data number that the collateral may have.
    """
    collateral = prove_collateral(document, roots)
    check_collateral(collateral, now=now, minimum=minimum)
    attestation = prove_attestation_key(quote.state.certification, quote.state.version, collateral.root)
    check_window(attestation.path.not_before, attestation.path.not_after, now, "PCK certificate chain")
    proof = _under_collateral(quote.state, attestation, collateral)
    if not attestation.key.verify_raw(quote.signature, quote.signed, "sha256"):
        raise BadEvidence(Reason.BAD_SIGNATURE, "quote is not signed by its attestation key")
    return proof


@lru_cache(maxsize=8192)
def prove_attestation_key(certification: bytes, version: int, root: bytes) -> AttestationKey:
    """Attestation key proven to come from a QE on a platform whose PCK leads to the root; time is not judged here.

    A platform sends the same certification with every quote, so the proof is cached by content.
    Raises BadEvidence(BAD_SIGNATURE | UNBOUND | BAD_CHAIN | UNTRUSTED_ROOT | MALFORMED | MISSING_ENDORSEMENT).
    """
    parts = parse_certification(certification, version)
    pck = load_pck(parts.pck_chain)
    path = signed_path(pck.certificate, pck.pool, frozenset((root,)))
    pck_key = public_key(pck.certificate)
    if not isinstance(pck_key, EcKey) or not pck_key.verify_raw(parts.qe_signature, parts.qe_report, "sha256"):
        raise BadEvidence(Reason.BAD_SIGNATURE, "QE report is not signed by the PCK")
    report = parse_sgx_report(parts.qe_report[:SGX_REPORT_DATA])
    bound = hashlib.sha256(parts.attestation_key + parts.qe_auth).digest()
    if parts.qe_report[SGX_REPORT_DATA:] != bound + bytes(32):
        raise BadEvidence(Reason.UNBOUND, "QE report does not bind the attestation key")
    try:
        key = load_point("P-256", b"\x04" + parts.attestation_key)
    except UnusableKey:
        raise BadEvidence(Reason.MALFORMED, "attestation key is no point of P-256") from None
    return AttestationKey(key, hashlib.sha256(pck_key.spki).hexdigest(), report, pck, path, _authority(path))


def _authority(path: Path) -> bytes:
    """Key of the CA that issued the PCK: it stands between PCK and root, and nothing else does."""
    keys = [public_key(certificate).spki for certificate in path.certificates]
    issuers = [key for key in keys[1:] if key != path.root]
    if len(issuers) != 1:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "PCK was not issued by a CA right under the root")
    return issuers[0]


@lru_cache(maxsize=8192)
def _under_collateral(state: State, attestation: AttestationKey, collateral: Collateral) -> Proof:
    """What quotes of that state rest on besides their signature, under current collateral. Raises BadEvidence."""
    _check_pck(attestation, collateral)
    _check_platform(state.body_type, attestation.pck.platform, collateral)
    _check_qe(attestation.qe, collateral.qe_identity)
    return Proof(state, attestation, collateral)


def _check_pck(attestation: AttestationKey, collateral: Collateral) -> None:
    """The PCK was issued by the CA whose CRL the collateral brings; neither it nor that CA is revoked."""
    if attestation.authority != collateral.authority:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "PCK CRL is not of the CA that issued the PCK")
    pck, authority = attestation.path.serials[:2]
    check_not_listed((pck,), collateral.pck_crl)
    check_not_listed((authority,), collateral.root_crl)


def _check_platform(body_type: BodyType, platform: Platform, collateral: Collateral) -> None:
    """The collateral speaks of this TEE and of this kind of platform."""
    tcb_info, identity = collateral.tcb_info, collateral.qe_identity
    sgx = body_type is BodyType.SGX
    if tcb_info.id != ("SGX" if sgx else "TDX") or identity.id != ("QE" if sgx else "TD_QE"):
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"collateral is for {tcb_info.id} and {identity.id}")
    if (tcb_info.fmspc, tcb_info.pce_id) != (platform.fmspc, platform.pceid):
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"collateral is not for FMSPC {platform.fmspc.hex()}")


def _check_qe(report: SgxReport, identity: EnclaveIdentity) -> None:
    """The enclave that made the attestation key is Intel's QE, and no debugger could read it."""
    if report.debug:
        raise BadEvidence(Reason.IDENTITY_MISMATCH, "QE runs in debug mode")
    if (
        report.mrsigner != identity.mrsigner
        or report.isvprodid != identity.isvprodid
        or not _equal_under(identity.attributes_mask, report.attributes, identity.attributes)
        or not _equal_under(identity.miscselect_mask, report.miscselect, identity.miscselect)
    ):
        raise BadEvidence(Reason.IDENTITY_MISMATCH, "QE is not the enclave of the QE identity")


def _equal_under(mask: bytes, value: bytes, expected: bytes) -> bool:
    """Whether the value has exactly the expected bits where the mask has ones, all three being of one size."""
    bits = int.from_bytes(value) & int.from_bytes(mask)
    return len(value) == len(mask) == len(expected) and bits == int.from_bytes(expected)
