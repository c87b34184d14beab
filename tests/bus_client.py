"""The far side of the bus for tests: a tenant's agents, and what they hear."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Self

import msgspec
from msgspec import Struct
from topologies import PATIENCE, TENANT, Deployment

from attest_pipeline import result, subjects, wire
from attest_pipeline.adapters.site import Site, issuer
from attest_pipeline.cli.load import last_tick
from attest_pipeline.freshness import Tick, epoch_challenge, nonce_challenge
from attest_pipeline.jws import Jwks
from attest_pipeline.model import EpochChallenge, EvidenceCollection, NonceChallenge
from attest_pipeline.ports import Bus, Message, Record
from attest_pipeline.result import AttestationResult, Details
from attest_pipeline.simulator.device import Vendor
from attest_pipeline.subjects import Lane


class Client:
    """Publishes for any agent of a tenant, and hears every result of the tenant."""

    def __init__(self, bus: Bus, site: Site, tenant: str) -> None:
        self.bus = bus
        self._site = site
        self._tenant = tenant
        self._tokens: dict[str, asyncio.Queue[bytes]] = defaultdict(asyncio.Queue)

    @classmethod
    async def join(cls, deployment: Deployment, tenant: str = TENANT, user: str = "fleet", hears: str = "*") -> Self:
        """Connect as a user of the tenant that may hear the results of all agents, or of one."""
        client = cls(await deployment.connect(user, tenant), deployment.site, tenant)
        await client.bus.serve(subjects.view(Lane.RESULT, hears), "", client._receive)
        return client

    async def submit(self, agent: str, data: bytes, headers: Mapping[str, str] = {}) -> None:
        """Store any bytes in the durable lane, even if they were stored before. Raises Unavailable."""
        subject = subjects.view(Lane.EVIDENCE, agent)
        await self.bus.store([Record(subject=subject, data=data, message_id="", headers=headers)])

    async def submit_batch(self, gateway: str, entries: Sequence[Struct]) -> None:
        """Store a gateway's message. Raises Unavailable."""
        batch = wire.EvidenceBatch(tuple(msgspec.Raw(wire.encode(entry)) for entry in entries))
        record = Record(subject=subjects.view(Lane.BATCH, gateway), data=wire.encode(batch), message_id="")
        await self.bus.store([record])

    async def token(self, agent: str) -> bytes:
        """The agent's next result."""
        async with asyncio.timeout(PATIENCE):
            return await self._tokens[agent].get()

    def silent(self, agent: str) -> bool:
        """Whether the agent has heard no further result."""
        return self._tokens[agent].empty()

    async def attest(self, agent: str, collection: EvidenceCollection) -> AttestationResult:
        """Submit Evidence and wait for its result."""
        await self.submit(agent, wire.encode(collection))
        return self.checked(await self.token(agent))

    async def submit_and_hear(self, agent: str, data: bytes) -> bytes:
        """Submit any bytes and wait for the token. Raises Unavailable."""
        await self.submit(agent, data)
        return await self.token(agent)

    async def verify(self, agent: str, collection: EvidenceCollection) -> AttestationResult:
        """Ask for a verdict in the interactive lane. Raises Unavailable."""
        return self.checked(await self.ask(agent, wire.encode(collection)))

    async def ask(self, agent: str, data: bytes) -> bytes:
        """Token for Evidence in the interactive lane. Raises Unavailable."""
        return (await self.bus.request(subjects.view(Lane.VERIFY, agent), data, timeout=5.0)).data

    async def nonce(self, agent: str) -> bytes:
        """A nonce for that agent. Raises Unavailable."""
        answer = await self.bus.request(subjects.view(Lane.CHALLENGE, agent), b"", timeout=5.0)
        return msgspec.json.decode(answer.data, type=_Issued).nonce

    async def tick(self) -> Tick:
        """The newest tick of the tenant's bell."""
        return await last_tick(self.bus, self._site, self._tenant)

    def checked(self, token: bytes) -> AttestationResult:
        """The result in a token, checked as a Relying Party does."""
        keys = msgspec.json.decode(self._site.jwks.read_bytes(), type=Jwks).keys
        now = int(time.time())
        return result.check(token, keys, audience=self._tenant, issuer=issuer(self._tenant), now=now)

    async def _receive(self, message: Message) -> None:
        self._tokens[message.subject.rpartition(".")[2]].put_nowait(message.data)


class _Issued(Struct):
    nonce: bytes
    expires: int


def record(agent: str, collection: EvidenceCollection) -> Record:
    """Evidence as an agent stores it: the stream keeps it once."""
    message_id = wire.attestation_id(TENANT, agent, collection).hex()
    return Record(subject=subjects.view(Lane.EVIDENCE, agent), data=wire.encode(collection), message_id=message_id)


def over_nonce(agent: str, nonce: bytes, *devices: tuple[Vendor, int], tenant: str = TENANT) -> EvidenceCollection:
    """Evidence of devices (vendor and serial number) over a nonce."""
    evidence = tuple(
        vendor.evidence(serial, nonce_challenge(tenant, agent, vendor.tee, nonce, None)) for vendor, serial in devices
    )
    return EvidenceCollection(evidence=evidence, challenge=NonceChallenge(nonce))


def over_tick(agent: str, tick: Tick, *devices: tuple[Vendor, int]) -> EvidenceCollection:
    """Evidence of devices (vendor and serial number) over a tick of the epoch bell."""
    evidence = tuple(
        vendor.evidence(serial, epoch_challenge(agent, vendor.tee, tick, "", None)) for vendor, serial in devices
    )
    return EvidenceCollection(evidence=evidence, challenge=EpochChallenge(tick.epoch))


def details(attested: AttestationResult) -> Details:
    """What was found of the only item."""
    (submod,) = attested.submods.values()
    return submod.details
