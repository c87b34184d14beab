"""A site whose keys are on the SM2 curve: results and epoch markers are signed and believed as those of any other."""

from collections.abc import Sequence
from pathlib import Path

import openssl_lab
import pytest
from bus_client import Client, details, over_tick
from topologies import IN_MEMORY, copied, deployed

from attest_pipeline.adapters import site as sites
from attest_pipeline.adapters.site import Site
from attest_pipeline.ear import Status
from attest_pipeline.jws import SM2
from attest_pipeline.simulator.device import Vendor


@pytest.fixture
def chinese(origin: Site, tmp_path: Path) -> Site:
    site = copied(origin, tmp_path / "site")
    for key in (site.signing_key, site.bell_key):
        openssl_lab.make_key(key.parent, key.name)
    sites.ensure(site)
    assert site.jwks.read_text().count(SM2) == 1
    return site


@pytest.mark.parametrize("topology", [IN_MEMORY, pytest.param("a process per stage", marks=pytest.mark.integration)])
async def test_results_and_markers_of_an_sm2_site_are_believed(
    topology: str, chinese: Site, vendors: Sequence[Vendor]
) -> None:
    async with deployed(topology, chinese) as deployment:
        client = await Client.join(deployment)
        result = await client.attest("node", over_tick("node", await client.tick(), (vendors[0], 1)))
        assert result.status == Status.AFFIRMING, details(result)
        assert not deployment.deaths()
