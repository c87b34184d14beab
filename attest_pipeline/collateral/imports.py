"""Files that an operator brings along: what they hold, told by their content. Nothing is proven here."""

import json
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from msgspec import Struct

from attest_pipeline.collateral.intel import dcap_document, key_of
from attest_pipeline.collateral.recipes import BadCollateral, Documents, load_crl
from attest_pipeline.errors import BadEvidence
from attest_pipeline.model import EndorsementKind
from attest_pipeline.verifiers._amd.kds import read_leaf
from attest_pipeline.verifiers._shared.x509 import load_bundle, load_certificate, quiet

MAX_FILE: Final = 64 * 1024 * 1024
_PEM: Final = b"-----BEGIN CERTIFICATE"
_AUTHORITIES: Final = {"platform": "PLATFORM", "processor": "PROCESSOR"}
_ROLES: Final = {"ARK-": "ark", "SEV-VLEK-": "asvk", "SEV-": "ask"}
_ARK: Final = "ARK-"
_NO_CHIP: Final = bytes(64)
_NOTHING: Final = msgspec.Raw(b"")


class _TcbInfo(Struct):
    fmspc: str
    sgx_tcbinfo: msgspec.Raw = _NOTHING
    tdx_tcbinfo: msgspec.Raw = _NOTHING


class _Collaterals(Struct):
    """The part of the tool's file that is read; texts are hexadecimal (CRLs) or percent-encoded PEM (chains)."""

    tcbinfos: tuple[_TcbInfo, ...]
    pckcacrl: dict[str, str]
    rootcacrl: str
    certificates: dict[str, str | dict[str, str]]
    qeidentity: msgspec.Raw = _NOTHING
    tdqeidentity: msgspec.Raw = _NOTHING


class _ToolFile(Struct):
    collaterals: _Collaterals


@quiet()
def recognise(data: bytes) -> Documents:
    """What a file holds, by reference name. Raises BadCollateral if it does not say itself what it is.

    Known are `platform_collaterals.json` of Intel's PCS client tool, DCAP JSON documents, AMD's certificate chains,
    CRLs, VCEK and VLEK certificates.
    """
    if len(data) > MAX_FILE:
        raise BadCollateral(f"a file of {len(data)} bytes")
    if data.lstrip().startswith(b"{"):
        return _json(data)
    try:
        certificates = load_bundle(data) if data.lstrip().startswith(_PEM) else (load_certificate(data),)
        return {name: (document,) for name, document in map(_certificate, certificates)}
    except BadEvidence:
        return _crl(data)


def from_pcs_client_tool(data: bytes) -> Documents:
    """DCAP documents out of the file that `pcsclient.py fetch` writes. Raises BadCollateral.

    The tool has parsed Intel's TCB info and written it with spaces; put together anew without them it is again the
    text that Intel signed, because the order of members is kept.
    """
    try:
        found = msgspec.json.decode(data, type=_ToolFile).collaterals
        return dict(_tool_documents(found))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadCollateral(f"no file of the PCS client tool: {str(error)[:120]}") from None


def _json(data: bytes) -> Documents:
    if b'"collaterals"' in data:
        return from_pcs_client_tool(data)
    return {f"{EndorsementKind.INTEL_DCAP}/{key_of(data)}": (data,)}


def _tool_documents(found: _Collaterals) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    tcb_chain = _chain(found, "TCB-Info-Issuer-Chain") or _chain(found, "SGX-TCB-Info-Issuer-Chain")
    for info in found.tcbinfos:
        for tee, tcb, identity in (
            ("sgx", info.sgx_tcbinfo, found.qeidentity),
            ("tdx", info.tdx_tcbinfo, found.tdqeidentity),
        ):
            for authority, name in _AUTHORITIES.items():
                crl, chain = found.pckcacrl.get(f"{authority}Crl"), _pck_chain(found, name)
                if not (bytes(tcb) and bytes(identity) and crl and chain):
                    continue
                document = dcap_document(
                    _compact(bytes(tcb)),
                    _text(bytes(identity)),
                    tcb_info_chain=tcb_chain,
                    identity_chain=_chain(found, "SGX-Enclave-Identity-Issuer-Chain"),
                    pck_crl_chain=chain,
                    pck_crl=crl.encode(),
                    root_crl=found.rootcacrl.encode(),
                )
                yield f"{EndorsementKind.INTEL_DCAP}/{tee}/{info.fmspc.lower()}/{authority}", (document,)


def _chain(found: _Collaterals, header: str) -> str:
    chain = found.certificates.get(header, "")
    return unquote(chain) if isinstance(chain, str) else ""


def _pck_chain(found: _Collaterals, authority: str) -> str:
    chains = found.certificates.get("SGX-PCK-Certificate-Issuer-Chain", {})
    return unquote(chains.get(authority, "")) if isinstance(chains, dict) else ""


def _compact(text: bytes) -> bytes:
    return json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False).encode()


def _text(raw: bytes) -> bytes:
    """The tool keeps identities as the text of the answer, as a JSON string."""
    return str(json.loads(raw)).encode() if raw.startswith(b'"') else _compact(raw)


def _certificate(certificate: x509.Certificate) -> tuple[str, bytes]:
    document, name = certificate.public_bytes(Encoding.DER), _common_name(certificate.subject)
    for prefix, role in _ROLES.items():
        product = name.removeprefix(prefix).lower()
        if name.startswith(prefix) and product not in {"vcek", "vlek"}:
            return f"{EndorsementKind.AMD_CHAIN}/{product}/{role}", document
    leaf = read_leaf(certificate)
    chip = _NO_CHIP if leaf.hwid is None else leaf.hwid
    return f"{EndorsementKind.AMD_LEAF}/{leaf.product.name.lower()}/{chip.hex()}/{leaf.tcb.hex()}", document


def _crl(data: bytes) -> Documents:
    crl = load_crl(data)
    name = _common_name(crl.issuer)
    if not name.startswith(_ARK):
        raise BadCollateral(f"a CRL of {name[:80]!r}, which belongs to no reference")
    product = name.removeprefix(_ARK).lower()
    return {f"{EndorsementKind.AMD_CRL}/{product}": (crl.public_bytes(Encoding.DER),)}


def _common_name(name: x509.Name) -> str:
    values = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(values[0].value) if values else ""
