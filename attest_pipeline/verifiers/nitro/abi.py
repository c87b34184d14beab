"""The Nitro Enclaves attestation document: a COSE_Sign1 → one frozen struct. Nothing here is proven.

Source: aws/aws-nitro-enclaves-nsm-api, docs/attestation_process.md (structure, sizes, syntactical validation).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from struct import Struct as Layout
from typing import Final, NamedTuple

import cbor2
from msgspec import Struct

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared import cbor
from attest_pipeline.verifiers._shared.cose import Sign1, read_sign1
from attest_pipeline.verifiers._shared.eat import ClaimsSet
from attest_pipeline.verifiers._shared.recurring import Recurring

DIGEST: Final = "SHA384"
PCR_BYTES: Final = 48
_MAX_DOCUMENT: Final = 16 * 1024
_REGISTERS: Final = frozenset(range(32))
_ITEM: Final = range(1, 1025)
_USER: Final = range(1025)
_BUNDLE: Final = range(1, 8)
_TIMESTAMPS: Final = range(1, 1 << 53)
_MEMBER: Final = Layout(">11sQ")
"""The timestamp in the map, its name before it, if it takes eight bytes: since 1970-02-19."""
_NAMED: Final = b"\x69timestamp\x1b"
_EIGHT_BYTES: Final = range(1 << 32, _TIMESTAMPS.stop)


class Enclave(Struct, frozen=True, eq=False):
    """What an enclave says in each of its documents; remembered, and so one object for documents that repeat it.

    `certificate` is the signer's and `cabundle` its authorities, root first, all DER.
    """

    module_id: str
    pcrs: Mapping[int, bytes]
    certificate: bytes
    cabundle: tuple[bytes, ...]
    public_key: bytes | None
    user_data: bytes | None


class Document(NamedTuple):
    """The fields as the Nitro Security Module writes them; `timestamp` is milliseconds since 1970.

    `plain` tells whether no item but the map itself is written at greater length than it has to be.
    """

    timestamp: int
    enclave: Enclave
    nonce: bytes | None
    plain: bool


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
    message = _read_message(data)
    return SignedDocument(message, _read_payload(message.payload))


def _renewed_message(message: Sign1, fields: Sequence[bytes]) -> Sign1:
    payload, signature = fields
    return Sign1(message.protected, message.algorithm, payload, signature)


_read_message: Final = Recurring(
    partial(read_sign1, bare=True), lambda message: (message.payload, message.signature), _renewed_message
)


def _read_map(data: bytes) -> Document:
    payload = cbor.decode(data, indefinite=True)
    if not isinstance(payload, Mapping):
        raise BadEvidence(Reason.MALFORMED, "attestation document is no map")
    claims = ClaimsSet({name: value for name, value in payload.items() if value is not None}, "attestation document")
    if claims.text("digest") != DIGEST:
        raise BadEvidence(Reason.MALFORMED, f"attestation document without digest {DIGEST}")
    if not claims.text("module_id"):
        raise BadEvidence(Reason.MALFORMED, "attestation document names no module")
    return Document(
        timestamp=claims.integer("timestamp", _TIMESTAMPS),
        enclave=Enclave(
            module_id=claims.text("module_id"),
            pcrs=_read_pcrs(payload.get("pcrs")),
            certificate=claims.octets("certificate", _ITEM),
            cabundle=_read_bundle(claims.array("cabundle", _BUNDLE)),
            public_key=claims.optional(lambda label: claims.octets(label, _ITEM), "public_key"),
            user_data=claims.optional(lambda label: claims.octets(label, _USER), "user_data"),
        ),
        nonce=claims.optional(lambda label: claims.octets(label, _USER), "nonce"),
        plain=_is_plain(payload, data),
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


def _is_plain(payload: Mapping[object, object], data: bytes) -> bool:
    shortest = cbor2.dumps(payload)[1:]
    return data[1:] in {shortest, shortest + b"\xff"}


def _changing(document: Document) -> tuple[bytes, ...]:
    """Timestamp and nonce, unless they may be written otherwise, and what looks like them be something else."""
    if not document.plain or document.timestamp not in _EIGHT_BYTES:
        return ()
    timestamp = _MEMBER.pack(_NAMED, document.timestamp)
    return (timestamp,) if document.nonce is None else (timestamp, document.nonce)


def _renewed(document: Document, fields: Sequence[bytes]) -> Document | None:
    named, timestamp = _MEMBER.unpack(fields[0])
    if named != _NAMED or timestamp not in _EIGHT_BYTES:
        return None
    return document._replace(timestamp=timestamp, nonce=fields[1] if len(fields) > 1 else None)


_read_payload: Final = Recurring(_read_map, _changing, _renewed)
