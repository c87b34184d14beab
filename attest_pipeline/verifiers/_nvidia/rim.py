"""NVIDIA Reference Integrity Manifests: what a version of firmware must measure, signed by NVIDIA.

A RIM is a SWID tag (ISO/IEC 19770-2) with an enveloped XML signature. Only what the signature covers is read, out of
the canonical form that was hashed. Source: TCG Reference Integrity Manifest Information Model; NVIDIA/nvtrust, rim/.
"""

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, cast

from cryptography import x509
from lxml import etree
from msgspec import Struct
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.verifier import SignatureConfiguration, VerifyResult, XMLVerifier

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._nvidia.spdm import DIGEST_BYTES
from attest_pipeline.verifiers._shared.ocsp import Link, links_of
from attest_pipeline.verifiers._shared.x509 import MAX_PATH, Path, load_certificate, signed_path

_MAX_RIM: Final = 256 * 1024
_MAX_ALTERNATIVES: Final = 64
_SWID: Final = "{http://standards.iso.org/iso/19770/-2/2015/schema.xsd}"
_SHA384: Final = "{http://www.w3.org/2001/04/xmlenc#sha384}"
_DS: Final = "{http://www.w3.org/2000/09/xmldsig#}"
_HEX_DIGITS: Final = 2 * DIGEST_BYTES
_INDEXES: Final = range(255)
_BROKEN: Final = (
    etree.LxmlError,
    SignXMLException,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    NotImplementedError,
)
"""What the XML libraries raise for documents that are not as they should be."""


class Rim(Struct, frozen=True, eq=False):
    """A proven RIM; remembered, and its window is judged on every call.

    `digest` is the SHA-256 of the document in hexadecimal. `golden` maps an index to the values that are allowed there,
    any one of them; an index counts from 0, the report's measurement blocks from 1.
    """

    version: str
    golden: Mapping[int, frozenset[bytes]]
    digest: str
    not_before: datetime
    not_after: datetime
    links: tuple[Link, ...]


@lru_cache(maxsize=256)
def prove_rim(document: bytes, roots: frozenset[bytes]) -> Rim:
    """RIM signed by a certificate under a pinned root; remembered by content.

    Raises BadEvidence(BAD_ENDORSEMENT | TOO_LARGE) and whatever a chain that does not hold raises.
    """
    if len(document) > _MAX_RIM:
        raise BadEvidence(Reason.TOO_LARGE, f"RIM of {len(document)} bytes")
    try:
        certificates = _certificates(document)
        path = signed_path(certificates[0], certificates[1:], roots)
        tag = _signed_tag(document, path.leaf)
        return _read(tag, hashlib.sha256(document).hexdigest(), path)
    except _BROKEN as error:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"no RIM: {str(error)[:120]}") from None


def check_measurements(measurements: tuple[bytes, ...], rim: Rim, what: str) -> None:
    """Require an allowed value at every active index. Raises BadEvidence(MEASUREMENT_MISMATCH)."""
    for index, allowed in rim.golden.items():
        if index >= len(measurements) or measurements[index] not in allowed:
            raise BadEvidence(Reason.MEASUREMENT_MISMATCH, f"measurement {index + 1} is not that of the {what} RIM")


def _parser() -> Any:
    """No entities, no DTD, no network, no huge documents."""
    return etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False)


def _certificates(document: bytes) -> tuple[x509.Certificate, ...]:
    """Certificates of the one signature, signer first; nothing of them is proven."""
    root = etree.fromstring(document, _parser())
    if root.getroottree().docinfo.doctype:
        raise ValueError("DTD")
    (signature,) = root.findall(f"{_DS}Signature")
    texts = [element.text for element in signature.iterfind(f"{_DS}KeyInfo/{_DS}X509Data/{_DS}X509Certificate")]
    if not 0 < len(texts) <= MAX_PATH:
        raise ValueError(f"{len(texts)} certificates")
    return tuple(load_certificate(base64.b64decode("".join(text.split()), validate=True)) for text in texts)


def _signed_tag(document: bytes, signer: x509.Certificate) -> Any:
    """The element that the signer signed, without its signature. Times are judged elsewhere."""
    expected = SignatureConfiguration(
        location="./",
        signature_methods=frozenset({SignatureMethod.ECDSA_SHA384}),
        digest_algorithms=frozenset({DigestAlgorithm.SHA384}),
        verification_time=signer.not_valid_before_utc,
    )
    verified = XMLVerifier().verify(document, x509_cert=signer, parser=_parser(), expect_config=expected)
    return cast("VerifyResult", verified).signed_xml  # one result, because one reference is expected


def _read(tag: Any, digest: str, path: Path) -> Rim:
    if tag.tag != f"{_SWID}SoftwareIdentity":
        raise ValueError("signed element is no SWID tag")
    (meta,), (payload,) = tag.findall(f"{_SWID}Meta"), tag.findall(f"{_SWID}Payload")
    resources = [_resource(element) for element in payload.findall(f"{_SWID}Resource")]
    if len({index for index, _ in resources}) != len(resources):
        raise ValueError("index stands twice")
    golden = {index: allowed for index, allowed in resources if allowed}
    if not golden:  # would be equal to any report
        raise ValueError("no active measurement")
    return Rim(meta.attrib["colloquialVersion"], golden, digest, path.not_before, path.not_after, links_of(path))


def _resource(element: Any) -> tuple[int, frozenset[bytes]]:
    """Index and allowed values, none of them if it is not active."""
    attributes = element.attrib
    index, count = int(attributes["index"]), int(attributes["alternatives"])
    if index not in _INDEXES or not 0 < count <= _MAX_ALTERNATIVES or attributes["type"] != "Measurement":
        raise ValueError(f"resource {index}")
    if attributes["active"] not in {"True", "False"} or int(attributes["size"]) != DIGEST_BYTES:
        raise ValueError(f"resource {index}")
    if attributes["active"] == "False":
        return index, frozenset()
    return index, frozenset(_value(attributes[f"{_SHA384}Hash{number}"]) for number in range(count))


def _value(text: str) -> bytes:
    if len(text) != _HEX_DIGITS:
        raise ValueError("hash of another size")
    return bytes.fromhex(text)
