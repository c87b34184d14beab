"""What AMD's Key Distribution Service writes into a VCEK or VLEK certificate.

Source: AMD 57230 (VCEK Certificate and KDS Interface Specification), section 3.1: extensions 1.3.6.1.4.1.3704.1.*.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID
from msgspec import Struct

from attest_pipeline.errors import BadEvidence, Reason

_ARC: Final = "1.3.6.1.4.1.3704.1."
STRUCT_VERSION: Final = _ARC + "1"
PRODUCT_NAME: Final = _ARC + "2"
SPL: Final = _ARC + "3."
HWID: Final = _ARC + "4"
CSP_ID: Final = _ARC + "5"

_ASK: Final = "SEV-"
_ASVK: Final = "SEV-VLEK-"
_IA5_STRING: Final = 0x16
_OCTET_STRING: Final = 0x04


class Product(Struct, frozen=True):
    """A processor generation with one root of its own.

    `spl` lists, for each byte of a TCB version, the last arc of the certificate extension that holds it; `parts` names
    the bytes that mean something. `hwid` is the length of a hardware id in bytes. `models` are CPUID family → models.
    """

    name: str
    spl: tuple[int, ...]
    parts: Mapping[str, int]
    hwid: int
    models: Mapping[int, tuple[range, ...]]


_ZEN_3_4: Final = (1, 2, 4, 5, 6, 7, 3, 8)
_ZEN_3_4_PARTS: Final = MappingProxyType({"tcb_bl": 0, "tcb_tee": 1, "tcb_snp": 6, "tcb_ucode": 7})
_ZEN_5: Final = (9, 1, 2, 3, 5, 6, 7, 8)
_ZEN_5_PARTS: Final = MappingProxyType({"tcb_fmc": 0, "tcb_bl": 1, "tcb_tee": 2, "tcb_snp": 3, "tcb_ucode": 7})

PRODUCTS: Final[Mapping[str, Product]] = MappingProxyType(
    {
        product.name: product
        for product in (
            Product("Milan", _ZEN_3_4, _ZEN_3_4_PARTS, 64, {25: (range(0x10),)}),
            Product("Genoa", _ZEN_3_4, _ZEN_3_4_PARTS, 64, {25: (range(0x10, 0x20), range(0xA0, 0xB0))}),
            Product("Turin", _ZEN_5, _ZEN_5_PARTS, 8, {26: (range(0x20),)}),
        )
    }
)
"""By the name AMD uses in certificates. Genoa's root also endorses Bergamo and Siena (models 0xA0 to 0xAF)."""


class Leaf(Struct, frozen=True):
    """What a VCEK or VLEK certificate says: versioned key of a chip (`hwid`), or of a cloud provider (`csp_id`).

    `tcb` is the TCB version the key was derived for, laid out as in the report; `hwid` is padded to the 64 bytes of
    CHIP_ID and None for a VLEK.
    """

    product: Product
    vlek: bool
    tcb: bytes
    hwid: bytes | None
    csp_id: str | None


@lru_cache(maxsize=1024)
def product_of(family: int, model: int) -> Product | None:
    """Product of a CPUID family and model, None if no product has it."""
    for product in PRODUCTS.values():
        if any(model in models for models in product.models.get(family, ())):
            return product
    return None


def issuer_product(certificate: x509.Certificate) -> tuple[Product, bool]:
    """Product, and whether it is a VLEK, by the name of the issuer. Raises BadEvidence(BAD_ENDORSEMENT)."""
    name = _common_name(certificate.issuer)
    vlek = name.startswith(_ASVK)
    prefix = _ASVK if vlek else _ASK
    product = PRODUCTS.get(name.removeprefix(prefix)) if name.startswith(prefix) else None
    if product is None:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "leaf certificate is of no known AMD product")
    return product, vlek


def read_leaf(certificate: x509.Certificate) -> Leaf:
    """Facts of a VCEK or VLEK certificate, every one required. Raises BadEvidence(BAD_ENDORSEMENT)."""
    product, vlek = issuer_product(certificate)
    if _common_name(certificate.subject) != ("SEV-VLEK" if vlek else "SEV-VCEK"):
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "leaf certificate is not of the kind that its issuer makes")
    extensions = _extensions(certificate)
    if _ia5(extensions, PRODUCT_NAME).partition("-")[0] != product.name:  # "Milan-B0": silicon stepping
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "leaf certificate names another product than its issuer")
    tcb = bytes(_spl(extensions, f"{SPL}{arc}") for arc in product.spl)
    if vlek:
        if HWID in extensions:
            raise BadEvidence(Reason.BAD_ENDORSEMENT, "VLEK certificate with a hardware id")
        return Leaf(product, vlek, tcb, None, _ia5(extensions, CSP_ID))
    return Leaf(product, vlek, tcb, _hwid(extensions, product.hwid), None)


def _common_name(name: x509.Name) -> str:
    values = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(values[0].value) if len(values) == 1 else ""


def _extensions(certificate: x509.Certificate) -> dict[str, bytes]:
    return {
        extension.oid.dotted_string: extension.value.value
        for extension in certificate.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
    }


def _required(extensions: Mapping[str, bytes], oid: str) -> bytes:
    if oid not in extensions:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"leaf certificate without extension {oid}")
    return extensions[oid]


def _ia5(extensions: Mapping[str, bytes], oid: str) -> str:
    der = _required(extensions, oid)
    if len(der) < 2 or der[0] != _IA5_STRING or der[1] != len(der) - 2 or not der.isascii():  # noqa: PLR2004 - DER
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"extension {oid} of the leaf certificate is no IA5String")
    return der[2:].decode("ascii")


def _spl(extensions: Mapping[str, bytes], oid: str) -> int:
    der = _required(extensions, oid)
    value = der[-1] if der else 0
    if der != (bytes((2, 1, value)) if value < 0x80 else bytes((2, 2, 0, value))):  # noqa: PLR2004 - DER INTEGER
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"extension {oid} of the leaf certificate is no byte")
    return value


def _hwid(extensions: Mapping[str, bytes], size: int) -> bytes:
    """Hardware id padded to 64 bytes: raw in the extension, or wrapped in an OCTET STRING (told apart by length)."""
    value = _required(extensions, HWID)
    if len(value) == size + 2 and value[:2] == bytes((_OCTET_STRING, size)):
        value = value[2:]
    if len(value) != size or not any(value):
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "hardware id of the leaf certificate has a wrong length or is zero")
    return value.ljust(64, b"\0")
