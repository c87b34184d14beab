"""DCAP collateral: TCB info, QE identity and CRLs, each signed under the pinned root and current at the given time.

The document is the JSON of Intel's `sgx_ql_qve_collateral_t` as `dcap-qvl` and most PCCS clients write it. `tcb_info`
and `qe_identity` are strings that hold exactly the text Intel signed: the signature is checked over that text and the
same text is parsed, so what was signed and what is read cannot differ.
"""

import hashlib
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
from cryptography import x509

from attest_pipeline.crypto import EcKey
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._intel.documents import EnclaveIdentity, TcbInfo, read_enclave_identity, read_tcb_info
from attest_pipeline.verifiers._intel.pck import certificate_named, load_chain
from attest_pipeline.verifiers._shared.x509 import (
    Crl,
    Path,
    check_not_listed,
    check_window,
    prove_crl,
    public_key,
    signed_path,
)

MAX_COLLATERAL: Final = 1024 * 1024
_SIGNER_NAME: Final = "SGX TCB Signing"
_AUTHORITY_NAME: Final = "SGX PCK P"  # Platform CA or Processor CA


class Document(msgspec.Struct, frozen=True):
    """The nine parts as text: chains in PEM, CRLs (DER) and signatures (r||s) in hexadecimal."""

    pck_crl_issuer_chain: str
    root_ca_crl: str
    pck_crl: str
    tcb_info_issuer_chain: str
    tcb_info: str
    tcb_info_signature: str
    qe_identity_issuer_chain: str
    qe_identity: str
    qe_identity_signature: str


class Window(NamedTuple):
    """From when to when a part of the collateral holds."""

    what: str
    start: datetime
    end: datetime


class Collateral(msgspec.Struct, frozen=True, eq=False):
    """Collateral whose every signature leads to `root` (a key); its windows and CRLs are judged by `check_collateral`.

    `authority` is the key of the PCK CA that issued `pck_crl`; `signers` are the serial numbers of the certificates
    that signed documents or that CRL, none of which the root's CRL may name; `digest` is SHA-256 of the document.
    All `windows` are open from `start` to `end`.
    """

    digest: str
    root: bytes
    authority: bytes
    tcb_info: TcbInfo
    qe_identity: EnclaveIdentity
    pck_crl: Crl
    root_crl: Crl
    signers: tuple[int, ...]
    windows: tuple[Window, ...]
    start: datetime
    end: datetime


@lru_cache(maxsize=512)
def prove_collateral(data: bytes, roots: frozenset[bytes]) -> Collateral:
    """Collateral with every signature checked, whatever the time. Raises BadEvidence(BAD_ENDORSEMENT | TOO_LARGE)."""
    if len(data) > MAX_COLLATERAL:
        raise BadEvidence(Reason.TOO_LARGE, f"collateral of {len(data)} bytes")
    try:
        return _prove(msgspec.json.decode(data, type=Document), hashlib.sha256(data).hexdigest(), roots)
    except BadEvidence as error:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"collateral: {error.detail}") from None
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"collateral: {str(error)[:120]}") from None


def check_collateral(collateral: Collateral, *, now: datetime, minimum: int = 0) -> None:
    """Require every part to be current, no signer revoked, and evaluation data numbers of at least `minimum`.

    Raises BadEvidence(EXPIRED | NOT_YET_VALID | REVOKED | BAD_ENDORSEMENT).
    """
    if not collateral.start <= now <= collateral.end:
        for what, start, end in collateral.windows:
            check_window(start, end, now, what)
    check_not_listed(collateral.signers, collateral.root_crl)
    tcb_info, identity = collateral.tcb_info, collateral.qe_identity
    number = min(tcb_info.tcb_evaluation_data_number, identity.tcb_evaluation_data_number)
    if number < minimum:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"collateral has TCB evaluation data number {number}")


def _prove(document: Document, digest: str, roots: frozenset[bytes]) -> Collateral:
    root = _root_of(document, roots)
    pinned = frozenset((public_key(root).spki,))
    tcb_path = _signer(document.tcb_info_issuer_chain, _SIGNER_NAME, pinned)
    qe_path = _signer(document.qe_identity_issuer_chain, _SIGNER_NAME, pinned)
    crl_path = _signer(document.pck_crl_issuer_chain, _AUTHORITY_NAME, pinned)
    tcb_info = read_tcb_info(_signed(document.tcb_info, document.tcb_info_signature, tcb_path, "TCB info"))
    identity = read_enclave_identity(
        _signed(document.qe_identity, document.qe_identity_signature, qe_path, "QE identity")
    )
    pck_crl = prove_crl(bytes.fromhex(document.pck_crl), crl_path.leaf)
    root_crl = prove_crl(bytes.fromhex(document.root_ca_crl), root)
    windows = (
        Window("TCB info", tcb_info.issue_date, tcb_info.next_update),
        Window("QE identity", identity.issue_date, identity.next_update),
        Window("PCK CRL", pck_crl.this_update, pck_crl.next_update),
        Window("TCB info signing certificate", tcb_path.not_before, tcb_path.not_after),
        Window("QE identity signing certificate", qe_path.not_before, qe_path.not_after),
        Window("PCK CRL signing certificate", crl_path.not_before, crl_path.not_after),
        Window("CRL", root_crl.this_update, root_crl.next_update),
    )
    return Collateral(
        digest=digest,
        root=public_key(root).spki,
        authority=public_key(crl_path.leaf).spki,
        tcb_info=tcb_info,
        qe_identity=identity,
        pck_crl=pck_crl,
        root_crl=root_crl,
        signers=(tcb_path.serials[0], qe_path.serials[0], crl_path.serials[0]),
        windows=windows,
        start=max(window.start for window in windows),
        end=min(window.end for window in windows),
    )


def _root_of(document: Document, roots: frozenset[bytes]) -> x509.Certificate:
    """The root certificate that the document brings along: its key is pinned, so only its name is taken on trust."""
    for certificate in load_chain(document.pck_crl_issuer_chain.encode()):
        if public_key(certificate).spki in roots:
            return certificate
    raise BadEvidence(Reason.UNTRUSTED_ROOT, "PCK CRL issuer chain does not end in a pinned root")


def _signer(chain: str, name: str, root: frozenset[bytes]) -> Path:
    """Path of the named certificate, which the root itself must have issued: no PCK may sign collateral."""
    pool = load_chain(chain.encode())
    path = signed_path(certificate_named(name, pool), pool, root)
    issued = [certificate for certificate in path.certificates if public_key(certificate).spki not in root]
    if len(issued) != 1:
        raise BadEvidence(Reason.BAD_CHAIN, f"{name} certificate was not issued by the root")
    return path


def _signed(text: str, signature: str, path: Path, what: str) -> bytes:
    """The text, if the leaf of the path signed it (ECDSA P-256, SHA-256)."""
    key, signed = public_key(path.leaf), text.encode()
    if not isinstance(key, EcKey) or not key.verify_raw(bytes.fromhex(signature), signed, "sha256"):
        raise BadEvidence(Reason.BAD_SIGNATURE, f"signature over the {what} does not verify")
    return signed
