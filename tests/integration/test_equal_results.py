"""Every topology gives the bytes that the library gives: for real evidence, forgeries, and a simulated fleet."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import verifiers_conformance
from bus_client import Client, details
from topologies import ARCHIVE, Deployment, library

from attest_pipeline import wire
from attest_pipeline.freshness import Tick
from attest_pipeline.model import EvidenceCollection, SuppliedChallenge
from attest_pipeline.pipeline import Pipeline
from attest_pipeline.result import AttestationResult
from attest_pipeline.simulator.fleet import Member

pytestmark = pytest.mark.asyncio(loop_scope="module")
TEES = ("tdx", "sgx", "snp", "cca", "virtcca")


def _replay(request: dict[str, Any]) -> EvidenceCollection:
    """Old Evidence, to be judged at its own time with its own collateral."""
    evidence, endorsements, challenge, at = verifiers_conformance.inputs(request)
    return EvidenceCollection(
        evidence=(evidence,),
        challenge=None if challenge is None else SuppliedChallenge(challenge),
        as_of=int(at.timestamp()),
        endorsements=endorsements.items,
    )


def _answer(attested: AttestationResult) -> dict[str, Any]:
    """The response of the conformance protocol that stands in a result."""
    found = details(attested)
    return {
        "outcome": "unsupported" if found.reason == "unsupported_format" else found.outcome,
        "reason": found.reason,
        "tcb_status": found.tcb_status,
        "debug": found.debug,
        "claims": {**found.measurements, **found.claims, "challenge_verified": found.challenge_verified},
    }


async def _tokens(client: Client, collections: dict[str, EvidenceCollection]) -> dict[str, bytes]:
    for agent, collection in collections.items():
        await client.submit(agent, wire.encode(collection))
    return dict(zip(collections, await asyncio.gather(*map(client.token, collections)), strict=True))


def _differing(
    client: Client,
    pipeline: Pipeline,
    collections: dict[str, EvidenceCollection],
    tokens: dict[str, bytes],
    tick: Tick | None = None,
) -> list[str]:
    """Agents whose token is not, byte for byte, what the library gives for the same Evidence and reception time."""
    ticks = {} if tick is None else {tick.epoch: tick}
    return [
        agent
        for agent, collection in collections.items()
        if pipeline.run(collection, agent=agent, now=client.checked(tokens[agent]).iat, ticks=ticks) != tokens[agent]
    ]


async def test_conformance_cases_have_the_expected_outcome_and_the_bytes_of_the_library(
    conformance: Path, deployment: Deployment
) -> None:
    client = await Client.join(deployment, ARCHIVE)
    runner = verifiers_conformance.load_runner(conformance)
    cases = [case for tee in TEES for case in verifiers_conformance.cases(conformance, tee)]
    vectors = str(conformance.parent / "vectors")
    collections = {f"case-{number}": _replay(runner.request(case, vectors)) for number, case in enumerate(cases)}
    tokens = await _tokens(client, collections)
    faults = {
        case["id"]: found
        for case, token in zip(cases, tokens.values(), strict=True)
        if (found := runner.faults(case["expect"], _answer(client.checked(token))))
    }
    assert not faults
    with library(deployment.site, ARCHIVE) as pipeline:
        assert not _differing(client, pipeline, collections, tokens)


async def test_every_member_of_a_fleet_gets_the_verdict_it_must_in_the_bytes_of_the_library(
    deployment: Deployment, client: Client, fleet: list[Member]
) -> None:
    tick = await client.tick()
    collections = {member.agent: member.collection(tick) for member in fleet}
    tokens = await _tokens(client, collections)
    wrong = {}
    for member in fleet:
        attested = client.checked(tokens[member.agent])
        found = details(attested)
        if not member.expects(attested.status, found.outcome, found.reason):
            wrong[member.agent] = (member.fault, attested.status, found.reason, found.detail)
    assert not wrong
    with library(deployment.site) as pipeline:
        assert not _differing(client, pipeline, collections, tokens, tick)
    counts = await deployment.settled()
    assert {counts[f"result.acme.{member.agent}"] for member in fleet} == {1}
