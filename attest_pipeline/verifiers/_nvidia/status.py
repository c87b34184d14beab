"""References to the status of NVIDIA's certificates: a key holds all that a question about one needs, and no address.

`<SHA-384 of the issuer's name>/<issuer's P-384 point, compressed>/<serial number>`, all in hexadecimal.
"""

import re
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from attest_pipeline.model import EndorsementKind, EndorsementRef
from attest_pipeline.verifiers._shared.ocsp import Link

_KEY: Final = re.compile(r"([0-9a-f]{96})/(0[23][0-9a-f]{96})/([0-9a-f]{1,40})")
_CURVE: Final = ec.SECP384R1()


@lru_cache(maxsize=1024)
def references(links: tuple[Link, ...], item: str) -> tuple[EndorsementRef, ...]:
    """References to the status of each certificate whose issuer is on P-384, as all of NVIDIA's are."""
    kind = EndorsementKind.NVIDIA_CERTIFICATE_STATUS
    keys = [key for link in links if (key := _key_of(link)) is not None]
    return tuple(EndorsementRef(item=item, kind=kind, key=key, required=False) for key in keys)


def link_of(key: str) -> Link:
    """The certificate that a key names. Raises ValueError for a key of another form, or a point off the curve."""
    matched = _KEY.fullmatch(key)
    if matched is None:
        raise ValueError("no key of a certificate's status")
    name, point, serial = matched.groups()
    issuer = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, bytes.fromhex(point))
    spki = issuer.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Link(int(serial, 16), spki, bytes.fromhex(name))


def _key_of(link: Link) -> str | None:
    issuer = load_der_public_key(link.issuer)
    if not isinstance(issuer, ec.EllipticCurvePublicKey) or issuer.curve.name != _CURVE.name:
        return None
    point = issuer.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return f"{link.issuer_name.hex()}/{point.hex()}/{link.serial:x}"
