"""The proof of an SEV-SNP report: from its signature through VCEK or VLEK and ASK or ASVK to AMD's root key.

Sources: AMD 56860 (SNP Firmware ABI), AMD 57230 (KDS interface and certificate profile).
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache, lru_cache
from typing import Final, NamedTuple

from cryptography import x509
from msgspec import Struct

from attest_pipeline.crypto import EcKey
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import EndorsementKind, EndorsementRef, Endorsements
from attest_pipeline.verifiers._amd import abi, kds
from attest_pipeline.verifiers._amd.abi import Guest, Report
from attest_pipeline.verifiers._amd.roots import ARK
from attest_pipeline.verifiers._shared.x509 import (
    Crl,
    check_window,
    is_root,
    load_certificate,
    prove_root_crl,
    public_key,
    serial_number,
    signed_path,
)

VENDOR: Final = "amd"
CHECKS: Final = (
    "report_format",
    "leaf_chain_to_pinned_root",
    "leaf_chain_current",
    "signing_key_kind",
    "reported_tcb_of_leaf",
    "chip_id_of_leaf",
    "report_signature",
)
"""What holds of every proven report; `conditional_checks` may follow."""
_PRODUCT_OF_V2: Final = "Milan"
_NO_CHIP: Final = bytes(64)
_KEPT: Final = 8192
"""Guests that are remembered."""


class Chain(NamedTuple):
    """Documents as received: leaf, intermediate and, if given, root certificate and the root's CRL."""

    leaf: bytes
    ask: bytes
    ark: bytes | None = None
    crl: bytes | None = None


class Endorsed(Struct, frozen=True, eq=False):
    """A VCEK or VLEK proven to come from AMD; time and revocation are judged on every call.

    It is remembered, and so one object for equal documents.
    `serials` are those of the chain, `crl` is the root's list if one is endorsed. `signer` is SHA-256 of the leaf's
    SubjectPublicKeyInfo, `documents` maps each document used to its SHA-256, both in hexadecimal.
    """

    leaf: kds.Leaf
    key: EcKey
    signer: str
    not_before: datetime
    not_after: datetime
    serials: frozenset[int]
    crl: Crl | None
    documents: Mapping[str, str]


def chain_refs(guest: Guest, leaf: bytes | None) -> tuple[EndorsementRef, ...]:
    """References to intermediate, root and CRL of the report's product, under lower-case keys such as `milan/ask`.

    `leaf` is the certificate that the Evidence brings, if any. Raises BadEvidence(UNSUPPORTED_FORMAT | MALFORMED).
    """
    return _refs_of(report_product(guest, leaf).name.lower(), "asvk" if guest.signing_key == abi.VLEK else "ask")


@cache
def _refs_of(product: str, authority: str) -> tuple[EndorsementRef, ...]:
    """The same few for all reports."""
    return (
        EndorsementRef(item="ask", kind=EndorsementKind.AMD_CHAIN, key=f"{product}/{authority}"),
        EndorsementRef(item="ark", kind=EndorsementKind.AMD_CHAIN, key=f"{product}/ark", required=False),
        EndorsementRef(item="crl", kind=EndorsementKind.AMD_CRL, key=product, required=False),
    )


def report_product(guest: Guest, leaf: bytes | None) -> kds.Product:
    """Product that the report comes from.

    A version 2 report names none: it is that of the leaf in the Evidence, or else Milan, where nearly all such firmware
    ran. Raises BadEvidence(UNSUPPORTED_FORMAT | MALFORMED).
    """
    if guest.version >= abi.CPUID_SINCE:
        product = kds.product_of(guest.cpuid_family, guest.cpuid_model)
        if product is None:
            raise BadEvidence(Reason.UNSUPPORTED_FORMAT, "report of an unknown AMD product")
        return product
    if leaf is None:
        return kds.PRODUCTS[_PRODUCT_OF_V2]
    return kds.issuer_product(load_certificate(leaf))[0]


def chain_of(leaf: bytes | None, endorsements: Endorsements) -> Chain:
    """The documents of a leaf's chain. Raises BadEvidence(MISSING_ENDORSEMENT | BAD_ENDORSEMENT)."""
    ask = document(endorsements, "ask")
    if leaf is None or ask is None:
        what = "VCEK or VLEK certificate" if leaf is None else "ASK or ASVK certificate"
        raise BadEvidence(Reason.MISSING_ENDORSEMENT, f"no {what} for this report")
    return Chain(leaf, ask, document(endorsements, "ark"), document(endorsements, "crl"))


def document(endorsements: Endorsements, item: str) -> bytes | None:
    """The document of that name, if there is one. Raises BadEvidence(BAD_ENDORSEMENT) if there are more."""
    found = endorsements.items.get(item, ())
    if len(found) > 1:  # choosing one would leave the others, such as a second CRL, unread
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"{len(found)} documents for {item}")
    return found[0] if found else None


@lru_cache(maxsize=32768)
def prove_leaf(given: Chain, anchors: frozenset[bytes]) -> Endorsed:
    """Leaf certificate proven up to the pinned root of its product, or an anchor; remembered by content.

    A root certificate is not needed; one that is given must be the root's, unaltered, and its window counts.
    Raises BadEvidence(BAD_ENDORSEMENT | BAD_SIGNATURE | BAD_CHAIN | UNTRUSTED_ROOT | MALFORMED | TOO_LARGE).
    """
    certificate = load_certificate(given.leaf)
    facts = kds.read_leaf(certificate)
    path = signed_path(certificate, (load_certificate(given.ask),), frozenset((ARK[facts.product.name], *anchors)))
    key = public_key(certificate)
    if not isinstance(key, EcKey) or key.curve != "P-384":
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "leaf certificate holds no P-384 key")
    chain = path.certificates if given.ark is None else (*path.certificates, _root_certificate(given.ark, path.root))
    crl = None if given.crl is None else prove_root_crl(given.crl, path.certificates[-1], path.root)
    return Endorsed(
        leaf=facts,
        key=key,
        signer=_digest(key.spki),
        not_before=max(one.not_valid_before_utc for one in chain),
        not_after=min(one.not_valid_after_utc for one in chain),
        serials=frozenset(map(serial_number, chain)),
        crl=crl,
        documents={name: _digest(one) for name, one in given._asdict().items() if one is not None},
    )


def _root_certificate(data: bytes, root: bytes) -> x509.Certificate:
    certificate = load_certificate(data)
    if not is_root(certificate, root):
        raise BadEvidence(Reason.UNTRUSTED_ROOT, "root certificate is not that of the pinned key of this product")
    return certificate


def check_current(endorsed: Endorsed, now: datetime) -> None:
    """Require the chain to be valid at `now` and, if a CRL is endorsed, not revoked.

    Raises BadEvidence(EXPIRED | NOT_YET_VALID | REVOKED).
    """
    check_window(endorsed.not_before, endorsed.not_after, now, "certificate chain")
    if endorsed.crl is None:
        return
    check_window(endorsed.crl.this_update, endorsed.crl.next_update, now, "CRL")
    if not endorsed.crl.serials.isdisjoint(endorsed.serials):
        raise BadEvidence(Reason.REVOKED, "a certificate of the chain is revoked by AMD")


def check_report(data: bytes, report: Report, endorsed: Endorsed) -> None:
    """Require that the report, whose bytes are `data`, speaks of the endorsed key and is signed by it.

    Raises BadEvidence(IDENTITY_MISMATCH | BAD_SIGNATURE).
    """
    check_identity(report.guest, endorsed)
    if not endorsed.key.verify_pair(report.r, report.s, data[: abi.SIGNED], "sha384"):
        raise BadEvidence(Reason.BAD_SIGNATURE, "report is not signed by its VCEK or VLEK")


@lru_cache(maxsize=_KEPT)
def check_identity(guest: Guest, endorsed: Endorsed) -> None:
    """Require that the report speaks of the key in the leaf: kind, product, TCB version and chip.

    Raises BadEvidence(IDENTITY_MISMATCH).
    """
    leaf = endorsed.leaf
    if guest.signing_key != (abi.VLEK if leaf.vlek else abi.VCEK):
        raise BadEvidence(Reason.IDENTITY_MISMATCH, "report is not signed by the kind of key in the leaf certificate")
    if guest.version >= abi.CPUID_SINCE:
        product = kds.product_of(guest.cpuid_family, guest.cpuid_model)
        if product is not leaf.product:
            raise BadEvidence(Reason.IDENTITY_MISMATCH, "report and leaf certificate are of different products")
    if guest.reported_tcb != leaf.tcb:
        raise BadEvidence(Reason.IDENTITY_MISMATCH, "reported TCB is not that of the leaf certificate")
    if not leaf.vlek and guest.mask_chip_key:
        raise BadEvidence(Reason.IDENTITY_MISMATCH, "report says that its chip key is masked, yet names it as signer")
    if guest.chip_id != (_NO_CHIP if leaf.hwid is None else leaf.hwid):
        raise BadEvidence(Reason.IDENTITY_MISMATCH, "chip id is not the hardware id of the leaf certificate")


def conditional_checks(guest: Guest, documents: Mapping[str, str]) -> tuple[str, ...]:
    """Checks beyond CHECKS that were made: a report without CPUID names no product, and a CRL may be absent."""
    product = ("product_of_leaf",) if guest.version >= abi.CPUID_SINCE else ()
    return (*product, "chain_not_revoked") if "crl" in documents else product


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
