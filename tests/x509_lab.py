"""Certificates and CRLs made to measure for the tests: any name, key, window, constraint and signer."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Self, TypedDict, Unpack

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

NOW: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY: Final = timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Hash = hashes.SHA256 | hashes.SHA384 | hashes.SHA512


class Options(TypedDict, total=False):
    """What a certificate may have; None for `authority` or `may_sign` leaves the extension out.

    Who may sign certificates may sign CRLs, unless `may_revoke` says otherwise.
    """

    authority: bool | None
    depth: int | None
    may_sign: bool | None
    may_revoke: bool
    extensions: tuple[x509.Extension[x509.ExtensionType], ...]
    window: tuple[datetime, datetime]
    algorithm: Hash
    pad: padding.PSS | padding.PKCS1v15


class Identity(NamedTuple):
    """A key and the certificate of it."""

    key: Key
    certificate: x509.Certificate

    @property
    def spki(self) -> bytes:
        """What a root is pinned by."""
        return self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, common: str, *, key: Key | None = None, **options: Unpack[Options]) -> "Identity":
        """A certificate of that name, signed by this identity."""
        return issue(self.certificate.subject, self.key, common, key or ec_key(), **options)

    def crl(
        self,
        serials: Iterable[int] = (),
        *,
        start: datetime = NOW - DAY,
        end: datetime = NOW + DAY,
        critical: tuple[x509.ExtensionType, ...] = (),
    ) -> bytes:
        """A CRL (DER) signed by this identity."""
        builder = x509.CertificateRevocationListBuilder(self.certificate.subject, start, end)
        for serial in serials:
            entry = x509.RevokedCertificateBuilder(serial, start).build()
            builder = builder.add_revoked_certificate(entry)
        for extension in critical:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    @classmethod
    def root(cls, common: str, key: Key | None = None) -> Self:
        """A self-signed authority."""
        own = key or ec_key()
        made = issue(name(common), own, common, own, authority=True)
        return cls(made.key, made.certificate)


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """A fresh key, on P-256 unless told otherwise."""
    return ec.generate_private_key(curve or ec.SECP256R1())


def name(common: str) -> x509.Name:
    """A distinguished name of one part."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def issue(issuer: x509.Name, signer: Key, common: str, key: Key, **options: Unpack[Options]) -> Identity:
    """A certificate under any issuer name, signed by any key."""
    authority, may_sign = options.get("authority", False), options.get("may_sign")
    window = options.get("window", (NOW - DAY, NOW + 30 * DAY))
    builder = x509.CertificateBuilder(
        issuer, name(common), key.public_key(), x509.random_serial_number(), window[0], window[1]
    )
    if authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(authority, options.get("depth")), True)
    if may_sign is not None:
        may_revoke = options.get("may_revoke", may_sign)
        usage = x509.KeyUsage(True, False, False, False, False, may_sign, may_revoke, False, False)
        builder = builder.add_extension(usage, True)
    for extension in options.get("extensions", ()):
        builder = builder.add_extension(extension.value, extension.critical)
    return Identity(
        key, builder.sign(signer, options.get("algorithm", hashes.SHA256()), rsa_padding=options.get("pad"))
    )


def tlv(tag: int, value: bytes) -> bytes:
    """A DER element of up to 65535 bytes."""
    size = len(value)
    prefix = b"" if size < 0x80 else b"\x81" if size < 0x100 else b"\x82"
    return bytes((tag,)) + prefix + size.to_bytes(1 + (prefix == b"\x82")) + value


def content(element: bytes) -> bytes:
    """What a DER element holds."""
    return element[2 if element[1] < 0x80 else 2 + (element[1] & 0x7F) :]


def without_next_update(crl: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The CRL without its nextUpdate, which no builder leaves out, signed again."""
    parsed = x509.load_der_x509_crl(crl)
    moment = f"{parsed.next_update_utc:%y%m%d%H%M%SZ}".encode()
    tbs = tlv(0x30, content(parsed.tbs_certlist_bytes).replace(tlv(0x17, moment), b"", 1))
    algorithm = tlv(0x30, tlv(0x06, bytes.fromhex("2a8648ce3d040302")))  # ecdsa-with-SHA256
    signature = key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, tbs + algorithm + tlv(0x03, b"\0" + signature))
