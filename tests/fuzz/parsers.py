"""Targets: the readers of one format each, which Attesters, vendors and operators reach."""

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import cbor2
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from x509_lab import Identity, ec_key

from attest_pipeline import strict_json
from attest_pipeline.simulator import arm_token, tpm_quote
from attest_pipeline.simulator.pki import Pki
from attest_pipeline.verifiers._amd import abi as snp
from attest_pipeline.verifiers._amd.kds import read_leaf
from attest_pipeline.verifiers._arm.anchor import load_anchor
from attest_pipeline.verifiers._arm.token import read_tokens
from attest_pipeline.verifiers._azure import hcl
from attest_pipeline.verifiers._azure.document import read_snp, read_tdx
from attest_pipeline.verifiers._huawei import report as itrustee
from attest_pipeline.verifiers._intel.abi import parse_certification, parse_quote
from attest_pipeline.verifiers._intel.documents import read_enclave_identity, read_tcb_info
from attest_pipeline.verifiers._intel.pck import load_pck
from attest_pipeline.verifiers._nvidia import spdm
from attest_pipeline.verifiers._nvidia.device import chip_of
from attest_pipeline.verifiers._shared import cbor, cose, eat, ocsp
from attest_pipeline.verifiers._shared.eventlog.banks import BANKS
from attest_pipeline.verifiers._shared.eventlog.ima import read_ima
from attest_pipeline.verifiers._shared.eventlog.tcg2 import read_tcg2
from attest_pipeline.verifiers._shared.x509 import load_bundle, load_certificate, prove_crl, prove_path, public_key
from attest_pipeline.verifiers._tpm.abi import parse_quote as parse_tpm_quote
from attest_pipeline.verifiers._tpm.abi import parse_signature
from attest_pipeline.verifiers._tpm.ak import key_name
from attest_pipeline.verifiers._tpm.quote import read_pcrs
from attest_pipeline.verifiers.cca import abi as cca
from attest_pipeline.verifiers.csv import abi as csv
from attest_pipeline.verifiers.nitro.abi import read_document
from attest_pipeline.verifiers.nvidia_gpu.abi import read_gpu
from attest_pipeline.verifiers.psa.abi import read_token
from attest_pipeline.verifiers.virtcca import abi as virtcca
from fuzz import resign
from fuzz.case import Case, Target, cases, data_of
from fuzz.verifiers import NOW, evidence_case, vendor

_JSON: Final = b'{"a":[1,-2.5e3,"x\\u00e9",true,null],"b":{"c":"","d":[]}}'
_CBOR: Final = {1: [1, -2, "x", True, None], "b": {3: b"", 4: [b"\0"]}}
Documents = Callable[[], list[bytes]]


def reader(name: str, read: Callable[[bytes], object], documents: Documents, *errors: type[Exception]) -> Target:
    """A target of one item. `errors` are what is documented in place of BadEvidence."""
    target = Target(name, lambda case: read(data_of(case)), lambda: cases(*documents()))
    return target._replace(errors=errors) if errors else target


def items(tee: str, name: str, *serials: int) -> Documents:
    """An item of the Evidence of simulated devices."""
    return lambda: [evidence_case(vendor(tee), serial).items[name] for serial in serials or (0,)]


# ── CBOR, COSE, EAT ───────────────────────────────────────────────────────────────────────────────────────────────────
def _read_cbor(data: bytes) -> None:
    for indefinite in (False, True):
        cbor.decode(data, tags=frozenset({cose.TAG_SIGN1}), indefinite=indefinite)


def _tokens(tee: str, label: int) -> Documents:
    def found() -> list[bytes]:
        documents = (evidence_case(vendor(tee), serial).items["evidence/token"] for serial in range(3))
        records = (cbor2.loads(document).value[label] for document in documents)
        return [record if isinstance(record, bytes) else record[1] for record in records]

    return found


def _read_realm(data: bytes) -> None:
    profile = cca.PLATFORM_2 if cca.REALM_2.encode() in data else "http://arm.com/CCA-SSD/1.0.0"
    cca.realm_key(cca.read_realm_token(data, profile))


def _read_cvm(data: bytes) -> None:
    virtcca.token_key(virtcca.read_cvm_token(data).claims.key)


def _cose_key() -> list[bytes]:
    point = arm_token.P384Key().point
    return [cbor2.dumps({1: 2, -1: 2, -2: point[1:49], -3: point[49:]})]


_TOKENS: Final = (
    reader("CBOR", _read_cbor, lambda: [cbor2.dumps(_CBOR)]),
    reader("COSE_Sign1", lambda data: cose.read_sign1(data, bare=True), items("psa", "evidence/token", 0, 1)),
    reader("COSE_Key", cose.read_key, _cose_key),
    reader("EAT collection", eat.read_collection, items("cca", "evidence/token", 0, 1, 2)),
    reader("Arm token pair", read_tokens, items("virtcca", "evidence/token")),
    reader("CCA platform token", cca.read_platform_token, _tokens("cca", arm_token.PLATFORM)),
    reader("CCA realm token", _read_realm, _tokens("cca", arm_token.REALM)),
    reader("virtCCA platform token", virtcca.read_platform_token, _tokens("virtcca", arm_token.PLATFORM)),
    reader("virtCCA CVM token", _read_cvm, _tokens("virtcca", arm_token.REALM)),
    reader("PSA token", read_token, items("psa", "evidence/token", 0, 1)),
    reader("Nitro document", read_document, items("nitro", "evidence/document")),
    reader("JWK of an anchor", load_anchor, lambda: [arm_token.jwk(arm_token.P256Key())]),
)


# ── quotes and reports ────────────────────────────────────────────────────────────────────────────────────────────────
def _read_quote(data: bytes) -> None:
    quote = parse_quote(data)
    parse_certification(quote.state.certification, quote.state.version)


def _read_spdm(data: bytes) -> None:
    read_gpu(spdm.parse(data).state)


def _read_hcl(data: bytes) -> None:
    hcl.parse_hcl(data, hcl.SNP)


def _hcl_reports() -> list[bytes]:
    return [read_snp(document).hcl_report for document in items("az-snp-vtpm", "evidence/evidence")()]


def _collateral(part: str) -> Documents:
    def found() -> list[bytes]:
        documents = (evidence_case(vendor(tee)).items["endorsement/collateral/0"] for tee in ("tdx", "sgx"))
        return [str(strict_json.decode(document, dict[str, str], "")[part]).encode() for document in documents]

    return found


def _pck_chains() -> list[bytes]:
    maker: Any = vendor("tdx")
    evidence_case(maker)
    return [maker._platforms["platform 0"].chain]


def _read_csv_certificates(data: bytes) -> None:
    csv.read_ca(data[: csv.CA_CERT].ljust(csv.CA_CERT, b"\0"))
    csv.read_csv(data[csv.CA_CERT :].ljust(csv.CSV_CERT, b"\0"))


def _ak_certificates() -> list[bytes]:
    (report,) = items("itrustee", "evidence/report")()
    return [itrustee.read_evidence(report, None)[0].application.ak_certificate]


def _read_itrustee(data: bytes) -> None:
    itrustee.read_evidence(data, None)


_REPORTS: Final = (
    reader("DCAP quote", _read_quote, lambda: [*items("tdx", "evidence/quote")(), *items("sgx", "evidence/quote")()]),
    reader("PCK chain", load_pck, _pck_chains),
    reader("TCB info", read_tcb_info, _collateral("tcb_info")),
    reader("QE identity", read_enclave_identity, _collateral("qe_identity")),
    reader("SEV-SNP report", snp.parse, items("snp", "evidence/report")),
    reader("VCEK", lambda data: read_leaf(load_certificate(data)), items("snp", "evidence/leaf")),
    reader("CSV report", csv.parse, items("csv", "evidence/report")),
    reader("CSV certificates", _read_csv_certificates, items("csv", "evidence/hsk_cek")),
    reader("SPDM report", _read_spdm, items("nvidia-gpu", "evidence/report")),
    reader("HCL report", _read_hcl, _hcl_reports),
    reader("Azure SNP document", read_snp, items("az-snp-vtpm", "evidence/evidence")),
    reader("Azure TDX document", read_tdx, items("az-tdx-vtpm", "evidence/evidence")),
    reader("iTrustee report", _read_itrustee, items("itrustee", "evidence/report")),
    reader("iTrustee AK certificate", itrustee.read_ak, _ak_certificates),
    reader("strict JSON", strict_json.load, lambda: [_JSON]),
)


# ── TPMs and logs ─────────────────────────────────────────────────────────────────────────────────────────────────────
def _read_tcg2(data: bytes) -> None:
    msgspec.json.encode(read_tcg2(data, "sha256").events)


def _read_ima(data: bytes) -> None:
    for bank in BANKS:
        replay, _ = read_ima(data, bank, frozenset({tpm_quote.IMA_PCR}))
        msgspec.json.encode(replay.events)


def _ima_logs() -> list[bytes]:
    """The log of the simulator, and the same as the kernel's binary file."""
    text, binary = tpm_quote.ima_log(tpm_quote.BOOT), b""
    for line in text.splitlines():
        register, noted, name, digest, path = line.split(b" ", 4)
        fields = (b"sha256:\0" + bytes.fromhex(digest.decode().partition(":")[2]), path + b"\0")
        data = b"".join(len(field).to_bytes(4, "little") + field for field in fields)
        head = int(register).to_bytes(4, "little") + bytes.fromhex(noted.decode())
        binary += head + len(name).to_bytes(4, "little") + name + len(data).to_bytes(4, "little") + data
    return [text, binary]


def _public_keys() -> list[bytes]:
    public = ec_key().public_key()
    return [
        public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo) for encoding in (Encoding.PEM, Encoding.DER)
    ]


_TPM: Final = (
    reader("TPMS_ATTEST", parse_tpm_quote, items("tpm", "evidence/attest")),
    reader("TPMT_SIGNATURE", parse_signature, items("tpm", "evidence/signature")),
    reader("PCR values", read_pcrs, items("tpm", "evidence/pcrs")),
    reader("TCG2 log", _read_tcg2, lambda: [tpm_quote.event_log(tpm_quote.BOOT)]),
    reader("IMA log", _read_ima, _ima_logs),
    reader("public key", key_name, _public_keys),
)


# ── X.509 ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
_ROOT_KEY, _AUTHORITY_KEY = (ec.derive_private_key(number, ec.SECP256R1()) for number in (1, 2))
"""The same in every run, so that what is found can be played again."""


@cache
def _root() -> Identity:
    return Identity.root("root", _ROOT_KEY)


@cache
def _authority() -> Identity:
    return _root().issue("authority", key=_AUTHORITY_KEY, authority=True, depth=0, may_sign=True)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _paths() -> list[Case]:
    return [Case({"leaf": _der(_authority().issue("leaf").certificate), "authority": _der(_authority().certificate)})]


def _prove_path(case: Case) -> None:
    leaf, *pool = (load_certificate(item) for item in case.items.values()) if case.items else (load_certificate(b""),)
    public_key(prove_path(leaf, pool, frozenset((_root().spki,)), now=NOW).leaf)


def _prove_crl(data: bytes) -> None:
    prove_crl(data, _root().certificate)


def _responses() -> list[Case]:
    pki = Pki(NOW, ec.SECP384R1(), hashes.SHA384())
    issuer = pki.issue("issuer", None, authority=True)
    signing = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
    responder, leaf = pki.issue("responder", issuer, extensions=[signing]), pki.issue("leaf", issuer)
    name = hashlib.sha384(issuer.certificate.subject.public_bytes()).digest()
    given = leaf.certificate.serial_number.to_bytes(32) + name + issuer.spki
    return [Case({"data": pki.ocsp(leaf, issuer, responder, revoked=revoked)}, given) for revoked in (False, True)]


def _check_response(case: Case) -> None:
    link = ocsp.Link(int.from_bytes(case.given[:32]), case.given[80:], case.given[32:80])
    ocsp.check_responses((data_of(case),), (link,), NOW)


def _read_device_chain(data: bytes) -> None:
    chip_of(data)


_X509: Final = (
    Target(
        "X.509 path",
        _prove_path,
        _paths,
        resign=resign.resign(
            resign.certificate("leaf", _AUTHORITY_KEY, hashes.SHA256()),
            resign.certificate("authority", _ROOT_KEY, hashes.SHA256()),
        ),
    ),
    reader("CRL", _prove_crl, lambda: [_root().crl([1, 2]), _root().crl()])._replace(
        resign=resign.resign(resign.certificate("data", _ROOT_KEY, hashes.SHA256()))
    ),
    Target("OCSP response", _check_response, _responses),
    reader("PEM bundle", load_bundle, items("nvidia-gpu", "evidence/cert_chain")),
    reader("NVIDIA chain", _read_device_chain, items("nvidia-gpu", "evidence/cert_chain")),
)


TARGETS: Final = (*_TOKENS, *_REPORTS, *_TPM, *_X509)
