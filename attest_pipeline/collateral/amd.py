"""AMD's Key Distribution Service: intermediates and roots, CRLs, and the VCEK of a chip at a TCB version.

Source: AMD 57230 (VCEK Certificate and KDS Interface Specification), chapter 4.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from attest_pipeline.collateral.recipes import (
    CERTIFICATES,
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
from attest_pipeline.collateral.records import DAY, FOREVER, WEEK, Lifetime
from attest_pipeline.errors import BadEvidence
from attest_pipeline.model import EndorsementKind
from attest_pipeline.verifiers._amd.kds import PRODUCTS, Product
from attest_pipeline.verifiers._amd.proof import VENDOR, Chain, prove_leaf
from attest_pipeline.verifiers._amd.roots import ARK
from attest_pipeline.verifiers._shared.x509 import load_bundle, load_certificate, prove_crl, public_key, signed_path

SITE: Final = "amd"

_PRODUCTS: Final = {name.lower(): product for name, product in PRODUCTS.items()}
_SPL: Final = {
    "tcb_fmc": "fmcSPL", "tcb_bl": "blSPL", "tcb_tee": "teeSPL", "tcb_snp": "snpSPL", "tcb_ucode": "ucodeSPL",
}  # fmt: skip
_SERVICES: Final = {"ask": "vcek", "ark": "vcek", "asvk": "vlek"}
_CHAIN_KEY: Final = re.compile(r"([a-z]+)/(ask|asvk|ark)")
_LEAF_KEY: Final = re.compile(r"([a-z]+)/([0-9a-f]{128})/([0-9a-f]{16})")
_ASVK_NAME: Final = "SEV-VLEK-"


class _Amd:
    """What the three recipes share: the roots of each product, and development anchors beside them."""

    vendor = "amd"

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        self._anchors = frozenset(trust_anchors.get(VENDOR, ()))

    def _roots(self, product: Product) -> frozenset[bytes]:
        return frozenset((ARK[product.name], *self._anchors))


class AmdChain(_Amd):
    """Recipe for `amd-chain/<product>/<ask|asvk|ark>`: one answer holds an intermediate and the root."""

    lifetime = CERTIFICATES

    def needs(self, key: str) -> tuple[str, ...]:  # noqa: ARG002 - the contract
        """Nothing: the roots are pinned."""
        return ()

    def requests(self, key: str) -> tuple[Request, ...]:
        """The chain of the VCEKs, or of the VLEKs for an ASVK."""
        product, role = self._parts(key)
        return (Request(SITE, f"{_SERVICES[role]}/v1/{product.name}/cert_chain"),)

    def documents(self, key: str, responses: Sequence[Response]) -> Documents:
        """The intermediate and the root, told apart by key."""
        product, role = self._parts(key)
        try:
            chain = load_bundle(only(response.body for response in responses))
        except BadEvidence as error:
            raise BadCollateral(str(error)) from None
        intermediate = "asvk" if role == "asvk" else "ask"
        home = f"{EndorsementKind.AMD_CHAIN}/{product.name.lower()}"
        found: dict[str, tuple[bytes, ...]] = {}
        for certificate in chain:
            held = "ark" if _spki(certificate) in self._roots(product) else intermediate
            found.setdefault(f"{home}/{held}", (certificate.public_bytes(Encoding.DER),))
        return found

    def facts(self, key: str, documents: tuple[bytes, ...], needed: Documents, now: datetime) -> Facts:  # noqa: ARG002 - the contract
        """A certificate of the pinned root key, or directly below it, in the role that the key names."""
        product, role = self._parts(key)
        try:
            certificate = load_certificate(only(documents))
            path = signed_path(certificate, (), self._roots(product))
        except BadEvidence as error:
            raise BadCollateral(str(error)) from None
        if _role(certificate, path.root) != role:
            raise BadCollateral(f"another certificate than the {role}")
        issued = int(path.not_before.timestamp())
        return check_current(Facts(path.not_before, path.not_after, (issued,)), now)

    def _parts(self, key: str) -> tuple[Product, str]:
        name, role = _matched(_CHAIN_KEY, key)
        return _product(name), role


class AmdCrl(_Amd):
    """Recipe for `amd-crl/<product>`."""

    lifetime = Lifetime(refresh_after=DAY, stale_after=WEEK)

    def needs(self, key: str) -> tuple[str, ...]:
        """The root certificate, which signs the CRL."""
        return (f"{EndorsementKind.AMD_CHAIN}/{_product(key).name.lower()}/ark",)

    def requests(self, key: str) -> tuple[Request, ...]:
        """The CRL of the product."""
        return (Request(SITE, f"vcek/v1/{_product(key).name}/crl"),)

    def documents(self, key: str, responses: Sequence[Response]) -> Documents:
        """The CRL as DER."""
        crl = load_crl(only(response.body for response in responses))
        return {f"{EndorsementKind.AMD_CRL}/{key}": (crl.public_bytes(Encoding.DER),)}

    def facts(self, key: str, documents: tuple[bytes, ...], needed: Documents, now: datetime) -> Facts:
        """Signed by the root, current."""
        data = only(documents)
        (need,) = self.needs(key)
        try:
            crl = prove_crl(data, load_certificate(only(needed[need])))
        except BadEvidence as error:
            raise BadCollateral(str(error)) from None
        return check_current(Facts(crl.this_update, crl.next_update, (crl_number(load_crl(data)),)), now)


class AmdLeaf(_Amd):
    """Recipe for `amd-leaf/<product>/<chip id>/<reported TCB>`: the VCEK; a VLEK comes from its cloud only."""

    lifetime = Lifetime(refresh_after=FOREVER, stale_after=FOREVER)

    def needs(self, key: str) -> tuple[str, ...]:
        """The intermediate that signs such leaves: ASVK where there is no chip id."""
        product, chip, _ = self._parts(key)
        authority = "ask" if any(chip) else "asvk"
        return (f"{EndorsementKind.AMD_CHAIN}/{product.name.lower()}/{authority}",)

    def requests(self, key: str) -> tuple[Request, ...]:
        """The VCEK, unless the report hides its chip id."""
        product, chip, tcb = self._parts(key)
        hardware, rest = chip[: product.hwid], chip[product.hwid :]
        if not any(hardware) or any(rest):
            return ()
        levels = "&".join(f"{_SPL[part]}={tcb[at]:02}" for part, at in product.parts.items())
        return (Request(SITE, f"vcek/v1/{product.name}/{hardware.hex()}?{levels}"),)

    def documents(self, key: str, responses: Sequence[Response]) -> Documents:
        """The certificate as sent (DER)."""
        return {f"{EndorsementKind.AMD_LEAF}/{key}": (only(response.body for response in responses),)}

    def facts(self, key: str, documents: tuple[bytes, ...], needed: Documents, now: datetime) -> Facts:
        """Below AMD's root, and of that chip and TCB."""
        product, chip, tcb = self._parts(key)
        (need,) = self.needs(key)
        try:
            proven = prove_leaf(Chain(only(documents), only(needed[need])), self._anchors)
        except BadEvidence as error:
            raise BadCollateral(str(error)) from None
        leaf = proven.leaf
        if (leaf.product, leaf.hwid or bytes(len(chip)), leaf.tcb) != (product, chip, tcb):
            raise BadCollateral("the certificate of another chip or TCB version")
        return check_current(Facts(proven.not_before, proven.not_after, ()), now)

    def _parts(self, key: str) -> tuple[Product, bytes, bytes]:
        name, chip, tcb = _matched(_LEAF_KEY, key)
        return _product(name), bytes.fromhex(chip), bytes.fromhex(tcb)


def _matched(pattern: re.Pattern[str], key: str) -> tuple[str, ...]:
    matched = pattern.fullmatch(key)
    if matched is None:
        raise BadCollateral(f"no key of AMD: {key[:80]!r}")
    return matched.groups()


def _product(name: str) -> Product:
    if name not in _PRODUCTS:
        raise BadCollateral(f"no product of AMD: {name[:80]!r}")
    return _PRODUCTS[name]


def _spki(certificate: x509.Certificate) -> bytes:
    try:
        return public_key(certificate).spki
    except BadEvidence as error:
        raise BadCollateral(str(error)) from None


def _role(certificate: x509.Certificate, root: bytes) -> str:
    if _spki(certificate) == root:
        return "ark"
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return "asvk" if any(str(name.value).startswith(_ASVK_NAME) for name in names) else "ask"
