"""NVIDIA's RIM service, for the signed manifest of a driver or a VBIOS, and its OCSP responder.

Source: NVIDIA/nvtrust (RIM_SERVICE_URL, `rim_id` of driver and VBIOS, OCSP_SERVICE_URL): `<service>/v1/rim/<id>`
answers JSON with the manifest in base64. The id of a switch's manifest has parts that its report does not name, so that
one is the operator's. OCSP (RFC 6960) is asked with SHA-384, as nvtrust does, and without a nonce: an answer is for
everybody, and counts in its window.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from msgspec import Struct

from attest_pipeline.collateral.recipes import (
    CERTIFICATES,
    BadCollateral,
    Documents,
    Facts,
    NotThere,
    Request,
    Response,
    check_current,
    only,
)
from attest_pipeline.collateral.records import DAY, Lifetime
from attest_pipeline.errors import BadEvidence, Unavailable
from attest_pipeline.model import EndorsementKind
from attest_pipeline.verifiers._nvidia.rim import prove_rim
from attest_pipeline.verifiers._nvidia.roots import trusted_roots
from attest_pipeline.verifiers._nvidia.status import link_of
from attest_pipeline.verifiers._shared.ocsp import Link, prove_response

SITE: Final = "nvidia-rim"
OCSP_SITE: Final = "nvidia-ocsp"
_KEY: Final = re.compile(r"(driver|vbios|switch)/([0-9a-f.]{1,32})/([0-9a-z_]{1,32})")
_LATER: Final = frozenset({ocsp.OCSPResponseStatus.TRY_LATER, ocsp.OCSPResponseStatus.INTERNAL_ERROR})
_POINT: Final = 97
"""Bytes of an uncompressed point on P-384."""


class _Answer(Struct):
    rim: str


class NvidiaRim:
    """Recipe for `nvidia-rim/driver/<version>/<chip>` and `nvidia-rim/vbios/<version>/<project_sku_chip>`."""

    vendor = "nvidia"
    lifetime = CERTIFICATES

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        self._roots = trusted_roots(trust_anchors).rim

    def needs(self, key: str) -> tuple[str, ...]:  # noqa: ARG002 - the contract
        """Nothing: a manifest brings its certificates along."""
        return ()

    def requests(self, key: str) -> tuple[Request, ...]:
        """The manifest; nothing for a switch."""
        role, version, model = _parts(key)
        if role == "switch":
            return ()
        name = f"DRIVER_{model}_{version}" if role == "driver" else f"VBIOS_{model}_{version.replace('.', '')}"
        return (Request(SITE, f"v1/rim/NV_GPU_{name.upper()}"),)

    def documents(self, key: str, responses: Sequence[Response]) -> Documents:
        """The manifest (XML)."""
        try:
            answer = msgspec.json.decode(only(response.body for response in responses), type=_Answer)
            manifest = base64.b64decode(answer.rim, validate=True)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, binascii.Error, ValueError) as error:
            raise BadCollateral(f"no answer of a RIM service: {str(error)[:80]}") from None
        return {f"{EndorsementKind.NVIDIA_RIM}/{key}": (manifest,)}

    def facts(self, key: str, documents: tuple[bytes, ...], needed: Documents, now: datetime) -> Facts:  # noqa: ARG002 - the contract
        """Signed by NVIDIA, current, and of that version."""
        _, version, _ = _parts(key)
        try:
            rim = prove_rim(only(documents), self._roots)
        except BadEvidence as error:
            raise BadCollateral(str(error)) from None
        if rim.version.lower() != version:
            raise BadCollateral(f"the manifest of version {rim.version[:40]!r}, not {version}")
        return check_current(Facts(rim.not_before, rim.not_after, (int(rim.not_before.timestamp()),)), now)


class NvidiaStatus:
    """Recipe for `nvidia-certificate-status/<issuer's name>/<issuer's key>/<serial number>`: an OCSP response.

    The issuer's responder must have signed it. Whether NVIDIA vouches for that issuer is the verifier's to prove.
    """

    vendor = "nvidia"
    lifetime = Lifetime(refresh_after=DAY // 4, stale_after=DAY // 2)
    """Answers hold for a day."""

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        """Take what every recipe is given; the key of the issuer stands in the reference."""

    def needs(self, key: str) -> tuple[str, ...]:  # noqa: ARG002 - the contract
        """Nothing: a response brings the certificate of its responder along."""
        return ()

    def requests(self, key: str) -> tuple[Request, ...]:
        """One question about one certificate."""
        return (Request(OCSP_SITE, "", _question(_link(key)), "application/ocsp-request"),)

    def documents(self, key: str, responses: Sequence[Response]) -> Documents:
        """The response as sent, if it is one that says anything."""
        body = only(response.body for response in responses)
        status, known = _status(body)
        if status in _LATER:
            raise Unavailable(f"OCSP responder: {status.name}")
        if status is ocsp.OCSPResponseStatus.UNAUTHORIZED or not known:
            raise NotThere("the OCSP responder does not know that certificate")
        if status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise BadCollateral(f"OCSP responder: {status.name}")
        return {f"{EndorsementKind.NVIDIA_CERTIFICATE_STATUS}/{key}": (body,)}

    def facts(self, key: str, documents: tuple[bytes, ...], needed: Documents, now: datetime) -> Facts:  # noqa: ARG002 - the contract
        """Signed by the issuer's responder, current, and about that certificate, be it good or revoked."""
        try:
            answer = prove_response(only(documents), (_link(key),))
        except BadEvidence as error:
            raise BadCollateral(str(error)) from None
        if answer is None:
            raise BadCollateral("an OCSP response about another certificate")
        version = (int(answer.not_before.timestamp()),)
        return check_current(Facts(answer.not_before, answer.not_after, version), now)


def _status(body: bytes) -> tuple[ocsp.OCSPResponseStatus, bool]:
    """Status of a response, and whether it knows the certificate, of which nothing is proven yet."""
    try:
        response = ocsp.load_der_ocsp_response(body)
        status = response.response_status
        silent = status is not ocsp.OCSPResponseStatus.SUCCESSFUL
        known = silent or response.certificate_status is not ocsp.OCSPCertStatus.UNKNOWN
    except ValueError as error:
        raise BadCollateral(f"no OCSP response: {str(error)[:80]}") from None
    return status, known


def _link(key: str) -> Link:
    try:
        return link_of(key)
    except ValueError as error:
        raise BadCollateral(f"{error}: {key[:80]!r}") from None


@lru_cache(maxsize=1024)
def _question(link: Link) -> bytes:
    """OCSP request (DER). The hash of a key is that of its point, behind the tag for uncompressed ones."""
    point = hashlib.sha384(link.issuer[-_POINT:]).digest()
    builder = ocsp.OCSPRequestBuilder()
    request = builder.add_certificate_by_hash(link.issuer_name, point, link.serial, hashes.SHA384()).build()
    return request.public_bytes(Encoding.DER)


def _parts(key: str) -> tuple[str, str, str]:
    matched = _KEY.fullmatch(key)
    if matched is None:
        raise BadCollateral(f"no key of a manifest: {key[:80]!r}")
    role, version, model = matched.groups()
    return role, version, model
