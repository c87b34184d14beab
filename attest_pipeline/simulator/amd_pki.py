"""A test AMD: root (ARK), intermediate (ASK or ASVK), VCEK and VLEK certificates, CRLs.

Written from AMD's documents (57230: certificate profile) and not from the verifier, so that a mistake in either shows.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from attest_pipeline.simulator.device import MARK

OID: Final = "1.3.6.1.4.1.3704.1."

_BEFORE: Final = timedelta(days=1)
_CERTIFICATES_LIVE: Final = timedelta(days=365)
_CRL_LIVES: Final = timedelta(days=30)
_HASH: Final = hashes.SHA384()
_PSS: Final = padding.PSS(padding.MGF1(_HASH), _HASH.digest_size)
_IA5: Final = 0x16

IssuerKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class Silicon(NamedTuple):
    """A processor generation: `spl` are the extension arcs for the bytes of a TCB version, `hwid` counts bytes."""

    stepping: str
    struct_version: int
    cpuid: tuple[int, int, int]
    report_version: int
    tcb: bytes
    outdated_tcb: bytes
    spl: tuple[int, ...]
    hwid: int


SILICON: Final[Mapping[str, Silicon]] = {
    "Milan": Silicon(
        stepping="Milan-B0",
        struct_version=0,
        cpuid=(25, 1, 1),
        report_version=3,
        tcb=bytes.fromhex("04000000000018db"),
        outdated_tcb=bytes.fromhex("04000000000017db"),
        spl=(1, 2, 4, 5, 6, 7, 3, 8),
        hwid=64,
    ),
    "Genoa": Silicon(
        stepping="Genoa",
        struct_version=0,
        cpuid=(25, 17, 1),
        report_version=3,
        tcb=bytes.fromhex("0a00000000001754"),
        outdated_tcb=bytes.fromhex("0a00000000001654"),
        spl=(1, 2, 4, 5, 6, 7, 3, 8),
        hwid=64,
    ),
    "Turin": Silicon(
        stepping="Turin",
        struct_version=1,
        cpuid=(26, 2, 1),
        report_version=5,
        tcb=bytes.fromhex("0101010400000051"),
        outdated_tcb=bytes.fromhex("0101010300000051"),
        spl=(9, 1, 2, 3, 5, 6, 7, 8),
        hwid=8,
    ),
}


class AmdPki:
    """Root and intermediate of one product with fresh RSA-4096 keys (half a second), valid from a day before `now`."""

    def __init__(self, now: datetime, product: str, *, vlek: bool) -> None:
        self.start = now.replace(microsecond=0) - _BEFORE
        self._silicon = SILICON[product]
        self._vlek = vlek
        self._root_name = _name(f"ARK-{product}")
        self._issuer_name = _name(f"SEV-VLEK-{product}" if vlek else f"SEV-{product}")
        self._root_key, self._issuer_key = _rsa(), _rsa()
        self.ark = self._authority(self._root_name, self._root_key, depth=None)
        self.ask = self._authority(self._issuer_name, self._issuer_key, depth=0)

    @property
    def root_spki(self) -> bytes:
        """DER SubjectPublicKeyInfo of the root, to be pinned."""
        public = self._root_key.public_key()
        return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    def extensions(self, tcb: bytes, chip_id: bytes) -> dict[str, bytes]:
        """Extensions of a VCEK or VLEK for that TCB version and chip: object identifier → DER value."""
        values = {OID + "1": _integer(self._silicon.struct_version), OID + "2": _ia5(self._silicon.stepping)}
        values |= {f"{OID}3.{arc}": _integer(value) for arc, value in zip(self._silicon.spl, tcb, strict=True)}
        if self._vlek:
            return {**values, OID + "5": _ia5("CN=simulator.example")}
        return {**values, OID + "4": chip_id[: self._silicon.hwid]}

    def leaf(
        self,
        spki: bytes,
        extensions: Mapping[str, bytes],
        *,
        serial: int | None = None,
        signer: IssuerKey | None = None,
    ) -> bytes:
        """VCEK or VLEK certificate (DER) for a P-384 key; another `signer` than the intermediate forges it."""
        builder = self._builder(_name("SEV-VLEK" if self._vlek else "SEV-VCEK"), self._issuer_name)
        builder = builder.public_key(_public(spki)).serial_number(serial or x509.random_serial_number())
        for oid, value in extensions.items():
            builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), False)
        return _signed(builder, signer or self._issuer_key)

    def crl(self, serials: Iterable[int]) -> bytes:
        """CRL (DER) of the root that revokes these serial numbers, current for 30 days."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._root_name)
        builder = builder.last_update(self.start).next_update(self.start + _BEFORE + _CRL_LIVES)
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(self.start).build()
            builder = builder.add_revoked_certificate(entry)
        return _signed(builder, self._root_key)

    def _authority(self, name: x509.Name, key: rsa.RSAPrivateKey, depth: int | None) -> bytes:
        builder = self._builder(name, self._root_name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.add_extension(x509.BasicConstraints(True, depth), True)
        usage = x509.KeyUsage(False, False, False, False, False, True, depth is None, False, False)
        return _signed(builder.add_extension(usage, True), self._root_key)

    def _builder(self, subject: x509.Name, issuer: x509.Name) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
        return builder.not_valid_before(self.start).not_valid_after(self.start + _BEFORE + _CERTIFICATES_LIVE)


def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 4096)


def _public(spki: bytes) -> ec.EllipticCurvePublicKey:
    public = serialization.load_der_public_key(spki)
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise TypeError(type(public).__name__)
    return public


def _signed(builder: x509.CertificateBuilder | x509.CertificateRevocationListBuilder, key: IssuerKey) -> bytes:
    rsa_padding = _PSS if isinstance(key, rsa.RSAPrivateKey) else None
    return builder.sign(key, _HASH, rsa_padding=rsa_padding).public_bytes(serialization.Encoding.DER)


def _name(common: str) -> x509.Name:
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, MARK)
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _integer(value: int) -> bytes:
    """DER INTEGER of one byte's value."""
    content = value.to_bytes(value.bit_length() // 8 + 1)
    return bytes((0x02, len(content))) + content


def _ia5(text: str) -> bytes:
    return bytes((_IA5, len(text))) + text.encode("ascii")
