"""PCK certificates: the chain as quotes carry it, and Intel's extension that names the platform and its TCB.

Source: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, 1.5.
"""

from functools import lru_cache
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared.der import SEQUENCE, elements
from attest_pipeline.verifiers._shared.x509 import MAX_PATH, load_bundle, load_certificate

SGX_EXTENSION: Final = "1.2.840.113741.1.13.1"
_OID: Final = bytes.fromhex("2a864886f84d010d01")
_TCB, _PCEID, _FMSPC, _PPID, _TYPE, _CONFIGURATION = (_OID + bytes([arc]) for arc in (2, 3, 4, 1, 5, 7))
_PCESVN: Final = _TCB + bytes([17])
_COMPONENTS: Final = tuple(_TCB + bytes([arc]) for arc in range(1, 17))
_SGX_TYPES: Final = {0: "standard", 1: "scalable", 2: "scalable_with_integrity"}

_BOOLEAN, _INTEGER, _OCTETS, _OBJECT, _ENUMERATED = 0x01, 0x02, 0x04, 0x06, 0x0A
_LEAF_NAME: Final = "SGX PCK Certificate"
_AUTHORITIES: Final = {"SGX PCK Platform CA": "platform", "SGX PCK Processor CA": "processor"}

Fields = dict[bytes, tuple[int, bytes]]


class Platform(NamedTuple):
    """What the extension says of a platform. `components` are the 16 SGX TCB component SVNs.

    The last three are known of platforms with several packages only.
    """

    ppid: bytes
    fmspc: bytes
    pceid: bytes
    components: bytes
    pcesvn: int
    sgx_type: str
    dynamic_platform: bool | None
    cached_keys: bool | None
    smt_enabled: bool | None


class Pck(NamedTuple):
    """A PCK certificate as sent with a quote, not yet proven. `authority` is `platform` or `processor`."""

    certificate: x509.Certificate
    pool: tuple[x509.Certificate, ...]
    authority: str
    platform: Platform


@lru_cache(maxsize=256)  # unproven: whoever fills it must not push out much
def load_pck(chain: bytes) -> Pck:
    """PCK certificate and its companions out of PEM or concatenated DER, in any order.

    Raises BadEvidence(MALFORMED | TOO_LARGE).
    """
    pool = load_chain(chain)
    leaf = certificate_named(_LEAF_NAME, pool)
    try:
        extension = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(SGX_EXTENSION)).value
        assert isinstance(extension, x509.UnrecognizedExtension)  # noqa: S101 - cryptography does not know this OID
        return Pck(leaf, pool, _authority(leaf), _platform(extension.value))
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError, KeyError, IndexError) as error:
        raise BadEvidence(Reason.MALFORMED, f"PCK certificate: {str(error)[:80]}") from None


def load_chain(data: bytes) -> tuple[x509.Certificate, ...]:
    """Certificates of a chain in PEM (zeros may follow) or concatenated DER. Raises BadEvidence(MALFORMED | …)."""
    if b"-----BEGIN" in data[:64]:
        return load_bundle(data)
    try:
        certificates = tuple(load_certificate(element) for _, _, element in elements(data))
    except (ValueError, IndexError):
        raise BadEvidence(Reason.MALFORMED, "certificate chain is neither PEM nor DER") from None
    if not 0 < len(certificates) <= MAX_PATH:
        raise BadEvidence(Reason.MALFORMED, f"chain of {len(certificates)} certificates")
    return certificates


def certificate_named(phrase: str, pool: tuple[x509.Certificate, ...]) -> x509.Certificate:
    """The first certificate whose common name holds the phrase, as Intel's QVL tells the roles apart.

    Raises BadEvidence(MALFORMED) if there is none.
    """
    for certificate in pool:
        if phrase in _common_name(certificate.subject):
            return certificate
    raise BadEvidence(Reason.MALFORMED, f"no certificate named {phrase}")


def _authority(leaf: x509.Certificate) -> str:
    issuer = _common_name(leaf.issuer)
    for phrase, authority in _AUTHORITIES.items():
        if phrase in issuer:
            return authority
    raise ValueError("issuer is neither the platform CA nor the processor CA")


def _common_name(name: x509.Name) -> str:
    return "".join(str(attribute.value) for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME))


def _platform(extension: bytes) -> Platform:
    """Read the extension. Raises ValueError, KeyError or IndexError."""
    fields = _fields(_only(extension))
    tcb = _fields(_value(fields, _TCB, SEQUENCE))
    configuration = _fields(_value(fields, _CONFIGURATION, SEQUENCE)) if _CONFIGURATION in fields else {}
    return Platform(
        ppid=_octets(fields, _PPID, 16),
        fmspc=_octets(fields, _FMSPC, 6),
        pceid=_octets(fields, _PCEID, 2),
        components=bytes(_integer(tcb, component) for component in _COMPONENTS),
        pcesvn=_integer(tcb, _PCESVN),
        sgx_type=_SGX_TYPES[int.from_bytes(_value(fields, _TYPE, _ENUMERATED))],
        dynamic_platform=_boolean(configuration, 1),
        cached_keys=_boolean(configuration, 2),
        smt_enabled=_boolean(configuration, 3),
    )


def _fields(sequence: bytes) -> Fields:
    """OID to (tag, value) of a SEQUENCE OF SEQUENCE { OID, value }."""
    fields: Fields = {}
    for tag, pair, _ in elements(sequence):
        (oid_tag, oid, _), (value_tag, value, _) = elements(pair)
        if tag != SEQUENCE or oid_tag != _OBJECT or oid in fields:
            raise ValueError("extension is not a list of distinct OIDs and values")
        fields[oid] = (value_tag, value)
    return fields


def _value(fields: Fields, oid: bytes, tag: int) -> bytes:
    found, value = fields[oid]
    if found != tag:
        raise ValueError(f"type {found} where {tag} belongs")
    return value


def _octets(fields: Fields, oid: bytes, size: int) -> bytes:
    value = _value(fields, oid, _OCTETS)
    if len(value) != size:
        raise ValueError(f"{len(value)} octets where {size} belong")
    return value


def _integer(fields: Fields, oid: bytes) -> int:
    number = int.from_bytes(_value(fields, oid, _INTEGER), signed=True)
    if not 0 <= number <= 0xFFFF:  # noqa: PLR2004 - an SVN is an unsigned 16-bit number
        raise ValueError("SVN out of range")
    return number


def _boolean(configuration: Fields, arc: int) -> bool | None:
    oid = _CONFIGURATION + bytes([arc])
    return _value(configuration, oid, _BOOLEAN) != b"\0" if oid in configuration else None


def _only(data: bytes) -> bytes:
    ((tag, value, _),) = elements(data)
    if tag != SEQUENCE:
        raise ValueError("extension is no SEQUENCE")
    return value
