"""What the library needs from outside, as small Protocols. Adapters implement them; the core never imports one."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple, Protocol, runtime_checkable

from msgspec import Struct

from attest_pipeline.model import Claims, EndorsementRef, Endorsements, Evidence, Policy


class Verifier(Protocol):
    """Proves one kind of Evidence. Raises BadEvidence, and nothing else, for anything the Attester controls.

    A plugin is a class registered under the entry point group `attest_pipeline.verifiers`, constructed with the
    development trust anchors of its host: vendor name → DER SubjectPublicKeyInfo keys (empty in production).
    `challenge_bytes` is the size of the field that carries a derived challenge, 16 to 64 (`docs/freshness.md`).
    """

    tee: str
    media_types: frozenset[str]
    challenge_bytes: int

    def endorsements_for(self, evidence: Evidence) -> tuple[EndorsementRef, ...]:
        """Endorsements this Evidence needs. Reads unproven bytes, so it returns closed references only."""
        ...

    def verify(
        self, evidence: Evidence, endorsements: Endorsements, *, challenge: bytes | None, now: datetime
    ) -> Claims:
        """Prove the Evidence at `now`. `challenge` is the whole field that must carry it; None binds nothing."""
        ...


@runtime_checkable
class AsksFurther(Protocol):
    """A verifier that knows only from its first Endorsements which others there are: those about their certificates."""

    def further_endorsements(self, evidence: Evidence, endorsements: Endorsements) -> tuple[EndorsementRef, ...]:
        """Endorsements to look for beside those that were found. Raises BadEvidence."""
        ...


class Found(NamedTuple):
    """The documents for a reference, none if there are none, and how old they are.

    `stale` says that they should have been fetched anew by now, `valid_from` (seconds since 1970) from when on all of
    them hold. What the operator published does not age.
    """

    documents: tuple[bytes, ...] = ()
    stale: bool = False
    valid_from: int = 0


NOTHING: Final = Found()


class EndorsementSource(Protocol):
    """Finds Endorsements by reference."""

    def find(self, ref: EndorsementRef) -> Found:
        """What there is for that reference. Raises Unavailable if the answer is not known yet."""
        ...


class PolicyFailed(Exception):
    """A policy could not be evaluated: timeout, crash, type error. The appraisal is then never affirming."""


class PolicyEngine(Protocol):
    """Evaluates Rego."""

    def evaluate(self, policy: Policy, view: Mapping[str, object]) -> object:
        """The module's `vector` document for that input; None if undefined. Raises PolicyFailed."""
        ...


class Signer(Protocol):
    """Holds one private key for Attestation Results."""

    algorithm: str
    key_id: str

    def sign(self, message: bytes) -> bytes:
        """Raw JWS signature (r||s for ECDSA and SM2) over the message.

        Equal messages give equal signatures, but for the algorithms that demand chance (PS256, SM2).
        """
        ...

    def public_jwk(self) -> dict[str, str]:
        """The public key as a JWK with `kid`, `alg` and `use`."""
        ...


# ── the bus ───────────────────────────────────────────────────────────────────────────────────────────────────────────
class Message(Struct, frozen=True, kw_only=True):
    """One message as received. `reply` is the requester's inbox, or the ack subject of a stored message.

    `received_at` is seconds since 1970: when the stream stored it, or when this process read it. `attempt` counts the
    deliveries of a stored message, from 1.
    """

    subject: str
    data: bytes
    reply: str
    received_at: int
    headers: Mapping[str, str] = {}
    attempt: int = 1


class Record(Struct, frozen=True, kw_only=True):
    """One message to store: the stream keeps the first of equal `message_id` within its duplicate window."""

    subject: str
    data: bytes
    message_id: str
    headers: Mapping[str, str] = {}


class Bus(Protocol):
    """Messages between processes: NATS with JetStream, or memory. Every method raises Unavailable and nothing else."""

    @property
    def connected(self) -> bool:
        """Whether the broker can be reached now."""
        ...

    async def publish(self, subject: str, data: bytes, *, reply: str = "", headers: Mapping[str, str] = {}) -> None:
        """Send at most once; buffered, in order."""
        ...

    async def request(self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] = {}) -> Message:  # noqa: ASYNC109 - a deadline of the protocol
        """Send and wait for one reply. Raises Unavailable on timeout and when nobody listens, NotFound if told so."""
        ...

    async def serve(self, subject: str, queue: str, handler: Callable[[Message], Awaitable[None]]) -> None:
        """Hand every message of the subject to the handler, one at a time; an empty `queue` means every subscriber."""
        ...

    async def store(self, records: Sequence[Record]) -> None:
        """Store all records durably; returns once every one is stored (or was before). Safe to repeat."""
        ...

    def pull(self, stream: str, consumer: str, *, batch: int) -> AsyncIterator[list[Message]]:
        """Stored messages of a durable consumer, 1 to `batch` at a time, asked for ahead; ends when the bus drains."""
        ...

    async def ack(self, reply: str) -> None:
        """Say that a stored message is done; `reply` is its ack subject. At most once: a lost ack means redelivery."""
        ...

    async def retry_later(self, reply: str, seconds: float) -> None:
        """Ask for a stored message again after that many seconds."""
        ...

    async def working(self, reply: str) -> None:
        """Say that a stored message is still being worked on: its time until redelivery begins anew."""
        ...

    async def get(self, bucket: str, key: str) -> bytes | None:
        """Latest value of a key."""
        ...

    async def put(self, bucket: str, key: str, value: bytes, *, seconds: int | None = None) -> None:
        """Set a key, for good or until it is forgotten after that many seconds."""
        ...

    async def create(self, bucket: str, key: str, value: bytes) -> bytes | None:
        """Set a key that has no value yet and return None; otherwise return the value it has, unchanged."""
        ...

    def watch(self, bucket: str, pattern: str) -> AsyncIterator[tuple[str, bytes]]:
        """Present keys and values that match, then every change, until the bus drains."""
        ...

    async def stop(self) -> None:
        """Take no more work: end pulls, watches and subscriptions once their handlers are done. Sending still works."""
        ...

    async def drain(self) -> None:
        """Stop, flush what is buffered, disconnect."""
        ...
