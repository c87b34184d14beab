"""One pipeline for the tests of a module, once in each topology."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from bus_client import Client
from topologies import IN_MEMORY, TOPOLOGIES, Deployment, copied, deployed, make_site

from attest_pipeline.adapters.site import Site
from attest_pipeline.freshness import Tick
from attest_pipeline.simulator.device import Vendor
from attest_pipeline.simulator.fleet import Member, members

_ROUNDS = 60
"""Members of each TEE; one in ten shows the next fault."""
_ANY_TICK = Tick("any", 1000, bytes(32), 0, 0)


@pytest.fixture(scope="session")
def fleet(vendors: Sequence[Vendor]) -> list[Member]:
    """A simulated fleet over all vendors, whose devices are known to them from the start."""
    fleet = members(vendors, _ROUNDS * len(vendors))
    for member in fleet:
        member.collection(_ANY_TICK)
    return fleet


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory, vendors: Sequence[Vendor], fleet: list[Member]) -> Site:
    """Keys and configuration that all topologies share, written once every device exists."""
    assert fleet
    return make_site(tmp_path_factory.mktemp("origin") / "site", vendors)


@pytest.fixture
def site(origin: Site, tmp_path: Path) -> Site:
    """A site for one test."""
    return copied(origin, tmp_path / "site")


_PARAMETERS = [name if name == IN_MEMORY else pytest.param(name, marks=pytest.mark.integration) for name in TOPOLOGIES]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=_PARAMETERS)
async def deployment(
    request: pytest.FixtureRequest, origin: Site, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Deployment]:
    """The running pipeline; after the module's last test no worker has ended."""
    site = copied(origin, tmp_path_factory.mktemp("deployment") / "site")
    async with deployed(request.param, site) as started:
        yield started
        assert not started.deaths()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(deployment: Deployment) -> Client:
    """All agents of the tenant."""
    return await Client.join(deployment)
