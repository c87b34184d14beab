"""The agent's side of the pipeline: ask for a challenge, send Evidence by a lane, wait for the Attestation Result.

It speaks the tenant's subjects (`subjects.view`) over any `ports.Bus`, with the agent's own credentials and nothing
else: tenant and agent are what the broker says they are, and both enter every challenge. A gateway sends what agents
behind it have made.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import jwt
import msgspec
from msgspec import Struct

from attest_pipeline import freshness, subjects, wire
from attest_pipeline.errors import Unavailable
from attest_pipeline.freshness import Tick
from attest_pipeline.jws import BadToken, Jwk
from attest_pipeline.model import EvidenceCollection
from attest_pipeline.ports import Bus, Message, Record
from attest_pipeline.subjects import Lane, checked_name
from attest_pipeline.wire import BatchEntry

ANSWER_SECONDS: Final = 5.0
"""How long an answer of the Verifier may take where the caller does not say."""


class NoResult(Unavailable):
    """No Attestation Result came in time. It may still come, or it came before anybody listened."""


class Nonce(Struct, frozen=True):
    """A challenge made for one agent; Evidence over it must arrive before `expires` (seconds since 1970)."""

    nonce: bytes
    expires: int


_nonce_decoder: Final = msgspec.json.Decoder(Nonce)


class Results:
    """Attestation Results as they are published, by attestation id; whether one may be believed is for its user."""

    def __init__(self, bus: Bus, agent: str = "*") -> None:
        """`bus` may hear the results of that agent, or as a Relying Party those of every agent of the tenant."""
        self._bus = bus
        self._subject = subjects.view(Lane.RESULT, agent)
        self._listening = False
        self._awaited: dict[str, asyncio.Future[bytes]] = {}

    async def expect(self, identity: str) -> None:
        """Keep the result of an attestation from now on, for `token`. Raises Unavailable."""
        if not self._listening:
            await self._bus.serve(self._subject, "", self._receive)
            self._listening = True
        self._awaited.setdefault(identity, asyncio.get_running_loop().create_future())

    async def token(self, identity: str, timeout: float) -> bytes:  # noqa: ASYNC109 - a deadline of the protocol
        """The token of an attestation, unchecked. Raises NoResult after `timeout` seconds."""
        await self.expect(identity)
        try:
            return await asyncio.wait_for(self._awaited[identity], timeout)
        except TimeoutError:
            raise NoResult(f"no result of attestation {identity} within {timeout:g} s") from None
        finally:
            self.forget(identity)

    def forget(self, identity: str) -> None:
        """Wait for that result no more."""
        self._awaited.pop(identity, None)

    async def _receive(self, message: Message) -> None:
        try:
            identity = jwt.decode(message.data, options={"verify_signature": False}).get("jti")
        except jwt.PyJWTError:
            return
        waiting = self._awaited.get(identity) if isinstance(identity, str) else None
        if waiting is not None and not waiting.done():
            waiting.set_result(message.data)


class Agent:
    """One agent of one tenant on a bus."""

    def __init__(self, bus: Bus, tenant: str, name: str) -> None:
        """`bus` is connected as this agent. Raises Misconfigured for a name that is no token."""
        self._bus = bus
        self._tenant = checked_name(tenant)
        self._name = checked_name(name)
        self._results = Results(bus, self._name)

    # ── challenges ────────────────────────────────────────────────────────────────────────────────────────────────────
    async def nonce(self, timeout: float = ANSWER_SECONDS) -> Nonce:  # noqa: ASYNC109 - a deadline of the protocol
        """A nonce of the Verifier for this agent. Raises Unavailable."""
        answer = await self._bus.request(subjects.view(Lane.CHALLENGE, self._name), b"", timeout=timeout)
        try:
            return _nonce_decoder.decode(answer.data)
        except msgspec.MsgspecError as error:
            raise Unavailable(f"the Verifier's answer is no nonce: {error}") from None

    async def tick(self, bell_keys: Sequence[Jwk], timeout: float = ANSWER_SECONDS) -> Tick:  # noqa: ASYNC109 - a deadline of the protocol
        """Newest tick of the epoch bell, whose signature is checked. Raises Unavailable, and BadToken if it is none."""
        marker = await self._bus.request(subjects.LAST_EPOCH, b"", timeout=timeout)
        ticks = freshness.decode_marker(marker.data, bell_keys, self._tenant)
        if not ticks:
            raise BadToken("an epoch marker without a tick")
        return ticks[max(ticks)]

    def nonce_challenge(self, tee: str, nonce: Nonce, attester_key: bytes | None = None) -> bytes:
        """The 64 bytes whose beginning Evidence of that TEE must carry, or all where its field takes them.

        `attester_key` is DER SubjectPublicKeyInfo.
        """
        return freshness.nonce_challenge(self._tenant, self._name, tee, nonce.nonce, attester_key)

    def epoch_challenge(self, tee: str, tick: Tick, job: str = "", attester_key: bytes | None = None) -> bytes:
        """The challenge as in `nonce_challenge`, over an epoch tick; `job` is empty for periodic attestation."""
        return freshness.epoch_challenge(self._name, tee, tick, job, attester_key)

    # ── lanes ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    async def submit(self, collection: EvidenceCollection) -> str:
        """Store Evidence on the durable lane; returns the attestation id that `result` waits for.

        Submitting the same again within the stream's window changes nothing, and brings no second result. Raises
        BadEvidence if the Verifier could not read it, Unavailable if it is not known to be stored.
        """
        data = _encoded(collection)
        identity = wire.attestation_id(self._tenant, self._name, collection).hex()
        await self._results.expect(identity)
        record = Record(subject=subjects.view(Lane.EVIDENCE, self._name), data=data, message_id=identity)
        try:
            await self._bus.store([record])
        except Unavailable:
            self._results.forget(identity)
            raise
        return identity

    async def result(self, identity: str, timeout: float) -> bytes:  # noqa: ASYNC109 - a deadline of the protocol
        """The token of a submitted attestation, unchecked. Raises NoResult after `timeout` seconds."""
        return await self._results.token(identity, timeout)

    async def verify(self, collection: EvidenceCollection, timeout: float = ANSWER_SECONDS) -> bytes:  # noqa: ASYNC109 - a deadline of the protocol
        """The token for Evidence on the interactive lane, unchecked; nothing is stored. Raises BadEvidence, NoResult.

        The bus does not tell a late answer from a Verifier that is not there, so both are NoResult.
        """
        data = _encoded(collection)
        try:
            answer = await self._bus.request(subjects.view(Lane.VERIFY, self._name), data, timeout=timeout)
        except Unavailable as error:
            raise NoResult(str(error)) from None
        return answer.data


class Gateway:
    """One gateway of one tenant on a bus: it sends for many agents, and hears of itself only (`Results` hears them)."""

    def __init__(self, bus: Bus, tenant: str, name: str) -> None:
        """`bus` is connected as this gateway. Raises Misconfigured for a name that is no token."""
        self._bus = bus
        self._tenant = checked_name(tenant)
        self._name = checked_name(name)

    async def submit(self, entries: Sequence[BatchEntry]) -> None:
        """Store 1 to `wire.MAX_BATCH` Evidences as one message; each gets its own result.

        Submitting the same again within the stream's window changes nothing. Raises Misconfigured for an agent's name
        that is no token, BadEvidence if the Verifier could not read it, Unavailable if it is not known to be stored.
        """
        data = wire.encode_batch(entries)
        for entry in map(wire.decode_entry, wire.decode_batch(data)):
            checked_name(entry.agent)
        identity = wire.batch_id(self._tenant, self._name, entries).hex()
        await self._bus.store([Record(subject=subjects.view(Lane.BATCH, self._name), data=data, message_id=identity)])


def _encoded(collection: EvidenceCollection) -> bytes:
    """Bytes that the Verifier can read; whoever sends others gets a result that names no attestation id."""
    data = wire.encode(collection)
    wire.decode_collection(data)
    return data
