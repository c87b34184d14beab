"""The Nitro Enclaves attestation document: a COSE_Sign1 → one frozen struct. Nothing here is proven.

Source: aws/aws-nitro-enclaves-nsm-api, docs/attestation_process.md (structure, sizes, syntactical validation).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from msgspec import Struct

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared import cbor
from attest_pipeline.verifiers._shared.cose import Sign1, read_sign1
from attest_pipeline.verifiers._shared.eat import ClaimsSet

DIGEST: Final = "SHA384"
PCR_BYTES: Final = 48
_MAX_DOCUMENT: Final = 16 * 1024
_REGISTERS: Final = frozenset(range(32))
_ITEM: Final = range(1, 1025)
_USER: Final = range(1025)
_BUNDLE: Final = range(1, 8)
_TIMESTAMPS: Final = range(1, 1 << 53)


class Document(Struct, frozen=True):
    """The fields as the Nitro Security Module writes them; `timestamp` is milliseconds since 1970.

    `certificate` is the signer's and `cabundle` its authorities, root first, all DER.
    """

    module_id: str
    digest: str
    timestamp: int
    pcrs: Mapping[int, bytes]
    certificate: bytes
    cabundle: tuple[bytes, ...]
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None


class SignedDocument(NamedTuple):
    """A document and the message that carries it."""

    message: Sign1
    document: Document


def read_document(data: bytes) -> SignedDocument:
    """Split a document: tagged or bare, its map of definite or, since 2025, indefinite length.

    Raises BadEvidence(EMPTY | TOO_LARGE | MALFORMED).
    """
    if not data:
        raise BadEvidence(Reason.EMPTY, "no attestation document")
    if len(data) > _MAX_DOCUMENT:
        raise BadEvidence(Reason.TOO_LARGE, f"attestation document of {len(data)} bytes")
    message = read_sign1(data, bare=True)
    payload = cbor.decode(message.payload, indefinite=True)
    if not isinstance(payload, Mapping):
        raise BadEvidence(Reason.MALFORMED, "attestation document is no map")
    return SignedDocument(message, _read_fields({name: value for name, value in payload.items() if value is not None}))


def _read_fields(fields: Mapping[object, object]) -> Document:
    claims = ClaimsSet(fields, "attestation document")
    if claims.text("digest") != DIGEST:
        raise BadEvidence(Reason.MALFORMED, f"attestation document without digest {DIGEST}")
    if not claims.text("module_id"):
        raise BadEvidence(Reason.MALFORMED, "attestation document names no module")
    return Document(
        module_id=claims.text("module_id"),
        digest=DIGEST,
        timestamp=claims.integer("timestamp", _TIMESTAMPS),
        pcrs=_read_pcrs(fields.get("pcrs")),
        certificate=claims.octets("certificate", _ITEM),
        cabundle=_read_bundle(claims.array("cabundle", _BUNDLE)),
        public_key=claims.optional(lambda label: claims.octets(label, _ITEM), "public_key"),
        user_data=claims.optional(lambda label: claims.octets(label, _USER), "user_data"),
        nonce=claims.optional(lambda label: claims.octets(label, _USER), "nonce"),
    )


def _read_pcrs(pcrs: object) -> Mapping[int, bytes]:
    """Registers by number. PCR 0 measures the image: a document without it says nothing about what runs."""
    if not isinstance(pcrs, Mapping) or 0 not in pcrs or not pcrs.keys() <= _REGISTERS:
        raise BadEvidence(Reason.MALFORMED, "attestation document without PCR 0, or with a PCR that does not exist")
    if any(not isinstance(value, bytes) or len(value) != PCR_BYTES for value in pcrs.values()):
        raise BadEvidence(Reason.MALFORMED, f"PCR of another size than {PCR_BYTES} bytes")
    return pcrs


def _read_bundle(bundle: tuple[object, ...]) -> tuple[bytes, ...]:
    certificates = tuple(entry for entry in bundle if isinstance(entry, bytes) and len(entry) in _ITEM)
    if len(certificates) != len(bundle):
        raise BadEvidence(Reason.MALFORMED, "entry of the CA bundle is no certificate")
    return certificates
