"""A test authority: certificates, CRLs and OCSP responses over EC keys, every one marked as simulated."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

from attest_pipeline.simulator.device import MARK

_BEFORE: Final = timedelta(days=1)
_LIFE: Final = timedelta(days=31)


class Identity(NamedTuple):
    """A private key and the certificate of its public half."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def spki(self) -> bytes:
        """DER SubjectPublicKeyInfo."""
        return self.certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def encoded(self, encoding: serialization.Encoding) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(encoding)

    def sign_raw(self, message: bytes, digest: hashes.HashAlgorithm) -> bytes:
        """ECDSA signature over the message as big-endian r||s."""
        size = (self.key.curve.key_size + 7) // 8
        return b"".join(part.to_bytes(size) for part in decode_dss_signature(self.key.sign(message, ec.ECDSA(digest))))


class Pki:
    """Issues certificates on one curve, valid from a day before `now` for 31 days."""

    def __init__(
        self, now: datetime, curve: ec.EllipticCurve, digest: hashes.SHA256 | hashes.SHA384 | hashes.SHA512
    ) -> None:
        self._start = now.replace(microsecond=0) - _BEFORE
        self._curve = curve
        self._digest = digest

    def issue(
        self,
        name: str,
        issuer: Identity | None,
        *,
        authority: bool = False,
        extensions: Iterable[x509.ExtensionType] = (),
        serial: str = "",
    ) -> Identity:
        """A new key with a certificate of that name, extensions and serial number; without issuer it signs itself.

        The serial number is one of the subject, such as a chip has.
        """
        key = ec.generate_private_key(self._curve)
        subject = _subject(name, serial)
        builder = x509.CertificateBuilder(
            issuer_name=subject if issuer is None else issuer.certificate.subject,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=self._start,
            not_valid_after=self._start + _LIFE,
        ).add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return Identity(key, builder.sign(key if issuer is None else issuer.key, self._digest))

    def crl(self, issuer: Identity, revoked: Iterable[Identity]) -> bytes:
        """CRL (DER) of the issuer."""
        entries = [
            x509.RevokedCertificateBuilder(identity.certificate.serial_number, self._start).build()
            for identity in revoked
        ]
        builder = x509.CertificateRevocationListBuilder(
            issuer.certificate.subject, self._start, self._start + _LIFE, revoked_certificates=entries
        )
        return builder.sign(issuer.key, self._digest).public_bytes(serialization.Encoding.DER)

    def ocsp(self, identity: Identity, issuer: Identity, responder: Identity, *, revoked: bool = False) -> bytes:
        """OCSP response (DER) about the identity by a responder of its issuer, valid as long as a certificate."""
        builder = ocsp.OCSPResponseBuilder().add_response(
            identity.certificate,
            issuer.certificate,
            self._digest,
            ocsp.OCSPCertStatus.REVOKED if revoked else ocsp.OCSPCertStatus.GOOD,
            self._start,
            self._start + _LIFE,
            self._start if revoked else None,
            x509.ReasonFlags.certificate_hold if revoked else None,
        )
        by_key = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, responder.certificate)
        response = by_key.certificates([responder.certificate]).sign(responder.key, self._digest)
        return response.public_bytes(serialization.Encoding.DER)


def _subject(name: str, serial: str) -> x509.Name:
    attributes = {
        NameOID.ORGANIZATION_NAME: MARK,
        NameOID.COMMON_NAME: name,
        NameOID.SERIAL_NUMBER: serial,
    }
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes.items() if value])
