"""Intel's documents and samples alone: malformed ones of Open Enclave, signed, altered, and under a test root."""

import json
from collections.abc import Callable

import msgspec
from vectors.walk import Book, Outcome

from attest_pipeline.crypto import EcKey
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._intel.abi import parse_quote
from attest_pipeline.verifiers._intel.documents import EnclaveIdentity, TcbInfo, read_enclave_identity, read_tcb_info
from attest_pipeline.verifiers._intel.pck import certificate_named, load_chain
from attest_pipeline.verifiers._intel.quote import AttestationKey, prove_attestation_key
from attest_pipeline.verifiers._intel.roots import INTEL_SGX_ROOT_CA
from attest_pipeline.verifiers._shared.x509 import load_certificate, prove_crl, public_key, signed_path

NEGATIVE = "evidence/negative/dcap"
SAMPLES = "evidence/intel-qvl-sample"
Reader = Callable[[bytes], TcbInfo | EnclaveIdentity]


def explain(book: Book) -> None:
    for path in book.corpus.glob(f"{NEGATIVE}/oe_*/*.json"):
        explain_document(book, path, read_tcb_info if "tcbinfo" in path else read_enclave_identity)
    explain_twins(book)
    explain_altered_quotes(book)
    for sample in ("sgx_v3_intel_sample", "tdx_v4_intel_sample"):
        explain_sample(book, f"{SAMPLES}/{sample}")


def explain_document(book: Book, path: str, read: Reader) -> None:
    """A document that Intel did not sign, in front of the reader that sees what Intel signed."""
    try:
        read(inner(book.corpus.read(path)))
    except BadEvidence as error:
        book.note(path, Outcome.REJECTED, "_intel.documents", error.reason)
    else:
        book.note(path, Outcome.PARSED, "_intel.documents", "well-formed")


def inner(data: bytes) -> bytes:
    """The signed text of a document, or all of it where there is none."""
    try:
        members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return data
    return next((bytes(text) for name, text in members.items() if name in {"tcbInfo", "enclaveIdentity"}), data)


def explain_twins(book: Book) -> None:
    """One identity of 2020 as Intel signed it, and altered."""
    signer = load_certificate(book.corpus.read("evidence/roots/intel/Intel_SGX_TCB_Signing_2018.pem"))
    for path, genuine in (
        (f"{NEGATIVE}/qe_identity_good_2020.json", True),
        (f"{NEGATIVE}/qe_identity_corrupt_2020.json", False),
    ):
        data = book.corpus.read(path)
        assert is_signed(data, public_key(signer)) is genuine, path
        read_enclave_identity(inner(data))
        outcome = (
            (Outcome.PARSED, "_intel.documents", "signed by Intel")
            if genuine
            else (Outcome.REJECTED, "_intel.documents", Reason.BAD_SIGNATURE)
        )
        book.note(path, *outcome)


def is_signed(data: bytes, key: object) -> bool:
    assert isinstance(key, EcKey)
    return key.verify_raw(bytes.fromhex(json.loads(data)["signature"]), inner(data), "sha256")


def explain_altered_quotes(book: Book) -> None:
    for name, start in (("sgx_v3_bad_quote_sig", 0), ("sgx_v3_bad_chain_oe_report", 16)):
        path = f"{NEGATIVE}/{name}.bin"
        try:
            prove_parts(book.corpus.read(path)[start:], INTEL_SGX_ROOT_CA)
        except BadEvidence as error:
            book.note(path, Outcome.REJECTED, "_intel.quote", error.reason)
    path = f"{NEGATIVE}/oe_attested_tls_rsa_bad.der"
    certificate = load_certificate(book.corpus.read(path))
    try:
        signed_path(certificate, (certificate,), frozenset((INTEL_SGX_ROOT_CA,)))
    except BadEvidence as error:
        book.note(path, Outcome.REJECTED, "_shared.x509", error.reason)


def prove_parts(data: bytes, root: bytes) -> AttestationKey:
    """Everything of a quote that needs no collateral. Raises BadEvidence."""
    quote = parse_quote(data)
    proof = prove_attestation_key(quote.state.certification, quote.state.version, root)
    if not proof.key.verify_raw(quote.signature, quote.signed, "sha256"):
        raise BadEvidence(Reason.BAD_SIGNATURE, "quote")
    return proof


def explain_sample(book: Book, room: str) -> None:
    """Intel's samples: whole under their own test root, refused under the pinned one."""
    root = load_certificate(book.corpus.read(f"{room}/trustedRootCaCert.pem"))
    anchor = public_key(root).spki
    chain = load_chain(book.corpus.read(f"{room}/pckSignChain.pem"))
    pck = load_certificate(book.corpus.read(f"{room}/pckCert.pem"))
    path = signed_path(pck, chain, frozenset((anchor,)))
    signer = certificate_named("SGX TCB Signing", load_chain(book.corpus.read(f"{room}/tcbSignChain.pem")))
    signed_path(signer, (), frozenset((anchor,)))
    for name in ("tcbInfo", "qeIdentity"):
        document = f"{room}/{name}.json"
        assert is_signed(book.corpus.read(document), public_key(signer)), document
        explain_document(book, document, read_tcb_info if name == "tcbInfo" else read_enclave_identity)
    for crl in book.corpus.glob(f"{room}/*Crl.*"):
        prove_crl(book.corpus.read(crl), root if "root" in crl else path.certificates[1])
    quote = f"{room}/quote.dat"
    try:
        prove_parts(book.corpus.read(quote), INTEL_SGX_ROOT_CA)
    except BadEvidence as error:
        book.note(quote, Outcome.REJECTED, "_intel.quote", error.reason)
    if "sgx" in room:
        explain_document(book, f"{room}/qveIdentity.json", read_enclave_identity)
    else:
        prove_parts(book.corpus.read(quote), anchor)
    for part in book.corpus.glob(f"{room}/*"):
        book.note(part, Outcome.ENDORSEMENT, "_intel", f"of {quote}, under a test root")
