"""A GPU is judged once NVIDIA's responder has answered about its certificates: it waits, and then uses what came."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from bus_client import Client, details, over_tick
from collateral_lab import Answer, FakeVendors, dying, hanging, refusing, saying, serving, write_settings
from topologies import STAGES, TENANT, InMemory, connected, in_memory, make_site, on_nats, settings_of

from attest_pipeline import wire
from attest_pipeline.adapters.site import Site
from attest_pipeline.ear import Status
from attest_pipeline.errors import Reason
from attest_pipeline.freshness import epoch_challenge
from attest_pipeline.model import EpochChallenge, EvidenceCollection
from attest_pipeline.simulator.device import Fault, Vendor
from attest_pipeline.simulator.nvidia import NvidiaVendor

GOOD, REVOKED = 1, 2
CHECK = "chain_not_revoked"


@pytest.fixture(scope="module")
def gpu() -> NvidiaVendor:
    vendor = NvidiaVendor("nvidia-gpu", datetime.now(UTC))
    vendor.evidence(GOOD, bytes(64))
    vendor.evidence(REVOKED, bytes(64), Fault.REVOKED)
    return vendor


@pytest.fixture(scope="module")
def cca(vendors: Sequence[Vendor]) -> Vendor:
    (vendor,) = (one for one in vendors if one.tee == "cca")
    vendor.evidence(1, bytes(64))
    return vendor


@pytest_asyncio.fixture
async def fake(gpu: NvidiaVendor) -> AsyncIterator[FakeVendors]:
    fake = FakeVendors()
    fake.nvidia(gpu.endorsements())
    async with serving(fake):
        yield fake


@pytest.fixture
def site(tmp_path: Path, fake: FakeVendors, gpu: NvidiaVendor, cca: Vendor) -> Site:
    """A site whose tenant has what NVIDIA publishes of its own, and a worker that can fetch it."""
    site = make_site(tmp_path / "site", [gpu, cca])
    write_settings(site.collateral, fake.settings(*gpu.trust_anchors()))
    return site


@pytest.fixture
def bare(site: Site) -> Site:
    """The same without anything of its own."""
    for kind in ("nvidia-rim", "nvidia-ocsp"):
        shutil.rmtree(site.config / TENANT / "endorsements" / kind)
    return site


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[Client]:
    settings = settings_of(site, collateral=True, collateral_state=site.collateral)
    async with in_memory(settings, (*STAGES, "collateral")) as broker:
        deployment = InMemory(site, broker)
        async with connected(deployment):
            yield await Client.join(deployment)


@pytest_asyncio.fixture
async def client(bare: Site) -> AsyncIterator[Client]:
    async with running(bare) as client:
        yield client


async def test_a_gpu_waits_for_its_statuses_and_is_checked_by_them(
    client: Client, gpu: NvidiaVendor, fake: FakeVendors
) -> None:
    result = await client.attest("node", over_tick("node", await client.tick(), (gpu, GOOD)))
    found = details(result)
    assert result.status == Status.AFFIRMING, found
    assert CHECK in found.checks
    used = {digest for item, digest in found.endorsements.items() if item.startswith("ocsp/")}
    told = {hashlib.sha256(one).hexdigest() for one in fake.statuses.values()}
    assert len(used) == 5
    assert used <= told, "what was fetched was used"
    asked = list(fake.questions)
    assert len(asked) == len(set(asked)) == 5
    await client.attest("again", over_tick("again", await client.tick(), (gpu, GOOD)))
    assert fake.questions == asked


async def test_a_revoked_gpu_is_refused_by_what_was_fetched(client: Client, gpu: NvidiaVendor) -> None:
    tick = await client.tick()
    evidence = gpu.evidence(REVOKED, epoch_challenge("node", gpu.tee, tick, "", None), Fault.REVOKED)
    collection = EvidenceCollection(evidence=(evidence,), challenge=EpochChallenge(tick.epoch))
    result = await client.attest("node", collection)
    assert (result.status, details(result).reason) == (Status.CONTRAINDICATED, Reason.REVOKED)


@pytest.mark.parametrize("mood", [hanging, dying, refusing(500), refusing(404), saying(b"lies")])
async def test_while_the_responder_is_in_trouble_a_gpu_waits_and_nothing_else(
    client: Client, gpu: NvidiaVendor, cca: Vendor, fake: FakeVendors, mood: Answer
) -> None:
    fake.trouble(mood)
    tick = await client.tick()
    await client.submit("gpu", wire.encode(over_tick("gpu", tick, (gpu, GOOD))))
    async with asyncio.timeout(5.0):
        assert (await client.attest("cca", over_tick("cca", tick, (cca, 1)))).status == Status.AFFIRMING
    assert client.silent("gpu"), "it is neither passed unchecked nor called bad"
    fake.mood = None
    result = client.checked(await client.token("gpu"))
    assert result.status == Status.AFFIRMING
    assert CHECK in details(result).checks


async def test_where_nobody_is_asked_a_gpu_is_judged_without_the_check_and_the_result_lacks_it(
    bare: Site, gpu: NvidiaVendor, fake: FakeVendors
) -> None:
    settings: Mapping[str, Any] = fake.settings(*gpu.trust_anchors())
    write_settings(bare.collateral, {**settings, "sites": {**settings["sites"], "nvidia-ocsp": ""}})
    async with running(bare) as client:
        result = await client.attest("node", over_tick("node", await client.tick(), (gpu, GOOD)))
    assert result.status == Status.WARNING, "the default policy says revocation_unchecked"
    assert CHECK not in details(result).checks
    assert not fake.questions


async def test_what_the_operator_brought_along_is_used_and_nobody_is_asked(
    site: Site, gpu: NvidiaVendor, fake: FakeVendors
) -> None:
    async with running(site) as client:
        result = await client.attest("node", over_tick("node", await client.tick(), (gpu, GOOD)))
    assert result.status == Status.AFFIRMING, details(result)
    assert CHECK in details(result).checks
    assert not fake.asked


@pytest.mark.integration
async def test_the_workers_ask_over_a_real_server(bare: Site, gpu: NvidiaVendor) -> None:
    async with on_nats(bare, STAGES, collateral=True) as deployment:
        client = await Client.join(deployment)
        result = await client.attest("node", over_tick("node", await client.tick(), (gpu, GOOD)))
        assert result.status == Status.AFFIRMING, details(result)
        assert CHECK in details(result).checks
        assert not deployment.deaths()
