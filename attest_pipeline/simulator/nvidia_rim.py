"""Simulated RIMs: SWID tags with the golden measurements of a firmware version, signed as NVIDIA signs them."""

from collections.abc import Mapping, Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod
from signxml.signer import XMLSigner

from attest_pipeline.simulator.device import MARK

_SIZE: Final = 48
_TAG: Final = """\
<SoftwareIdentity xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" \
xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384" name="{product}" tagId="simulated" version="1.0" tagVersion="0">
    <Entity name="{mark}" role="softwareCreator tagCreator"/>
    <Meta colloquialVersion="{version}" product="{product}" revision="r1" PayloadType="direct"/>
    <Payload>
{resources}
    </Payload>
</SoftwareIdentity>"""
_RESOURCE: Final = (
    '        <Resource type="Measurement" index="{index}" active="{active}" alternatives="{count}" {hashes} '
    'name="Measurement_{index}" size="48"/>'
)


def make_rim(product: str, version: str, golden: Mapping[int, Sequence[bytes]], count: int) -> str:
    """Unsigned RIM over `count` indexes from 0, those in `golden` active with their allowed values."""
    resources = (_resource(index, golden.get(index, ()), active=index in golden) for index in range(count))
    return _TAG.format(product=product, version=version, mark=MARK, resources="\n".join(resources))


def sign_rim(tag: str, key: ec.EllipticCurvePrivateKey, chain: Sequence[x509.Certificate]) -> bytes:
    """The tag with an enveloped signature (ECDSA with SHA-384) by the first certificate's key."""
    signer = XMLSigner(
        signature_algorithm=SignatureMethod.ECDSA_SHA384,
        digest_algorithm=DigestAlgorithm.SHA384,
        c14n_algorithm=CanonicalizationMethod.CANONICAL_XML_1_1,
    )
    return bytes(etree.tostring(signer.sign(etree.fromstring(tag), key=key, cert=list(chain))))


def _resource(index: int, allowed: Sequence[bytes], *, active: bool) -> str:
    values = allowed or (bytes(_SIZE),)
    hashes = " ".join(f'ns2:Hash{number}="{value.hex()}"' for number, value in enumerate(values))
    return _RESOURCE.format(index=index, active=active, count=len(values), hashes=hashes)
