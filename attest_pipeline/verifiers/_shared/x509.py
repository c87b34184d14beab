"""X.509 for attestation: paths by issuer to a pinned key, judged at an injected time, and CRLs (RFC 5280).

Vendor chains are no web PKI (RSA-PSS, no names, roots pinned by key), so the path is built here. A proof that does not
depend on the time is cached by content; the time is checked on every call. What is not proven yet is remembered only
in small caches, because a parsed certificate may weigh thirty times its bytes.
"""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from attest_pipeline.crypto import EcKey, RsaKey, UnusableKey, load_spki, wrap
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared.der import SEQUENCE, elements

MAX_CERTIFICATE: Final = 16 * 1024
MAX_CRL: Final = 4 * 1024 * 1024
MAX_PATH: Final = 8
_PEM_BEGIN: Final = b"-----BEGIN"
_PEM_CERTIFICATE_END: Final = b"-----END CERTIFICATE-----"
_FILL: Final = b" \t\r\n\0"
"""What may stand behind a PEM text: quotes end their chains with a NUL, and buffers are filled up with zeros."""
_PARSED_LATE: Final = (
    "subject", "issuer", "extensions", "signature_hash_algorithm", "signature_algorithm_parameters",
)  # fmt: skip
PARSE_ERRORS: Final = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""TypeError: `cryptography` raises it for a name whose value is a bit string."""
_UNDERSTOOD: Final = frozenset(
    {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE}
)
"""Critical extensions that an authority may have: who does not understand one must refuse it (RFC 5280, 4.2)."""


class Path(NamedTuple):
    """A proven path, leaf first; valid from the latest start to the earliest end of its certificates.

    `serials` are their serial numbers; `root` is the pinned key (DER SubjectPublicKeyInfo) that the last certificate
    holds or is signed by.
    """

    certificates: tuple[x509.Certificate, ...]
    serials: tuple[int, ...]
    not_before: datetime
    not_after: datetime
    root: bytes

    @property
    def leaf(self) -> x509.Certificate:
        """The end-entity certificate."""
        return self.certificates[0]


class Crl(NamedTuple):
    """A proven CRL: revoked serial numbers and its window."""

    serials: frozenset[int]
    this_update: datetime
    next_update: datetime


@lru_cache(maxsize=256)
def load_certificate(data: bytes) -> x509.Certificate:
    """Certificate from DER, or the first from PEM, every part that is read later parsed.

    Raises BadEvidence(MALFORMED | TOO_LARGE).
    """
    if len(data) > MAX_CERTIFICATE:
        raise BadEvidence(Reason.TOO_LARGE, f"certificate of {len(data)} bytes")
    pem = data.lstrip().startswith(_PEM_BEGIN)
    if pem:
        _check_pem_end(data)
    try:
        with quiet():
            certificate = x509.load_pem_x509_certificate(data) if pem else x509.load_der_x509_certificate(data)
            certificate.public_key()
            for part in _PARSED_LATE:
                getattr(certificate, part)
    except PARSE_ERRORS as error:
        raise BadEvidence(Reason.MALFORMED, f"no X.509 certificate: {str(error)[:120]}") from None
    if not _names_one_algorithm(certificate.public_bytes(Encoding.DER)):
        raise BadEvidence(Reason.MALFORMED, "certificate names another signature algorithm than it signs")
    return certificate


@lru_cache(maxsize=256)
def load_bundle(data: bytes) -> tuple[x509.Certificate, ...]:
    """Certificates of a PEM bundle, in its order. Raises BadEvidence(MALFORMED | TOO_LARGE)."""
    blocks = [block + _PEM_CERTIFICATE_END for block in data.split(_PEM_CERTIFICATE_END)[:-1]]
    if not blocks or len(blocks) > MAX_PATH:
        raise BadEvidence(Reason.MALFORMED, f"PEM bundle of {len(blocks)} certificates")
    _check_pem_end(data)
    return tuple(load_certificate(block[block.find(_PEM_BEGIN) :]) for block in blocks)


def _check_pem_end(data: bytes) -> None:
    """Require that nothing follows the last certificate of a PEM text, such as one whose end mark is broken."""
    if data.rpartition(_PEM_CERTIFICATE_END)[2].strip(_FILL):
        raise BadEvidence(Reason.MALFORMED, "bytes behind the last certificate in PEM")


def _names_one_algorithm(signed: bytes) -> bool:
    """Whether a certificate or CRL signs the algorithm that it names beside the signature (RFC 5280, 4.1.1.2, 5.1.1.2).

    In what is signed, it is the first SEQUENCE of both. Else whoever passes it on could choose the algorithm.
    """
    ((_, parts, _),) = elements(signed)
    (_, body, _), (_, _, named), _ = elements(parts)
    return named == next(text for tag, _, text in elements(body) if tag == SEQUENCE)


@lru_cache(maxsize=8192)
def public_key(certificate: x509.Certificate) -> EcKey | RsaKey:
    """Public key of a proven certificate, remembered. Raises BadEvidence(MALFORMED) for a kind that is not admitted."""
    return _unproven_key(certificate)


@lru_cache(maxsize=256)
def _unproven_key(certificate: x509.Certificate) -> EcKey | RsaKey:
    try:
        return wrap(certificate.public_key())
    except UnusableKey as error:
        raise BadEvidence(Reason.MALFORMED, f"certificate key: {error}") from None


def serial_number(certificate: x509.Certificate) -> int:
    """Serial number, whatever it is: AMD numbers every VCEK and VLEK 0, at which `cryptography` warns."""
    with quiet():
        return certificate.serial_number


@contextmanager
def quiet() -> Iterator[None]:
    """Whoever sends a certificate shall not write into our log by what `cryptography` warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def prove_path(
    leaf: x509.Certificate, pool: Iterable[x509.Certificate], roots: frozenset[bytes], *, now: datetime
) -> Path:
    """Path from the leaf through the pool to a pinned root key, every certificate valid at `now`.

    The pool may be in any order and may hold strangers. `roots` are DER SubjectPublicKeyInfo. A root certificate in the
    pool is a convenience: the pinned key decides, but an altered one is refused.
    Raises BadEvidence(BAD_CHAIN | UNTRUSTED_ROOT | EXPIRED | …).
    """
    path = signed_path(leaf, tuple(pool), roots)
    check_window(path.not_before, path.not_after, now, "certificate chain")
    return path


def check_window(start: datetime, end: datetime, now: datetime, what: str) -> None:
    """Require start <= now <= end. Raises BadEvidence(NOT_YET_VALID | EXPIRED)."""
    if now < start:
        raise BadEvidence(Reason.NOT_YET_VALID, f"{what} is valid from {start:%Y-%m-%dT%H:%M:%SZ}")
    if now > end:
        raise BadEvidence(Reason.EXPIRED, f"{what} was valid until {end:%Y-%m-%dT%H:%M:%SZ}")


@lru_cache(maxsize=8192)
def signed_path(leaf: x509.Certificate, pool: tuple[x509.Certificate, ...], roots: frozenset[bytes]) -> Path:
    """Path as in `prove_path`, its time not yet judged: for proofs that are cached; check its window on every call.

    Raises BadEvidence(BAD_CHAIN | UNTRUSTED_ROOT | BAD_SIGNATURE | MALFORMED).
    """
    path = [leaf]
    while (root := _root_of(path[-1], roots)) is None:
        if len(path) >= MAX_PATH:
            raise BadEvidence(Reason.BAD_CHAIN, f"chain of more than {MAX_PATH} certificates")
        path.append(_issuer_of(path, pool))
    _check_root_certificate(path[-1], pool, root)
    return Path(
        tuple(path),
        tuple(map(serial_number, path)),
        max(certificate.not_valid_before_utc for certificate in path),
        min(certificate.not_valid_after_utc for certificate in path),
        root,
    )


def _root_of(certificate: x509.Certificate, roots: frozenset[bytes]) -> bytes | None:
    """The pinned key that the certificate holds or is signed by."""
    held = _unproven_key(certificate).spki
    if held in roots:
        return held
    return next((root for root in roots if _signed_by(certificate, load_spki(root))), None)


def _check_root_certificate(last: x509.Certificate, pool: tuple[x509.Certificate, ...], root: bytes) -> None:
    """Require that a certificate of the root's name in the pool, if there is any, is one of the root.

    It proves nothing that the pinned key does not, but a chain is taken as a whole or not at all.
    """
    named = [candidate for candidate in pool if candidate.subject == last.issuer]
    if named and not any(_is_crossed(candidate, root) or is_root(candidate, root) for candidate in named):
        raise BadEvidence(Reason.BAD_SIGNATURE, f"certificate {_name(named[0])} is not that of the pinned root")


def _is_crossed(certificate: x509.Certificate, root: bytes) -> bool:
    """Whether somebody else certified the pinned key."""
    return certificate.issuer != certificate.subject and _unproven_key(certificate).spki == root


def is_root(certificate: x509.Certificate, root: bytes) -> bool:
    """Whether the certificate holds the pinned key (DER SubjectPublicKeyInfo) and is signed by it."""
    held = _unproven_key(certificate)
    return held.spki == root and _signed_by(certificate, held)


def _issuer_of(path: list[x509.Certificate], pool: tuple[x509.Certificate, ...]) -> x509.Certificate:
    certificate, below = path[-1], len(path) - 1
    if certificate.issuer == certificate.subject:
        raise BadEvidence(Reason.UNTRUSTED_ROOT, f"root {_name(certificate)} is not pinned")
    named = [candidate for candidate in pool if candidate.subject == certificate.issuer]
    for candidate in named:
        if _is_authority(candidate, below) and _signed_by(certificate, _unproven_key(candidate)):
            return candidate
    if named:
        raise BadEvidence(Reason.BAD_SIGNATURE, f"certificate {_name(certificate)} is not signed by its issuer")
    raise BadEvidence(Reason.BAD_CHAIN, f"no issuer for certificate {_name(certificate)}")


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()[:80]


def _is_authority(certificate: x509.Certificate, below: int) -> bool:
    """Whether the certificate may sign others and have that many authorities below it (RFC 5280, 4.2.1.3, 4.2.1.9).

    What limits it otherwise, such as to some names, is not understood here, so it may sign nothing.
    """
    constraints, usage = (_extension(certificate, kind) for kind in (x509.BasicConstraints, x509.KeyUsage))
    if not _critical(certificate.extensions) <= _UNDERSTOOD:
        return False
    if not isinstance(constraints, x509.BasicConstraints) or not constraints.ca:
        return False
    if isinstance(usage, x509.KeyUsage) and not usage.key_cert_sign:
        return False
    return constraints.path_length is None or constraints.path_length >= below


def _critical(extensions: x509.Extensions) -> set[x509.ObjectIdentifier]:
    return {extension.oid for extension in extensions if extension.critical}


def _extension(
    certificate: x509.Certificate, kind: type[x509.BasicConstraints | x509.KeyUsage]
) -> x509.ExtensionType | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _signed_by(signed: x509.Certificate | x509.CertificateRevocationList, issuer: EcKey | RsaKey) -> bool:
    """Whether the issuer key made the signature, by the algorithm that the certificate or CRL names."""
    body = signed.tbs_certificate_bytes if isinstance(signed, x509.Certificate) else signed.tbs_certlist_bytes
    algorithm = signed.signature_hash_algorithm
    if algorithm is None or algorithm.name not in {"sha256", "sha384", "sha512"}:
        return False
    if isinstance(issuer, EcKey):
        return issuer.verify_der(signed.signature, body, algorithm.name)
    if isinstance(signed.signature_algorithm_parameters, padding.PSS):
        return issuer.verify_pss(signed.signature, body, algorithm.name, algorithm.digest_size)
    return issuer.verify_pkcs1(signed.signature, body, algorithm.name)


def prove_crl(data: bytes, issuer: x509.Certificate) -> Crl:
    """CRL (DER or PEM) signed by the issuer, who may sign such; check its window with `check_window`.

    It must be complete: one that lists changes, or some kinds of certificates alone, says so in a critical extension
    and is refused. Raises BadEvidence(BAD_ENDORSEMENT | TOO_LARGE).
    """
    usage = _extension(issuer, x509.KeyUsage)
    if isinstance(usage, x509.KeyUsage) and not usage.crl_sign:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"{_name(issuer)} may not sign a CRL")
    return _signed_crl(data, issuer.subject, public_key(issuer))


def prove_root_crl(data: bytes, last: x509.Certificate, root: bytes) -> Crl:
    """CRL as in `prove_crl`, signed by the root of a path that ends with `last`; a root needs no certificate here."""
    return _signed_crl(data, last.issuer, load_spki(root))


@lru_cache(maxsize=256)
def _signed_crl(data: bytes, issuer: x509.Name, key: EcKey | RsaKey) -> Crl:
    if len(data) > MAX_CRL:
        raise BadEvidence(Reason.TOO_LARGE, f"CRL of {len(data)} bytes")
    pem = data.lstrip().startswith(_PEM_BEGIN)
    try:
        with quiet():
            crl = x509.load_pem_x509_crl(data) if pem else x509.load_der_x509_crl(data)
            serials = frozenset(entry.serial_number for entry in crl)
            complete = not _critical(crl.extensions)
            genuine = (
                crl.issuer == issuer and _signed_by(crl, key) and _names_one_algorithm(crl.public_bytes(Encoding.DER))
            )
    except PARSE_ERRORS as error:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"no CRL: {str(error)[:120]}") from None
    if not genuine:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"CRL is not signed by {issuer.rfc4514_string()[:80]}")
    if not complete:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "CRL with a critical extension: it is not the whole list")
    if crl.next_update_utc is None:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "CRL without nextUpdate")
    return Crl(serials, crl.last_update_utc, crl.next_update_utc)


def check_not_revoked(serial: int, crl: Crl, now: datetime) -> None:
    """Require a current CRL without that certificate. Raises BadEvidence(REVOKED | EXPIRED | NOT_YET_VALID)."""
    check_window(crl.this_update, crl.next_update, now, "CRL")
    if serial in crl.serials:
        raise _revoked(serial)


def check_not_listed(serials: Iterable[int], crl: Crl) -> None:
    """Require a CRL without any of those certificates, whatever the time. Raises BadEvidence(REVOKED)."""
    for serial in serials:
        if serial in crl.serials:
            raise _revoked(serial)


def _revoked(serial: int) -> BadEvidence:
    return BadEvidence(Reason.REVOKED, f"certificate {serial:x} is revoked")
