"""The wire: what crosses the bus, with limits. The only module that knows bytes and Structs at once."""

import hashlib
from collections.abc import Iterable, Iterator, Sized
from typing import Any, Final

import msgspec
from msgspec import Struct

from attest_pipeline import strict_json
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.freshness import encode_challenge, length_prefixed
from attest_pipeline.model import Artefact, Claims, Context, EpochChallenge, EvidenceCollection, Verified

CONTENT_TYPE: Final = "Content-Type"
REPLY_HEADER: Final = "Attest-Reply"
MSGPACK: Final = "application/msgpack"
JSON: Final = "application/json"
RESULT_TYPE: Final = 'application/eat+jwt; eat_profile="tag:ietf.org,2026:rats/ear#03"'

MAX_MESSAGE: Final = 512 * 1024
MAX_ITEM: Final = 256 * 1024
MAX_EVIDENCE: Final = 8
MAX_ITEMS: Final = 8
MAX_BATCH: Final = 256
MAX_TEE: Final = 32
FULL_FRAME: Final = 1024 * 1024
"""Bytes of Claims with which a frame is full: a node of eight GPUs has a hundred thousand. Those of one message take up
to four times its bytes, so that a frame that was not full yet still fits the broker with one message more
(`MAX_MESSAGE`)."""
_CLAIM: Final = 128
"""Bytes of a field or a measurement, name and value, as a rule at most."""
_EVENT: Final = 200
"""Bytes of an event of a measurement log but its text, at most: type, digest in hexadecimal, what MessagePack adds."""


class BatchEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """One agent's Evidence inside a gateway's message."""

    agent: str
    collection: EvidenceCollection


class EvidenceBatch(Struct, frozen=True, forbid_unknown_fields=True):
    """Many agents' Evidence in one message; each entry gets its own result, and a bad one harms no other."""

    entries: tuple[msgspec.Raw, ...]


class Item(Struct, frozen=True, array_like=True):
    """One attestation on its way, and where result and ack go. `ack` is empty in the interactive lane."""

    context: Context
    artefacts: tuple[Artefact, ...]
    reply: str
    ack: str


class Frame(Struct, frozen=True, array_like=True):
    """Attestations of one tenant that travel together, judged under one configuration version."""

    tenant: str
    config: str
    items: tuple[Item, ...]


_encoder: Final = msgspec.msgpack.Encoder()
_frame_decoder: Final = msgspec.msgpack.Decoder(Frame)
_collection_decoder: Final = msgspec.msgpack.Decoder(EvidenceCollection)
_collection_json: Final = msgspec.json.Decoder(EvidenceCollection)
_batch_decoder: Final = msgspec.msgpack.Decoder(EvidenceBatch)
_entry_decoder: Final = msgspec.msgpack.Decoder(BatchEntry)


def encode(value: Struct) -> bytes:
    """MessagePack of any Struct of the wire."""
    return _encoder.encode(value)


def encode_batch(entries: Iterable[BatchEntry]) -> bytes:
    """A gateway's message."""
    return encode(EvidenceBatch(tuple(msgspec.Raw(encode(entry)) for entry in entries)))


def portions(items: Iterable[Item]) -> Iterator[tuple[Item, ...]]:
    """The items in order, for as many frames as their Claims need; those of one message share an ack and a frame."""
    portion: list[Item] = []
    size = 0
    for item in items:
        if size >= FULL_FRAME and item.ack != portion[-1].ack:
            yield tuple(portion)
            portion, size = [], 0
        portion.append(item)
        size += sum(_claims_bytes(artefact.claims) for artefact in item.artefacts if isinstance(artefact, Verified))
    if portion:
        yield tuple(portion)


def _claims_bytes(claims: Claims) -> int:
    """About how many bytes the Claims take in a frame."""
    size = _CLAIM * (len(claims.fields) + len(claims.measurements))
    if claims.logs:
        size += sum(_EVENT + len(event.text.encode()) for log in claims.logs for event in log.events)
    return size


def decode_frame(data: bytes) -> Frame:
    """Frame from another stage. Raises MsgspecError, UnicodeDecodeError or RecursionError.

    The bus is inside the trust base, so that is a bug.
    """
    return _frame_decoder.decode(data)


def decode_collection(data: bytes, content_type: str = MSGPACK) -> EvidenceCollection:
    """Evidence as an agent sends it: MessagePack, or JSON with base64 items. Raises BadEvidence."""
    _check_size(data)
    if content_type not in {MSGPACK, JSON}:
        raise BadEvidence(Reason.UNSUPPORTED_FORMAT, f"content type {content_type[:60]!r}")
    try:
        collection = _from_json(data) if content_type == JSON else _collection_decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadEvidence(Reason.MALFORMED, f"no Evidence collection: {str(error)[:120]}") from None
    _check_limits(collection)
    return collection


def decode_batch(data: bytes) -> tuple[bytes, ...]:
    """Entries of a gateway's message, each still encoded, so that a bad one spoils no other. Raises BadEvidence."""
    _check_size(data)
    try:
        entries = _batch_decoder.decode(data).entries
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadEvidence(Reason.MALFORMED, f"no Evidence batch: {str(error)[:120]}") from None
    if not 1 <= len(entries) <= MAX_BATCH:
        raise BadEvidence(Reason.TOO_LARGE, f"a batch of {len(entries)} entries; 1 to {MAX_BATCH} are allowed")
    return tuple(bytes(entry) for entry in entries)


def decode_entry(data: bytes) -> BatchEntry:
    """One entry of a batch. Raises BadEvidence."""
    try:
        entry = _entry_decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadEvidence(Reason.MALFORMED, f"no batch entry: {str(error)[:120]}") from None
    _check_limits(entry.collection)
    return entry


def attestation_id(tenant: str, agent: str, collection: EvidenceCollection) -> bytes:
    """SHA-256 over tenant, agent, decoded Evidence and challenge: equal submissions are one attestation.

    Never over an encoding: base64 and MessagePack have several for the same bytes. Every part is preceded by its
    length and every list by its count, so that no two submissions give the same input.
    """
    return _digest(_identifying(tenant, agent, collection))


def batch_id(tenant: str, gateway: str, entries: Iterable[BatchEntry]) -> bytes:
    """SHA-256 over tenant, gateway and the attestation ids of the entries: what is sent again is stored once."""
    identities = (attestation_id(tenant, entry.agent, entry.collection) for entry in entries)
    return _digest((tenant.encode(), gateway.encode(), *identities))


def undecodable_id(tenant: str, agent: str, data: bytes) -> bytes:
    """SHA-256 over tenant, agent and a message that is no Evidence: equal rubbish of two agents is two attestations."""
    return _digest((tenant.encode(), agent.encode(), data))


def _digest(parts: Iterable[bytes]) -> bytes:
    return hashlib.sha256(length_prefixed(parts)).digest()


def _identifying(tenant: str, agent: str, collection: EvidenceCollection) -> list[bytes]:
    parts = [
        tenant.encode(),
        agent.encode(),
        encode_challenge(collection.challenge),
        b"" if collection.attester_key is None else b"k" + collection.attester_key,
        b"" if collection.as_of is None else collection.as_of.to_bytes(8),
        _count(collection.evidence),
    ]
    for evidence in collection.evidence:
        parts += (evidence.tee.encode(), _count(evidence.items))
        for name, item in sorted(evidence.items.items()):
            parts += (name.encode(), item)
    for name, documents in sorted(collection.endorsements.items()):
        parts += (name.encode(), _count(documents), *documents)
    return parts


def _count(parts: Sized) -> bytes:
    return len(parts).to_bytes(4)


def _from_json(data: bytes) -> EvidenceCollection:
    """Decode JSON that says each thing once and in one way: no member twice, base64 as an encoder writes it.

    msgspec goes first: it refuses what is nested deeper than the Structs, so that the second reading is bounded.
    """
    collection = _collection_json.decode(data)
    if not _restates(msgspec.to_builtins(collection), strict_json.load(data)):
        raise BadEvidence(Reason.MALFORMED, "base64 that no encoder writes")
    return collection


def _restates(decoded: Any, given: object) -> bool:
    """Whether what was decoded, encoded again, is what was given; members that were left out have their defaults."""
    if isinstance(given, dict):
        return all(_restates(decoded[name], value) for name, value in given.items())
    if isinstance(given, list):
        return all(map(_restates, decoded, given))
    return bool(decoded == given)


def _check_size(data: bytes) -> None:
    if not data:
        raise BadEvidence(Reason.EMPTY, "an empty message")
    if len(data) > MAX_MESSAGE:
        raise BadEvidence(Reason.TOO_LARGE, f"a message of {len(data)} bytes; {MAX_MESSAGE} are allowed")


def _check_limits(collection: EvidenceCollection) -> None:
    if not 1 <= len(collection.evidence) <= MAX_EVIDENCE:
        raise BadEvidence(Reason.MALFORMED, f"a collection of {len(collection.evidence)} Evidences")
    for evidence in collection.evidence:
        if not 1 <= len(evidence.tee) <= MAX_TEE:
            raise BadEvidence(Reason.MALFORMED, f"the name of a TEE has 1 to {MAX_TEE} characters")
        if len(evidence.items) > MAX_ITEMS or max(map(len, evidence.items.values()), default=0) > MAX_ITEM:
            raise BadEvidence(Reason.TOO_LARGE, f"more than {MAX_ITEMS} items, or one above {MAX_ITEM} bytes")
    if collection.as_of is not None and not 0 <= collection.as_of < 1 << 33:
        raise BadEvidence(Reason.MALFORMED, "as_of is no time in seconds")
    challenge = collection.challenge
    if isinstance(challenge, EpochChallenge) and not 0 <= challenge.epoch < 1 << 63:
        raise BadEvidence(Reason.MALFORMED, "an epoch outside its range")
