"""Evidence whose collateral must be fetched waits for it, and is neither lost nor called bad; other TEEs go on."""

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from bus_client import Client, details, over_tick
from collateral_lab import Answer, FakeVendors, dying, hanging, refusing, saying, serving, write_settings
from topologies import (
    STAGES,
    TENANT,
    InMemory,
    connected,
    copied,
    in_memory,
    make_site,
    on_nats,
    settings_of,
)

from attest_pipeline import wire
from attest_pipeline.adapters import config_dir
from attest_pipeline.adapters.rego import RegoEngine
from attest_pipeline.adapters.site import Site
from attest_pipeline.cli.stack import POLICIES
from attest_pipeline.collateral.exchange import name_of
from attest_pipeline.ear import Status
from attest_pipeline.errors import Reason
from attest_pipeline.model import (
    Artefact,
    EndorsementRef,
    EvidenceCollection,
    Rejection,
    SuppliedChallenge,
    Verified,
)
from attest_pipeline.pipeline import Parse, Submission
from attest_pipeline.ports import EndorsementSource, Found
from attest_pipeline.simulator.device import Vendor
from attest_pipeline.simulator.intel import IntelVendor
from attest_pipeline.subjects import EVIDENCE

KINDS = (*STAGES, "collateral")


@pytest.fixture
def vendor(vendors: Sequence[Vendor]) -> dict[str, Vendor]:
    return {vendor.tee: vendor for vendor in vendors}


@pytest_asyncio.fixture
async def fake(vendor: dict[str, Vendor]) -> AsyncIterator[FakeVendors]:
    fake = FakeVendors()
    ((name, (document,)),) = vendor["tdx"].endorsements().items()
    fake.intel("tdx", name.removeprefix("intel-dcap/"), document)
    fake.amd("Milan", vendor["snp"].endorsements())
    async with serving(fake):
        yield fake


@pytest.fixture
def bare(origin: Site, tmp_path: Path, fake: FakeVendors, vendor: dict[str, Vendor]) -> Site:
    """A site whose tenant has no collateral of its own for TDX and SNP."""
    site = copied(origin, tmp_path / "site")
    home = site.config / TENANT / "endorsements"
    for kind in ("intel-dcap/tdx", "amd-chain", "amd-crl"):
        shutil.rmtree(home / kind)
    anchors = [anchor for tee in ("tdx", "snp") for anchor in vendor[tee].trust_anchors()]
    write_settings(site.collateral, fake.settings(*anchors))
    return site


@pytest_asyncio.fixture
async def client(bare: Site) -> AsyncIterator[Client]:
    settings = settings_of(bare, collateral=True, collateral_state=bare.collateral)
    async with in_memory(settings, KINDS) as broker:
        deployment = InMemory(bare, broker)
        async with connected(deployment):
            yield await Client.join(deployment)


async def test_evidence_waits_for_its_collateral_and_is_judged(client: Client, vendor: dict[str, Vendor]) -> None:
    tick = await client.tick()
    for tee in ("tdx", "snp"):
        result = await client.attest(f"node-{tee}", over_tick(f"node-{tee}", tick, (vendor[tee], 1)))
        assert result.status == Status.AFFIRMING, details(result)
        assert not details(result).degraded


async def test_the_interactive_lane_waits_a_moment(client: Client, vendor: dict[str, Vendor]) -> None:
    await client.verify("warm", over_tick("warm", await client.tick(), (vendor["cca"], 1)))
    result = await client.verify("node", over_tick("node", await client.tick(), (vendor["snp"], 1)))
    assert result.status == Status.AFFIRMING


async def test_a_composite_waits_for_everything_at_once(
    client: Client, vendor: dict[str, Vendor], fake: FakeVendors
) -> None:
    collection = over_tick("node", await client.tick(), (vendor["tdx"], 1), (vendor["snp"], 1), (vendor["cca"], 1))
    assert (await client.attest("node", collection)).status == Status.AFFIRMING
    assert len(fake.asked) == len(set(fake.asked))


async def test_a_batch_waits_together_and_nothing_of_it_is_answered_twice(
    client: Client, vendor: dict[str, Vendor]
) -> None:
    tick = await client.tick()
    agents = {"b-tdx": "tdx", "b-snp": "snp", "b-cca": "cca"}
    entries = [wire.BatchEntry(agent, over_tick(agent, tick, (vendor[tee], 1))) for agent, tee in agents.items()]
    await client.submit_batch("gateway", entries)
    for agent in agents:
        assert client.checked(await client.token(agent)).status == Status.AFFIRMING
        assert client.silent(agent)


@pytest.mark.parametrize("mood", [hanging, dying, refusing(500), refusing(429, {"Retry-After": "1"}), saying(b"lies")])
async def test_a_source_in_trouble_delays_its_own_tee_and_no_other(
    client: Client, vendor: dict[str, Vendor], fake: FakeVendors, mood: Answer
) -> None:
    fake.mood = mood
    tick = await client.tick()
    waiting = [f"tdx-{number}" for number in range(5)]
    for number, agent in enumerate(waiting):
        await client.submit(agent, wire.encode(over_tick(agent, tick, (vendor["tdx"], number))))
    for number in range(3):
        agent = f"cca-{number}"
        async with asyncio.timeout(2.0):
            assert (await client.attest(agent, over_tick(agent, tick, (vendor["cca"], number)))).status == "affirming"
    assert all(map(client.silent, waiting)), "nothing is called bad that only waits"
    fake.mood = None
    for agent in waiting:
        assert client.checked(await client.token(agent)).status == Status.AFFIRMING
        assert client.silent(agent)


async def test_the_interactive_lane_is_told_that_it_is_our_fault(
    client: Client, vendor: dict[str, Vendor], fake: FakeVendors
) -> None:
    fake.mood = refusing(500)
    result = await client.verify("node", over_tick("node", await client.tick(), (vendor["tdx"], 1)))
    assert (result.status, details(result).outcome) == (Status.NONE, "malfunction")


async def test_evidence_that_waits_is_not_delivered_again(
    bare: Site, fake: FakeVendors, vendor: dict[str, Vendor], caplog: pytest.LogCaptureFixture
) -> None:
    fake.mood = refusing(500)
    settings = settings_of(bare, collateral=True, collateral_state=bare.collateral)
    async with in_memory(settings, KINDS, ack_wait=2.5) as broker:
        deployment = InMemory(bare, broker)
        async with connected(deployment):
            client = await Client.join(deployment)
            await client.submit("node", wire.encode(over_tick("node", await client.tick(), (vendor["tdx"], 1))))
            await asyncio.sleep(4.0)
            consumer = broker._streams[EVIDENCE].consumers["parse"]
            assert set(consumer._attempts.values()) == {1}
            fake.mood = None
            assert client.checked(await client.token("node")).status == Status.AFFIRMING
    assert "dead letter" not in caplog.text


async def test_stale_collateral_judges_and_the_result_says_so(
    bare: Site, fake: FakeVendors, vendor: dict[str, Vendor]
) -> None:
    settings = settings_of(bare, collateral=True, collateral_state=bare.collateral)
    ((name, (document,)),) = vendor["tdx"].endorsements().items()
    path = bare.collateral / "imported" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(document)
    week_ago = time.time() - 8 * 86_400
    os.utime(path, (week_ago, week_ago))
    fake.mood = dying
    async with in_memory(settings, KINDS) as broker:
        deployment = InMemory(bare, broker)
        async with connected(deployment):
            client = await Client.join(deployment)
            result = await client.attest("node", over_tick("node", await client.tick(), (vendor["tdx"], 1)))
    assert result.status == Status.AFFIRMING
    assert details(result).degraded == ("collateral",)
    assert details(result).endorsements["collateral"] == hashlib.sha256(document).hexdigest()


class Younger(EndorsementSource):
    """Documents that hold only from a moment on."""

    def __init__(self, documents: Mapping[str, tuple[bytes, ...]], since: int) -> None:
        self._documents = documents
        self._since = since

    def find(self, ref: EndorsementRef) -> Found:
        return Found(self._documents[name_of(ref)], valid_from=self._since)


def test_collateral_that_is_younger_than_the_evidence_judges_it_from_its_own_time_on(tmp_path: Path) -> None:
    received = datetime.now(UTC).replace(microsecond=0)
    vendor = IntelVendor("tdx", received + timedelta(days=1, seconds=100))
    site = make_site(tmp_path / "site", [vendor])
    evidence = (vendor.evidence(1, bytes(64)),)
    collection = EvidenceCollection(evidence=evidence, challenge=SuppliedChallenge(bytes(64)))
    submission = Submission("a", collection, b"", int(received.timestamp()), reply="", ack="x")
    engine = RegoEngine()
    try:
        config, _ = config_dir.read(site.config / TENANT, POLICIES, engine.vet)
    finally:
        engine.close()

    def outcome(since: int) -> Artefact:
        (artefact,) = Parse(config, Younger(vendor.endorsements(), since), bytes(32))(submission, {}).artefacts
        return artefact

    early = outcome(0)
    assert isinstance(early, Rejection)
    assert early.reason == Reason.NOT_YET_VALID
    assert isinstance(outcome(submission.received_at + 100), Verified)


@pytest.mark.integration
async def test_the_workers_speak_over_a_real_server(bare: Site, vendor: dict[str, Vendor]) -> None:
    async with on_nats(bare, STAGES, collateral=True) as deployment:
        client = await Client.join(deployment)
        tick = await client.tick()
        for tee in ("tdx", "snp"):
            result = await client.attest(f"node-{tee}", over_tick(f"node-{tee}", tick, (vendor[tee], 1)))
            assert result.status == Status.AFFIRMING, details(result)
