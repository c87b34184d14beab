"""A test Intel: root, PCK CA, TCB signer, platforms with PCK certificates, signed collateral.

Written from Intel's documents and not from the verifier, so that a mistake in either shows.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from attest_pipeline.simulator.device import MARK

CURRENT_SVN: Final = 5
PCESVN: Final = 13
FMSPC: Final = bytes.fromhex("5e5e5e000000")
PCEID: Final = bytes(2)
QE_MRSIGNER: Final = bytes.fromhex("51" * 32)
QE_ISVSVN: Final = 4
QE_PRODUCTS: Final = {"sgx": 1, "tdx": 2}
SGX_EXTENSION: Final = x509.ObjectIdentifier("1.2.840.113741.1.13.1")

_BEFORE: Final = timedelta(days=1)
_AFTER: Final = timedelta(days=30)
_ECDSA: Final = ec.ECDSA(hashes.SHA256())
_INTEGER, _OCTETS, _OBJECT, _ENUMERATED, _SEQUENCE = 0x02, 0x04, 0x06, 0x0A, 0x30
_SGX_OID: Final = bytes.fromhex("2a864886f84d010d01")
_MODULE: Final = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}

Json = Mapping[str, object]


class Identity(NamedTuple):
    """A key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


class Platform(NamedTuple):
    """A machine: its PCK, and the chain (PEM: PCK, CA, root) that its quotes carry."""

    pck: Identity
    chain: bytes


def sign_raw(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """ECDSA P-256 signature over SHA-256 of the message, as big-endian r||s."""
    r, s = decode_dss_signature(key.sign(message, _ECDSA))
    return r.to_bytes(32) + s.to_bytes(32)


class IntelPki:
    """Root, PCK Platform CA and TCB signer with fresh keys; everything is valid from a day before `now` for 31 days."""

    def __init__(self, now: datetime) -> None:
        self.start = now.replace(microsecond=0) - _BEFORE
        self.end = self.start + _BEFORE + _AFTER
        self.root = self.issue("Simulated SGX Root CA", None, authority=True)
        self.authority = self.issue("Simulated SGX PCK Platform CA", self.root, authority=True)
        self.signer = self.issue("Simulated SGX TCB Signing", self.root)

    @property
    def root_spki(self) -> bytes:
        """DER SubjectPublicKeyInfo of the root, to be pinned."""
        return self.root.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def issue(
        self, name: str, issuer: Identity | None, *, authority: bool = False, extension: bytes | None = None
    ) -> Identity:
        """A new key with a certificate of that name; without issuer it signs itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        signing = key if issuer is None else issuer.key
        builder = (
            x509.CertificateBuilder(serial_number=x509.random_serial_number())
            .subject_name(subject)
            .issuer_name(subject if issuer is None else issuer.certificate.subject)
            .public_key(key.public_key())
            .not_valid_before(self.start)
            .not_valid_after(self.end)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(_usage(authority=authority), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
        )
        if extension is not None:
            builder = builder.add_extension(x509.UnrecognizedExtension(SGX_EXTENSION, extension), critical=False)
        return Identity(key, builder.sign(signing, hashes.SHA256()))

    def platform(self, ppid: bytes, *, svn: int = CURRENT_SVN, pcesvn: int = PCESVN) -> Platform:
        """A machine with that platform id, all of whose SGX components have the SVN."""
        extension = sgx_extension(ppid, bytes([svn]) * 16, pcesvn)
        pck = self.issue("Simulated SGX PCK Certificate", self.authority, extension=extension)
        return Platform(pck, pem(pck, self.authority, self.root).encode())

    def crl(self, issuer: Identity, revoked: Sequence[x509.Certificate] = ()) -> bytes:
        """CRL (DER) of that issuer."""
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=issuer.certificate.subject, last_update=self.start, next_update=self.end
        )
        builder = builder.add_extension(x509.CRLNumber(1), critical=False).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False
        )
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder(certificate.serial_number, self.start)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def collateral(self, tcb_info: Json, identity: Json, revoked: Sequence[x509.Certificate] = ()) -> dict[str, str]:
        """The nine parts of DCAP collateral, signed; `revoked` are PCK certificates."""
        info, enclave = _compact(tcb_info), _compact(identity)
        signers = pem(self.signer, self.root)
        return {
            "pck_crl_issuer_chain": pem(self.authority, self.root),
            "root_ca_crl": self.crl(self.root).hex(),
            "pck_crl": self.crl(self.authority, revoked).hex(),
            "tcb_info_issuer_chain": signers,
            "tcb_info": info,
            "tcb_info_signature": sign_raw(self.signer.key, info.encode()).hex(),
            "qe_identity_issuer_chain": signers,
            "qe_identity": enclave,
            "qe_identity_signature": sign_raw(self.signer.key, enclave.encode()).hex(),
        }

    def tcb_info(self, tee: str) -> dict[str, object]:
        """TCB info v3: SVN 5 everywhere is UpToDate, anything below OutOfDate. For TDX also modules 0 and 1."""
        levels = [
            tcb_level(tee, CURRENT_SVN, "UpToDate"),
            tcb_level(tee, 0, "OutOfDate", advisories=["INTEL-SA-00000"]),
        ]
        modules = {"tdxModule": _MODULE, "tdxModuleIdentities": [tdx_module(1, svn_levels())]}
        return {
            "id": tee.upper(),
            "version": 3,
            **self._dates(),
            "fmspc": FMSPC.hex(),
            "pceId": PCEID.hex(),
            "tcbType": 0,
            **(modules if tee == "tdx" else {}),
            "tcbLevels": levels,
        }

    def qe_identity(self, tee: str) -> dict[str, object]:
        """Identity of the simulated QE; ISVSVN 4 is UpToDate."""
        return {
            "id": "TD_QE" if tee == "tdx" else "QE",
            "version": 2,
            **self._dates(),
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": "11000000000000000000000000000000",
            "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": QE_MRSIGNER.hex().upper(),
            "isvprodid": QE_PRODUCTS[tee],
            "tcbLevels": svn_levels(),
        }

    def _dates(self) -> dict[str, object]:
        return {
            "issueDate": f"{self.start:%Y-%m-%dT%H:%M:%SZ}",
            "nextUpdate": f"{self.end:%Y-%m-%dT%H:%M:%SZ}",
            "tcbEvaluationDataNumber": 20,
        }


def tcb_level(tee: str, svn: int, status: str, *, advisories: Sequence[str] = ()) -> dict[str, object]:
    """A TCB level that asks for the SVN in every component but that of the TDX module's version, as Intel's do."""
    components = [{"svn": svn}] * 16
    tdx = {"tdxtcbcomponents": [{"svn": svn}, {"svn": 0}, *components[2:]]} if tee == "tdx" else {}
    return {
        "tcb": {"sgxtcbcomponents": components, "pcesvn": PCESVN if svn else 0, **tdx},
        "tcbDate": "2026-01-01T00:00:00Z",
        "tcbStatus": status,
        "advisoryIDs": list(advisories),
    }


def tdx_module(version: int, levels: Sequence[Json]) -> dict[str, object]:
    """Identity of the TDX module of that version: signed by Intel (a zero MRSIGNERSEAM), without attributes."""
    return {"id": f"TDX_{version:02X}", **_MODULE, "tcbLevels": levels}


def svn_levels(status: str = "UpToDate") -> list[dict[str, object]]:
    """Levels of a TDX module or QE: that status from ISVSVN 4 on, OutOfDate below."""
    date = {"tcbDate": "2026-01-01T00:00:00Z"}
    return [
        {"tcb": {"isvsvn": QE_ISVSVN}, **date, "tcbStatus": status},
        {"tcb": {"isvsvn": 1}, **date, "tcbStatus": "OutOfDate", "advisoryIDs": ["INTEL-SA-00001"]},
    ]


def pem(*chain: Identity) -> str:
    """Certificates as one PEM text."""
    return "".join(link.certificate.public_bytes(serialization.Encoding.PEM).decode() for link in chain)


def sgx_extension(ppid: bytes, components: bytes, pcesvn: int) -> bytes:
    """Value of Intel's PCK extension (PCK Certificate Profile 1.5): PPID, TCB, PCEID, FMSPC, SGX type."""
    tcb = [_entry(bytes([2, arc]), _INTEGER, bytes([0, svn])) for arc, svn in enumerate(components, start=1)]
    tcb += [
        _entry(bytes([2, 17]), _INTEGER, pcesvn.to_bytes(2)),
        _entry(bytes([2, 18]), _OCTETS, components),
    ]
    return _der(
        _SEQUENCE,
        _entry(bytes([1]), _OCTETS, ppid),
        _entry(bytes([2]), _SEQUENCE, *tcb),
        _entry(bytes([3]), _OCTETS, PCEID),
        _entry(bytes([4]), _OCTETS, FMSPC),
        _entry(bytes([5]), _ENUMERATED, bytes([1])),
    )


def _entry(arcs: bytes, tag: int, *parts: bytes) -> bytes:
    return _der(_SEQUENCE, _der(_OBJECT, _SGX_OID + arcs), _der(tag, *parts))


def _der(tag: int, *parts: bytes) -> bytes:
    """DER element; an INTEGER loses the leading zeros that DER forbids."""
    content = b"".join(parts)
    if tag == _INTEGER:
        number = int.from_bytes(content)
        content = number.to_bytes(number.bit_length() // 8 + 1)
    length = len(content)
    if length < 0x80:  # noqa: PLR2004 - short form of a DER length
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size) + content


def _name(common: str) -> x509.Name:
    pairs = ((NameOID.COMMON_NAME, common), (NameOID.ORGANIZATION_NAME, MARK))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=not authority,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _compact(document: Json) -> str:
    return json.dumps(document, separators=(",", ":"))
