"""Proof of SEV-SNP Evidence: from the report through VCEK or VLEK and ASK or ASVK to AMD's root key.

Sources: AMD 56860 (SNP Firmware ABI), AMD 57230 (KDS interface and certificate profile).
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final

from cryptography import x509
from msgspec import Struct

from attest_pipeline.crypto import EcKey
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, EndorsementKind, EndorsementRef, Endorsements, Evidence
from attest_pipeline.verifiers._shared.x509 import (
    check_window,
    load_certificate,
    prove_root_crl,
    public_key,
    serial_number,
    signed_path,
)
from attest_pipeline.verifiers.snp import abi, kds
from attest_pipeline.verifiers.snp.abi import Report
from attest_pipeline.verifiers.snp.claims import make_claims
from attest_pipeline.verifiers.snp.roots import ARK

VENDOR: Final = "amd"
_PRODUCT_OF_V2: Final = "Milan"
_NO_CHIP: Final = bytes(64)


class Endorsed(Struct, frozen=True):
    """A VCEK or VLEK proven to come from AMD; time and revocation are judged on every call.

    `serials` are those of the chain, `last` is its certificate next to the root key `root`. `signer` is SHA-256 of the
    leaf's SubjectPublicKeyInfo, `documents` maps each document of the chain to its SHA-256, both in hexadecimal.
    """

    leaf: kds.Leaf
    key: EcKey
    signer: str
    not_before: datetime
    not_after: datetime
    serials: frozenset[int]
    last: x509.Certificate
    root: bytes
    documents: Mapping[str, str]


class SnpVerifier:
    """Proves SEV-SNP reports of version 2, 3 and 5 from Milan, Genoa and Turin, signed by a VCEK or a VLEK.

    Evidence: `report`, and `leaf` if the host does not know it (DER or PEM; it must lead to AMD's root anyway).
    Endorsements: `ask` (ASK or ASVK), and if present `leaf` (wins over the Evidence's), `ark`, `crl`. `trust_anchors`
    may name further roots under `amd` (development only). Debug mode, VMPL, migration, SMT and an old TCB are reported,
    not refused: that is policy.
    """

    tee = "snp"
    media_types = frozenset({"application/vnd.amd.sevsnp.report"})
    challenge_bytes = 64

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        self._anchors = frozenset(trust_anchors.get(VENDOR, ()))

    def endorsements_for(self, evidence: Evidence) -> tuple[EndorsementRef, ...]:
        """Chain, CRL and (unless the Evidence brings it) leaf, under lower-case keys such as `milan/ask`.

        A version 2 report names no product: it is that of the leaf in the Evidence, or else Milan, where nearly all
        such firmware ran; a version 2 report from Genoa must bring its leaf. Raises BadEvidence.
        """
        report = _report(evidence)
        brought = evidence.items.get("leaf")
        product = _product(report, brought).name.lower()
        authority = "asvk" if report.signing_key == abi.VLEK else "ask"
        refs = (
            EndorsementRef(item="ask", kind=EndorsementKind.AMD_CHAIN, key=f"{product}/{authority}"),
            EndorsementRef(item="ark", kind=EndorsementKind.AMD_CHAIN, key=f"{product}/ark", required=False),
            EndorsementRef(item="crl", kind=EndorsementKind.AMD_CRL, key=product, required=False),
        )
        if brought is not None:
            return refs
        key = f"{product}/{report.chip_id.hex()}/{report.reported_tcb.hex()}"
        return (*refs, EndorsementRef(item="leaf", kind=EndorsementKind.AMD_LEAF, key=key))

    def verify(
        self, evidence: Evidence, endorsements: Endorsements, *, challenge: bytes | None, now: datetime
    ) -> Claims:
        """Prove the report at `now`; `challenge` is all 64 bytes of report_data. Raises BadEvidence."""
        report = _report(evidence)
        endorsed = self._endorsed(evidence, endorsements)
        check_window(endorsed.not_before, endorsed.not_after, now, "certificate chain")
        crl = _document(endorsements, "crl")
        if crl is not None:
            check_crl(crl, endorsed, now)
        check_identity(report, endorsed.leaf)
        if challenge is not None and report.report_data != challenge:
            raise BadEvidence(Reason.CHALLENGE_MISMATCH, "report_data is not the challenge")
        if not endorsed.key.verify_raw(report.signature, evidence.items["report"][: abi.SIGNED], "sha384"):
            raise BadEvidence(Reason.BAD_SIGNATURE, "report is not signed by its VCEK or VLEK")
        documents = endorsed.documents if crl is None else {**endorsed.documents, "crl": _digest(crl)}
        return make_claims(report, endorsed.leaf, endorsed.signer, documents, bound=challenge is not None)

    def _endorsed(self, evidence: Evidence, endorsements: Endorsements) -> Endorsed:
        known, ask = _document(endorsements, "leaf"), _document(endorsements, "ask")
        leaf = evidence.items.get("leaf") if known is None else known
        if leaf is None or ask is None:
            what = "VCEK or VLEK certificate" if leaf is None else "ASK or ASVK certificate"
            raise BadEvidence(Reason.MISSING_ENDORSEMENT, f"no {what} for this report")
        return prove_leaf(leaf, ask, _document(endorsements, "ark"), self._anchors)


@lru_cache(maxsize=32768)
def prove_leaf(leaf: bytes, ask: bytes, ark: bytes | None, anchors: frozenset[bytes]) -> Endorsed:
    """Leaf certificate proven up to the pinned root of its product, or an anchor; remembered by content.

    A root certificate is not needed; one that is given must hold the root key, and its window counts.
    Raises BadEvidence(BAD_ENDORSEMENT | BAD_SIGNATURE | BAD_CHAIN | UNTRUSTED_ROOT | MALFORMED | TOO_LARGE).
    """
    certificate = load_certificate(leaf)
    facts = kds.read_leaf(certificate)
    path = signed_path(certificate, (load_certificate(ask),), frozenset((ARK[facts.product.name], *anchors)))
    key = public_key(certificate)
    if not isinstance(key, EcKey) or key.curve != "P-384":
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "leaf certificate holds no P-384 key")
    chain, documents = path.certificates, {"leaf": _digest(leaf), "ask": _digest(ask)}
    if ark is not None:
        chain, documents = (*chain, _root_certificate(ark, path.root)), {**documents, "ark": _digest(ark)}
    return Endorsed(
        leaf=facts,
        key=key,
        signer=_digest(key.spki),
        not_before=max(one.not_valid_before_utc for one in chain),
        not_after=min(one.not_valid_after_utc for one in chain),
        serials=frozenset(map(serial_number, chain)),
        last=path.certificates[-1],
        root=path.root,
        documents=documents,
    )


def _root_certificate(document: bytes, root: bytes) -> x509.Certificate:
    certificate = load_certificate(document)
    if public_key(certificate).spki != root:
        raise BadEvidence(Reason.UNTRUSTED_ROOT, "root certificate does not hold the pinned key of this product")
    return certificate


def check_crl(document: bytes, endorsed: Endorsed, now: datetime) -> None:
    """Require a current CRL of the root without any certificate of the chain.

    Raises BadEvidence(BAD_ENDORSEMENT | EXPIRED | NOT_YET_VALID | REVOKED).
    """
    crl = prove_root_crl(document, endorsed.last, endorsed.root)
    check_window(crl.this_update, crl.next_update, now, "CRL")
    if not crl.serials.isdisjoint(endorsed.serials):
        raise BadEvidence(Reason.REVOKED, "a certificate of the chain is revoked by AMD")


def check_identity(report: Report, leaf: kds.Leaf) -> None:
    """Require that the report speaks of the key in the leaf: kind, product, TCB version and chip.

    Raises BadEvidence(IDENTITY_MISMATCH).
    """
    if report.signing_key != (abi.VLEK if leaf.vlek else abi.VCEK):
        raise BadEvidence(Reason.IDENTITY_MISMATCH, "report is not signed by the kind of key in the leaf certificate")
    if report.version >= abi.CPUID_SINCE:
        product = kds.product_of(report.cpuid_family, report.cpuid_model)
        if product is not leaf.product:
            raise BadEvidence(Reason.IDENTITY_MISMATCH, "report and leaf certificate are of different products")
    if report.reported_tcb != leaf.tcb:
        raise BadEvidence(Reason.IDENTITY_MISMATCH, "reported TCB is not that of the leaf certificate")
    if not leaf.vlek and report.mask_chip_key:
        raise BadEvidence(Reason.IDENTITY_MISMATCH, "report says that its chip key is masked, yet names it as signer")
    if report.chip_id != (_NO_CHIP if leaf.hwid is None else leaf.hwid):
        raise BadEvidence(Reason.IDENTITY_MISMATCH, "chip id is not the hardware id of the leaf certificate")


def _document(endorsements: Endorsements, item: str) -> bytes | None:
    found = endorsements.items.get(item, ())
    if len(found) > 1:  # choosing one would leave the others, such as a second CRL, unread
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"{len(found)} documents for {item}")
    return found[0] if found else None


def _report(evidence: Evidence) -> Report:
    return abi.parse(evidence.items.get("report", b""))


def _product(report: Report, leaf: bytes | None) -> kds.Product:
    if report.version >= abi.CPUID_SINCE:
        product = kds.product_of(report.cpuid_family, report.cpuid_model)
        if product is None:
            raise BadEvidence(Reason.UNSUPPORTED_FORMAT, "report of an unknown AMD product")
        return product
    if leaf is None:
        return kds.PRODUCTS[_PRODUCT_OF_V2]
    return kds.issuer_product(load_certificate(leaf))[0]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
