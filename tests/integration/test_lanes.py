"""Every lane, end to end in every topology: nonces, epochs, composites, redelivery, and where results go."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from bus_client import Client, details, over_nonce, over_tick
from msgspec.structs import replace
from topologies import AGENTS, TENANT, Deployment, library

from attest_pipeline import subjects, wire
from attest_pipeline.ear import Status
from attest_pipeline.freshness import issue_nonce
from attest_pipeline.jws import b64u
from attest_pipeline.ports import Bus, Message
from attest_pipeline.simulator.device import Vendor
from attest_pipeline.subjects import Lane

pytestmark = pytest.mark.asyncio(loop_scope="module")
Tees = dict[str, Vendor]
RACES = 12


@pytest.fixture(scope="module")
def tees(vendors: Sequence[Vendor]) -> Tees:
    return {vendor.tee: vendor for vendor in vendors}


# ── nonces ────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_nonce_makes_evidence_fresh_once(client: Client, tees: Tees) -> None:
    nonce = await client.nonce("nonce-once")
    first, second = (over_nonce("nonce-once", nonce, (tees["snp"], serial)) for serial in (1, 2))
    attested = await client.attest("nonce-once", first)
    assert attested.status == Status.AFFIRMING
    assert attested.nonce == b64u(nonce).decode()
    assert details(attested).fresh
    rejected = details(await client.attest("nonce-once", second))
    assert (rejected.outcome, rejected.reason) == ("rejected", "challenge_reused")


async def test_an_expired_nonce_is_refused(client: Client, deployment: Deployment, tees: Tees) -> None:
    key = deployment.site.nonce_key.read_bytes()
    nonce = issue_nonce(key, TENANT, "nonce-late", expires=1_700_000_000, salt=bytes(16))
    rejected = details(await client.attest("nonce-late", over_nonce("nonce-late", nonce, (tees["snp"], 1))))
    assert rejected.reason == "challenge_expired"


async def test_the_nonce_of_another_agent_is_refused(client: Client, tees: Tees) -> None:
    nonce = await client.nonce("nonce-owner")
    collection = over_nonce("nonce-thief", nonce, (tees["snp"], 1))
    assert details(await client.attest("nonce-thief", collection)).reason == "challenge_mismatch"


async def test_of_two_attestations_that_race_for_a_nonce_exactly_one_passes(client: Client, tees: Tees) -> None:
    async def race(agent: str) -> list[str]:
        nonce = await client.nonce(agent)
        rivals = [over_nonce(agent, nonce, (tees["snp"], serial)) for serial in range(4)]
        return [details(one).outcome for one in await asyncio.gather(*(client.verify(agent, one) for one in rivals))]

    races = await asyncio.gather(*(race(f"racer-{number}") for number in range(RACES)))
    assert [sorted(outcomes) for outcomes in races] == [["rejected"] * 3 + ["verified"]] * RACES


# ── composites ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_composite_gets_one_result_with_a_submod_for_each_item(client: Client, tees: Tees) -> None:
    nonce = await client.nonce("composite")
    attested = await client.attest("composite", over_nonce("composite", nonce, (tees["snp"], 1), (tees["tdx"], 1)))
    assert {label: submod.status for label, submod in attested.submods.items()} == {
        "snp": Status.AFFIRMING,
        "tdx": Status.AFFIRMING,
    }
    assert attested.status == Status.AFFIRMING


async def test_one_bad_item_spoils_the_status_of_a_composite_and_not_the_other_submod(
    client: Client, tees: Tees
) -> None:
    nonce = await client.nonce("half-bad")
    good = over_nonce("half-bad", nonce, (tees["snp"], 1), (tees["tdx"], 1))
    spoiled = replace(good.evidence[1], items={"quote": bytes(1000)})
    attested = await client.attest("half-bad", replace(good, evidence=(good.evidence[0], spoiled)))
    assert attested.submods["snp"].status == Status.AFFIRMING
    assert attested.submods["tdx"].details.outcome == "rejected"
    assert attested.status == Status.CONTRAINDICATED


# ── lanes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_interactive_lane_answers_with_the_bytes_of_the_library_and_stores_nothing(
    client: Client, deployment: Deployment, tees: Tees
) -> None:
    tick = await client.tick()
    collection = over_tick("asker", tick, (tees["tdx"], 3))
    token = await client.ask("asker", wire.encode(collection))
    with library(deployment.site) as pipeline:
        now = client.checked(token).iat
        assert token == pipeline.run(collection, agent="asker", now=now, ticks={tick.epoch: tick})
    assert client.checked(token).status == Status.AFFIRMING
    assert subjects.service(Lane.RESULT, TENANT, "asker") not in await deployment.counts(subjects.RESULTS)


async def test_evidence_as_json_is_judged_like_evidence_as_messagepack(client: Client, tees: Tees) -> None:
    collection = over_tick("json", await client.tick(), (tees["snp"], 1))
    message = msgspec.json.encode(collection)
    await client.submit("json", message, headers={wire.CONTENT_TYPE: wire.JSON})
    assert client.checked(await client.token("json")).status == Status.AFFIRMING


async def test_the_largest_batch_gives_every_agent_its_own_result(client: Client, tees: Tees) -> None:
    tick = await client.tick()
    agents = [f"behind-{number}" for number in range(wire.MAX_BATCH)]
    entries = [wire.BatchEntry(agent, over_tick(agent, tick, (tees["cca"], 3))) for agent in agents]
    await client.submit_batch("gateway", entries)
    found = [client.checked(token) for token in await asyncio.gather(*map(client.token, agents))]
    assert [attested.sub for attested in found] == agents
    assert {attested.status for attested in found} == {Status.AFFIRMING}


# ── replies ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def _inbox(deployment: Deployment, agent: str) -> tuple[Bus, asyncio.Queue[bytes]]:
    """An agent's own connection, and what arrives in its inbox."""
    bus, heard = await deployment.connect(agent, TENANT), asyncio.Queue[bytes]()

    async def receive(message: Message) -> None:
        heard.put_nowait(message.data)

    await bus.serve(f"{subjects.inbox(agent)}.results", "", receive)
    return bus, heard


async def test_a_wanted_reply_arrives_in_the_agents_inbox_and_on_its_result_subject(
    client: Client, deployment: Deployment, tees: Tees
) -> None:
    agent = AGENTS[0]
    _, heard = await _inbox(deployment, agent)
    collection = over_tick(agent, await client.tick(), (tees["snp"], 1))
    await client.submit(agent, wire.encode(collection), headers={wire.REPLY_HEADER: f"{subjects.inbox(agent)}.results"})
    token = await client.token(agent)
    assert await asyncio.wait_for(heard.get(), 5) == token


async def test_a_reply_outside_the_agents_inbox_is_a_signed_rejection_and_reaches_nobody_else(
    client: Client, deployment: Deployment, tees: Tees
) -> None:
    mine, other = AGENTS
    _, heard = await _inbox(deployment, other)
    data = wire.encode(over_tick(mine, await client.tick(), (tees["snp"], 2)))
    for wanted in (f"{subjects.inbox(other)}.results", "result.acme.a2", ">", f"{subjects.inbox(mine)}.*", ""):
        await client.submit(mine, data, headers={wire.REPLY_HEADER: wanted})
        assert details(client.checked(await client.token(mine))).reason == "wrong_reply", wanted
    assert heard.empty()


# ── again ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_evidence_submitted_twice_is_one_attestation_with_one_stored_result(
    client: Client, deployment: Deployment, tees: Tees
) -> None:
    data = wire.encode(over_nonce("twice", await client.nonce("twice"), (tees["snp"], 7)))
    await client.submit("twice", data)
    await client.submit("twice", data)
    first, second = [client.checked(await client.token("twice")) for _ in range(2)]
    assert details(first).outcome == details(second).outcome == "verified"
    assert first.jti == second.jti
    counts = await deployment.settled()
    assert counts[subjects.service(Lane.RESULT, TENANT, "twice")] == 1
