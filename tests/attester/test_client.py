import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import jwt
import msgspec
import pytest
import pytest_asyncio
from bus_client import details
from topologies import IN_MEMORY, TENANT, Deployment, deployed, make_site

from attest_pipeline import result, subjects, wire
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.adapters.site import Site, issuer
from attest_pipeline.attester.client import Agent, Gateway, Nonce, NoResult, Results
from attest_pipeline.ear import Status
from attest_pipeline.errors import BadEvidence, Misconfigured, Unavailable
from attest_pipeline.freshness import Tick, encode_marker
from attest_pipeline.jws import BadToken, Jwk, Jwks
from attest_pipeline.model import EpochChallenge, Evidence, EvidenceCollection, NonceChallenge
from attest_pipeline.ports import Message, Record
from attest_pipeline.result import AttestationResult
from attest_pipeline.simulator.device import Vendor
from attest_pipeline.subjects import Lane
from attest_pipeline.testing import InMemoryBroker, InMemoryBus
from attest_pipeline.wire import BatchEntry

pytestmark = pytest.mark.asyncio(loop_scope="module")
SERIAL = 77
KEY = "0" * 32
EMPTY = EvidenceCollection(evidence=(Evidence("snp", {}),))


@pytest.fixture(scope="module")
def amd(vendors: Sequence[Vendor]) -> Vendor:
    """A vendor with one device, made before the configuration is written."""
    vendor = next(vendor for vendor in vendors if vendor.tee == "snp")
    vendor.evidence(SERIAL, bytes(64))
    return vendor


@pytest.fixture(scope="module")
def site(amd: Vendor, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("site") / "site", [amd])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(site: Site) -> AsyncIterator[Deployment]:
    async with deployed(IN_MEMORY, site) as started:
        yield started


def _keys(path: Path) -> Sequence[Jwk]:
    return msgspec.json.decode(path.read_bytes(), type=Jwks).keys


def _checked(token: bytes, site: Site, nonce: bytes | None = None) -> AttestationResult:
    keys, now = _keys(site.jwks), int(time.time())
    return result.check(token, keys, audience=TENANT, issuer=issuer(TENANT), now=now, nonce=nonce)


async def _over_nonce(agent: Agent, amd: Vendor) -> EvidenceCollection:
    nonce = await agent.nonce()
    evidence = amd.evidence(SERIAL, agent.nonce_challenge("snp", nonce))
    return EvidenceCollection(evidence=(evidence,), challenge=NonceChallenge(nonce.nonce))


def _nonce(collection: EvidenceCollection) -> bytes:
    assert isinstance(collection.challenge, NonceChallenge)
    return collection.challenge.nonce


# ── against the real workers ──────────────────────────────────────────────────────────────────────────────────────────
async def test_evidence_over_a_nonce_is_affirmed_on_the_durable_lane(
    deployment: Deployment, site: Site, amd: Vendor
) -> None:
    agent = Agent(await deployment.connect("n1", TENANT), TENANT, "n1")
    collection = await _over_nonce(agent, amd)
    identity = await agent.submit(collection)
    attested = _checked(await agent.result(identity, 10.0), site, _nonce(collection))
    assert (attested.sub, attested.jti, attested.status) == ("n1", identity, Status.AFFIRMING)
    assert details(attested).fresh


async def test_evidence_over_the_bell_is_affirmed_on_the_interactive_lane(
    deployment: Deployment, site: Site, amd: Vendor
) -> None:
    agent = Agent(await deployment.connect("n2", TENANT), TENANT, "n2")
    tick = await agent.tick(_keys(site.bell_jwks))
    evidence = amd.evidence(SERIAL, agent.epoch_challenge("snp", tick))
    collection = EvidenceCollection(evidence=(evidence,), challenge=EpochChallenge(tick.epoch))
    assert _checked(await agent.verify(collection), site).status == Status.AFFIRMING


async def test_several_submissions_each_find_their_own_result(deployment: Deployment, site: Site, amd: Vendor) -> None:
    agent = Agent(await deployment.connect("n3", TENANT), TENANT, "n3")
    collections = [await _over_nonce(agent, amd) for _ in range(5)]
    identities = [await agent.submit(collection) for collection in collections]
    tokens = await asyncio.gather(*(agent.result(identity, 10.0) for identity in reversed(identities)))
    assert [_checked(token, site).jti for token in tokens] == identities[::-1]


async def test_agents_behind_a_gateway_have_results_that_a_relying_party_hears(
    deployment: Deployment, site: Site, amd: Vendor
) -> None:
    gateway = Gateway(await deployment.connect("g1", TENANT), TENANT, "g1")
    heard = Results(await deployment.connect("relying-party", TENANT))
    agents = [Agent(await deployment.connect(name, TENANT), TENANT, name) for name in ("n5", "n6")]
    collections = [await _over_nonce(agent, amd) for agent in agents]
    entries = [BatchEntry(name, collection) for name, collection in zip(("n5", "n6"), collections, strict=True)]
    identities = [wire.attestation_id(TENANT, entry.agent, entry.collection).hex() for entry in entries]
    for identity in identities:
        await heard.expect(identity)
    await gateway.submit(entries)
    attested = [_checked(await heard.token(identity, 10.0), site) for identity in identities]
    assert [one.sub for one in attested] == ["n5", "n6"]
    assert {one.status for one in attested} == {Status.AFFIRMING}


async def test_the_marker_of_a_forged_bell_is_not_believed(deployment: Deployment, site: Site) -> None:
    agent = Agent(await deployment.connect("n4", TENANT), TENANT, "n4")
    with pytest.raises(BadToken):
        await agent.tick(_keys(site.jwks))
    stranger = Agent(await deployment.connect("n4", TENANT), "other", "n4")
    with pytest.raises(BadToken, match="another tenant"):
        await stranger.tick(_keys(site.bell_jwks))


# ── alone on a bus ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def bus() -> InMemoryBus:
    return InMemoryBus(InMemoryBroker(_clock), TENANT)


def _clock() -> float:
    return 0.0


async def _answering(bus: InMemoryBus, lane: Lane, answer: bytes) -> None:
    """Somebody who answers every request of a lane with the same bytes."""
    service = InMemoryBus(bus._broker)

    async def reply(message: Message) -> None:
        await service.publish(message.reply, answer)

    await service.serve(subjects.service(lane), "", reply)


@pytest.mark.parametrize("name", ["", "a.b", "*", ">", "a b", "x" * 65])
async def test_a_name_that_is_no_token_makes_no_agent(bus: InMemoryBus, name: str) -> None:
    with pytest.raises(Misconfigured):
        Agent(bus, TENANT, name)
    with pytest.raises(Misconfigured):
        Agent(bus, name, "n1")


async def test_without_a_verifier_there_is_no_challenge(bus: InMemoryBus) -> None:
    with pytest.raises(Unavailable):
        await Agent(bus, TENANT, "n1").nonce(0.01)
    with pytest.raises(Unavailable):
        await Agent(bus, TENANT, "n1").tick([], 0.01)


@pytest.mark.parametrize("answer", [b"", b"{}", b"[]", b'{"nonce": "*", "expires": 1}', b"\xff"])
async def test_an_answer_that_is_no_nonce_is_unavailable(bus: InMemoryBus, answer: bytes) -> None:
    await _answering(bus, Lane.CHALLENGE, answer)
    with pytest.raises(Unavailable, match="no nonce"):
        await Agent(bus, TENANT, "n1").nonce()


async def test_a_challenge_binds_tee_and_attester_key() -> None:
    agent = Agent(InMemoryBus(InMemoryBroker(_clock), TENANT), TENANT, "n1")
    tick = Tick(TENANT, 3, bytes(32), 0, 1)
    given = Nonce(bytes(56), 1)
    made = {
        agent.nonce_challenge("snp", given),
        agent.nonce_challenge("tdx", given),
        agent.nonce_challenge("snp", given, b"key"),
        agent.epoch_challenge("snp", tick),
        agent.epoch_challenge("snp", tick, "job-1"),
        agent.epoch_challenge("snp", tick, "", b"key"),
    }
    assert len(made) == 6
    assert {len(challenge) for challenge in made} == {64}


async def test_what_the_verifier_could_not_read_is_not_sent(bus: InMemoryBus) -> None:
    agent = Agent(bus, TENANT, "n1")
    with pytest.raises(BadEvidence):
        await agent.submit(EvidenceCollection(evidence=()))
    with pytest.raises(BadEvidence):
        await agent.verify(EvidenceCollection(evidence=()))
    assert not bus._broker.stored(subjects.EVIDENCE)


async def test_the_stored_message_has_the_attestation_id_and_is_stored_once(bus: InMemoryBus) -> None:
    agent = Agent(bus, TENANT, "n1")
    identities = {await agent.submit(EMPTY) for _ in range(2)}
    [stored] = bus._broker.stored(subjects.EVIDENCE)
    assert stored.subject == subjects.service(Lane.EVIDENCE, TENANT, "n1")
    assert wire.decode_collection(stored.data) == EMPTY
    assert identities == {wire.attestation_id(TENANT, "n1", EMPTY).hex()}


async def test_a_gateways_message_is_stored_once_however_often_it_is_sent(bus: InMemoryBus) -> None:
    for name in ("g1", "g1", "g2"):
        await Gateway(bus, TENANT, name).submit([BatchEntry("n1", EMPTY), BatchEntry("n2", EMPTY)])
    stored = bus._broker.stored(subjects.EVIDENCE)
    assert [one.subject for one in stored] == [subjects.service(Lane.BATCH, TENANT, name) for name in ("g1", "g2")]
    assert [wire.decode_entry(entry).agent for entry in wire.decode_batch(stored[0].data)] == ["n1", "n2"]


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ([], BadEvidence),
        ([BatchEntry("n1", EMPTY)] * (wire.MAX_BATCH + 1), BadEvidence),
        ([BatchEntry("n1", EvidenceCollection(evidence=()))], BadEvidence),
        ([BatchEntry("n1", EMPTY), BatchEntry("n.2", EMPTY)], Misconfigured),
    ],
    ids=["nothing", "too many", "no Evidence", "a name that is no token"],
)
async def test_a_message_that_could_not_be_read_or_answered_is_not_sent(
    bus: InMemoryBus, entries: list[BatchEntry], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await Gateway(bus, TENANT, "g1").submit(entries)
    assert not bus._broker.stored(subjects.EVIDENCE)


async def test_evidence_that_is_not_stored_is_not_waited_for(bus: InMemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_records: Sequence[Record]) -> None:
        raise Unavailable("the stream is full")

    monkeypatch.setattr(bus, "store", full)
    agent = Agent(bus, TENANT, "n1")
    with pytest.raises(Unavailable, match="full"):
        await agent.submit(EMPTY)
    assert not agent._results._awaited


async def test_a_marker_without_a_tick_is_not_believed(site: Site, bus: InMemoryBus) -> None:
    marker = encode_marker([], FileSigner.load(site.bell_key))
    await InMemoryBus(bus._broker).publish(subjects.epoch(TENANT), marker)
    with pytest.raises(BadToken, match="without a tick"):
        await Agent(bus, TENANT, "n1").tick(_keys(site.bell_jwks))


async def test_a_result_that_does_not_come_is_said(bus: InMemoryBus) -> None:
    agent = Agent(bus, TENANT, "n1")
    identity = await agent.submit(EMPTY)
    with pytest.raises(NoResult, match=identity):
        await agent.result(identity, 0.01)
    with pytest.raises(NoResult):
        await agent.verify(EMPTY, 0.01)


async def test_only_the_result_of_that_attestation_ends_the_waiting(bus: InMemoryBus) -> None:
    agent = Agent(bus, TENANT, "n1")
    identity = await agent.submit(EMPTY)
    service = InMemoryBus(bus._broker)
    right = _unsigned(identity)
    for token in (b"no token", _unsigned("00"), _unsigned(7), right, _unsigned(identity, more=1)):
        await service.publish(subjects.service(Lane.RESULT, TENANT, "n1"), token)
    assert await agent.result(identity, 5.0) == right
    with pytest.raises(NoResult):
        await agent.result(identity, 0.01)


def _unsigned(identity: object, **more: object) -> bytes:
    """A token with that `jti` which nobody vouches for: whether to believe it is not the agent's question."""
    return jwt.encode({"jti": identity, **more}, KEY, algorithm="HS256").encode()
