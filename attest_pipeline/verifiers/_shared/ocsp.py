"""OCSP responses (RFC 6960) that somebody fetched beforehand: proven offline, at an injected time, without a nonce."""

import hashlib
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from attest_pipeline.crypto import EcKey, load_spki
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared.x509 import (
    Path,
    check_window,
    load_certificate,
    public_key,
    signed_path,
)

MAX_RESPONSE: Final = 16 * 1024
MAX_RESPONSES: Final = 16
_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})


class Link(NamedTuple):
    """A certificate of a proven path, by its serial number and its issuer: all that a CertID (RFC 6960, 4.1.1) holds.

    `issuer` is the issuer's key (DER SubjectPublicKeyInfo), `issuer_name` the SHA-384 of its name (DER).
    """

    serial: int
    issuer: bytes
    issuer_name: bytes


class Answer(NamedTuple):
    """What a proven response says of one certificate; it counts from `not_before` to `not_after`."""

    link: Link
    good: bool
    not_before: datetime
    not_after: datetime


def links_of(path: Path) -> tuple[Link, ...]:
    """The certificates of a path, leaf first, each with its issuer; the root itself is none of them."""
    issuers = (*(public_key(certificate).spki for certificate in path.certificates[1:]), path.root)
    return tuple(
        Link(serial, issuer, hashlib.sha384(one.issuer.public_bytes()).digest())
        for serial, one, issuer in zip(path.serials, path.certificates, issuers, strict=True)
    )


def check_responses(documents: tuple[bytes, ...], links: tuple[Link, ...], now: datetime) -> bool:
    """Whether every link is known to be good at `now`. Every answer about a link must be good and current.

    Responses about other certificates are left out, so a host may keep those of a device and of its RIMs together.
    Raises BadEvidence(REVOKED | EXPIRED | NOT_YET_VALID | BAD_ENDORSEMENT | TOO_LARGE).
    """
    if len(documents) > MAX_RESPONSES:
        raise BadEvidence(Reason.TOO_LARGE, f"{len(documents)} OCSP responses")
    answers = _answers(documents, links)
    for answer in answers.found:
        check_window(answer.not_before, answer.not_after, now, "OCSP response")
        if not answer.good:
            raise BadEvidence(Reason.REVOKED, f"certificate {answer.link.serial:x} is revoked or on hold")
    return answers.complete


def unanswered(documents: tuple[bytes, ...], links: tuple[Link, ...]) -> tuple[Link, ...]:
    """The links that no response is about, each once; times are not judged. Raises BadEvidence(BAD_ENDORSEMENT | …)."""
    answered = {answer.link for answer in _answers(documents, links).found}
    return tuple(link for link in dict.fromkeys(links) if link not in answered)


class _Answers(NamedTuple):
    """What responses say of links, in their order, and whether they say something of every one."""

    found: tuple[Answer, ...]
    complete: bool


@lru_cache(maxsize=8192)
def _answers(documents: tuple[bytes, ...], links: tuple[Link, ...]) -> _Answers:
    found = tuple(answer for document in documents if (answer := prove_response(document, links)) is not None)
    return _Answers(found, {answer.link for answer in found} >= set(links))


class _Response(NamedTuple):
    """The parts of a basic response about one certificate; `issuer_hash` is of the issuer's key."""

    serial: int
    issuer_hash: bytes
    hash_name: str
    status: ocsp.OCSPCertStatus
    this_update: datetime
    next_update: datetime
    responders: tuple[bytes, ...]
    signed: bytes
    signature: bytes
    signature_hash: str


class _Responder(NamedTuple):
    """Who signs responses for an issuer."""

    key: EcKey
    not_before: datetime
    not_after: datetime


@lru_cache(maxsize=8192)
def prove_response(document: bytes, links: tuple[Link, ...]) -> Answer | None:
    """What a response says of one of the links, signed by the responder of that link's issuer; None if of no link.

    Its window is judged by the caller. Raises BadEvidence(BAD_ENDORSEMENT | TOO_LARGE).
    """
    response = _load(document)
    link = next((one for one in links if _is_about(response, one)), None)
    if link is None:
        return None
    responder = _responder(response, link.issuer)
    if not responder.key.verify_der(response.signature, response.signed, response.signature_hash):
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "OCSP response is not signed by its responder")
    if response.status is ocsp.OCSPCertStatus.UNKNOWN:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "OCSP responder does not know the certificate")
    return Answer(
        link,
        response.status is ocsp.OCSPCertStatus.GOOD,
        max(response.this_update, responder.not_before),
        min(response.next_update, responder.not_after),
    )


def _load(document: bytes) -> _Response:
    if len(document) > MAX_RESPONSE:
        raise BadEvidence(Reason.TOO_LARGE, f"OCSP response of {len(document)} bytes")
    try:
        response = ocsp.load_der_ocsp_response(document)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise BadEvidence(Reason.BAD_ENDORSEMENT, "OCSP responder gave no answer")
        signature_hash, next_update = response.signature_hash_algorithm, response.next_update_utc
        if signature_hash is None or signature_hash.name not in _HASHES or next_update is None:
            raise BadEvidence(Reason.BAD_ENDORSEMENT, "OCSP response without end, or signed by an algorithm of old")
        return _Response(
            serial=response.serial_number,
            issuer_hash=response.issuer_key_hash,
            hash_name=response.hash_algorithm.name,
            status=response.certificate_status,
            this_update=response.this_update_utc,
            next_update=next_update,
            responders=tuple(certificate.public_bytes(Encoding.DER) for certificate in response.certificates),
            signed=response.tbs_response_bytes,
            signature=response.signature,
            signature_hash=signature_hash.name,
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"no OCSP response: {str(error)[:120]}") from None


def _is_about(response: _Response, link: Link) -> bool:
    """Whether a response means that link: authorities number alike, so the issuer counts as well."""
    return link.serial == response.serial and response.issuer_hash == _key_hash(link.issuer, response.hash_name)


def _key_hash(spki: bytes, hash_name: str) -> bytes | None:
    """Hash of an EC key's point, as a CertID has it; None for other keys and other hashes than SHA-1 and SHA-2."""
    key = load_spki(spki)
    if not isinstance(key, EcKey) or hash_name not in {"sha1", *_HASHES}:
        return None
    return hashlib.new(hash_name, spki[-1 - 2 * key.size :]).digest()


def _responder(response: _Response, issuer: bytes) -> _Responder:
    """The responder that the issuer has certified for this purpose (RFC 6960 section 4.2.2.2)."""
    if len(response.responders) != 1:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "OCSP response without the certificate of its responder")
    try:
        path = signed_path(load_certificate(response.responders[0]), (), frozenset((issuer,)))
        key = public_key(path.leaf)
    except BadEvidence as error:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"OCSP responder: {error.detail}") from None
    if not isinstance(key, EcKey) or not _may_respond(path.leaf):
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "OCSP response is signed by somebody who is no responder")
    return _Responder(key, path.not_before, path.not_after)


def _may_respond(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.OCSP_SIGNING in usage
