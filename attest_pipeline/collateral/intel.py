"""DCAP collateral of Intel's PCS (v4), or of a PCCS in front of it: four answers become one JSON document.

Source: Intel PCS API v4 (https://api.portal.trustedservices.intel.com): TCB info, enclave identity, PCK CRL; the
root's CRL is at the address that its certificate names, and at `…/rootcacrl` of a PCCS.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import unquote

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct, field

from attest_pipeline.collateral.recipes import (
    BadCollateral,
    Documents,
    Facts,
    Request,
    Response,
    check_current,
    crl_number,
    load_crl,
    only,
)
from attest_pipeline.collateral.records import DAY, WEEK, Lifetime
from attest_pipeline.errors import BadEvidence
from attest_pipeline.model import EndorsementKind
from attest_pipeline.verifiers._intel.collateral import Collateral, Document, check_collateral, prove_collateral
from attest_pipeline.verifiers._intel.pck import certificate_named, load_chain
from attest_pipeline.verifiers._intel.roots import trusted_roots

SITE: Final = "intel"
ROOT_CRL_SITE: Final = "intel-root-crl"

_KEY: Final = re.compile(r"(sgx|tdx)/([0-9a-f]{12})/(platform|processor)")
_TEES: Final = {"sgx": ("SGX", "QE"), "tdx": ("TDX", "TD_QE")}
_AUTHORITIES: Final = {"platform": "SGX PCK Platform CA", "processor": "SGX PCK Processor CA"}


class _TcbInfoBody(Struct):
    text: msgspec.Raw = field(name="tcbInfo")
    signature: str


class _IdentityBody(Struct):
    text: msgspec.Raw = field(name="enclaveIdentity")
    signature: str


class IntelDcap:
    """Recipe for `intel-dcap/<sgx|tdx>/<fmspc>/<platform|processor>`."""

    vendor = "intel"
    lifetime = Lifetime(refresh_after=DAY, stale_after=WEEK)

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        self._roots = trusted_roots(trust_anchors)

    def needs(self, key: str) -> tuple[str, ...]:  # noqa: ARG002 - the contract
        """Nothing: the document brings its chains along."""
        return ()

    def requests(self, key: str) -> tuple[Request, ...]:
        """TCB info, QE identity, PCK CRL and root CRL."""
        tee, fmspc, authority = _parts(key)
        return (
            Request(SITE, f"{tee}/certification/v4/tcb?fmspc={fmspc}"),
            Request(SITE, f"{tee}/certification/v4/qe/identity"),
            Request(SITE, f"sgx/certification/v4/pckcrl?ca={authority}&encoding=der"),
            Request(ROOT_CRL_SITE, ""),
        )

    def documents(self, key: str, responses: Sequence[Response]) -> Documents:
        """One JSON document with the exact texts that Intel signed."""
        tcb, identity, pck_crl, root_crl = responses
        return {
            f"{EndorsementKind.INTEL_DCAP}/{key}": (
                dcap_document(
                    tcb.body,
                    identity.body,
                    tcb_info_chain=_chain(tcb, "tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain"),
                    identity_chain=_chain(identity, "sgx-enclave-identity-issuer-chain"),
                    pck_crl_chain=_chain(pck_crl, "sgx-pck-crl-issuer-chain"),
                    pck_crl=pck_crl.body,
                    root_crl=root_crl.body,
                ),
            )
        }

    def facts(self, key: str, documents: tuple[bytes, ...], needed: Documents, now: datetime) -> Facts:  # noqa: ARG002 - the contract
        """Proven under Intel's key as a verifier will, of that platform, and current."""
        data = only(documents)
        try:
            collateral = prove_collateral(data, self._roots)
            _check_key(key, data, collateral)
            check_collateral(collateral, now=now)
        except BadEvidence as error:
            raise BadCollateral(str(error)) from None
        return check_current(_facts(data, collateral), now)


def dcap_document(
    tcb_info: bytes,
    identity: bytes,
    *,
    tcb_info_chain: str,
    identity_chain: str,
    pck_crl_chain: str,
    pck_crl: bytes,
    root_crl: bytes,
) -> bytes:
    """The DCAP JSON out of Intel's answers: bodies as sent, chains as PEM, CRLs in any coding. Raises BadCollateral."""
    try:
        info = msgspec.json.decode(tcb_info, type=_TcbInfoBody)
        enclave = msgspec.json.decode(identity, type=_IdentityBody)
        return msgspec.json.encode(
            Document(
                pck_crl_issuer_chain=pck_crl_chain,
                root_ca_crl=load_crl(root_crl).public_bytes(Encoding.DER).hex(),
                pck_crl=load_crl(pck_crl).public_bytes(Encoding.DER).hex(),
                tcb_info_issuer_chain=tcb_info_chain,
                tcb_info=bytes(info.text).decode(),
                tcb_info_signature=info.signature,
                qe_identity_issuer_chain=identity_chain,
                qe_identity=bytes(enclave.text).decode(),
                qe_identity_signature=enclave.signature,
            )
        )
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadCollateral(f"no answer of a PCS: {str(error)[:80]}") from None


def key_of(data: bytes) -> str:
    """The key that a DCAP document says it is for; nothing is proven. Raises BadCollateral."""
    try:
        document = msgspec.json.decode(data, type=Document)
        tcb = msgspec.json.decode(document.tcb_info, type=_Named)
        return f"{(tcb.id or 'SGX').lower()}/{tcb.fmspc.lower()}/{_authority(document)}"
    except (BadEvidence, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadCollateral(f"no DCAP collateral: {str(error)[:80]}") from None


class _Named(Struct):
    fmspc: str
    id: str | None = None


def _parts(key: str) -> tuple[str, str, str]:
    matched = _KEY.fullmatch(key)
    if matched is None:
        raise BadCollateral(f"no key of DCAP collateral: {key[:80]!r}")
    tee, fmspc, authority = matched.groups()
    return tee, fmspc, authority


def _chain(response: Response, *names: str) -> str:
    """PEM chain out of a header, which carries it percent-encoded."""
    for name in names:
        if name in response.headers:
            return unquote(response.headers[name])
    raise BadCollateral(f"an answer of a PCS without {names[0]}")


def _check_key(key: str, data: bytes, collateral: Collateral) -> None:
    tee, fmspc, authority = _parts(key)
    found = (collateral.tcb_info.id, collateral.qe_identity.id)
    if found != _TEES[tee] or collateral.tcb_info.fmspc.hex() != fmspc:
        raise BadCollateral(f"collateral of {found[0]} {collateral.tcb_info.fmspc.hex()} where {key} was asked for")
    if _authority(msgspec.json.decode(data, type=Document)) != authority:
        raise BadCollateral(f"the PCK CRL is of another authority than {authority}")


def _authority(document: Document) -> str:
    pool = load_chain(document.pck_crl_issuer_chain.encode())
    for authority, name in _AUTHORITIES.items():
        try:
            certificate_named(name, pool)
        except BadEvidence:
            continue
        return authority
    raise BadCollateral("the PCK CRL's issuer chain names neither authority")


def _facts(data: bytes, collateral: Collateral) -> Facts:
    document = msgspec.json.decode(data, type=Document)
    crls = (load_crl(text.encode()) for text in (document.pck_crl, document.root_ca_crl))
    return Facts(
        valid_from=collateral.start,
        valid_until=collateral.end,
        sequence=(
            collateral.tcb_info.tcb_evaluation_data_number,
            collateral.qe_identity.tcb_evaluation_data_number,
            *map(crl_number, crls),
        ),
    )
