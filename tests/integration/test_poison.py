"""Evidence that kills the process that touches it ends as a dead letter, and takes no neighbour along."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from bus_client import Client, details, over_tick, record
from topologies import TENANT, copied, on_nats

from attest_pipeline import subjects, wire
from attest_pipeline.adapters.provision import Provisioning
from attest_pipeline.adapters.site import Site
from attest_pipeline.cli.stack import POLICIES
from attest_pipeline.ear import Status
from attest_pipeline.model import EpochChallenge, Evidence, EvidenceCollection
from attest_pipeline.simulator.device import Vendor

STAGES: Final = ("parse", "match", "appraise", "sign")
NEIGHBOURS: Final = 100
SOON: Final = Provisioning(ack_waits=(1.5,), max_ack_pending=128)
_PLUGIN: Final = """
import os, signal

class Poison:
    tee = "poison"
    media_types = frozenset()
    challenge_bytes = 64

    def __init__(self, trust_anchors):
        pass

    def endorsements_for(self, evidence):
        return ()

    def verify(self, evidence, endorsements, *, challenge, now):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def _install(directory: Path) -> dict[str, str]:
    """Install a verifier as a third party would, and return the environment that finds it."""
    about = directory / "poison-1.dist-info"
    about.mkdir(parents=True)
    (directory / "poison.py").write_text(_PLUGIN)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: poison\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[attest_pipeline.verifiers]\npoison = poison:Poison\n")
    return {"PYTHONPATH": str(directory)}


def _admit(site: Site) -> None:
    """Admit the TEE of that verifier."""
    directory = site.config / TENANT
    settings = json.loads((directory / "tenant.json").read_text())
    (directory / "tenant.json").write_text(json.dumps({**settings, "tees": [*settings["tees"], "poison"]}))
    policy = (POLICIES / "sample" / "sample.rego").read_text().replace("appraisal.sample", "appraisal.poison")
    (directory / "policies").mkdir()
    (directory / "policies" / "poison.rego").write_text(policy)


@pytest.mark.integration
async def test_evidence_that_kills_its_process_is_a_dead_letter_and_its_neighbours_are_judged(
    origin: Site, tmp_path: Path, vendors: Sequence[Vendor]
) -> None:
    snp = next(vendor for vendor in vendors if vendor.tee == "snp")
    site = copied(origin, tmp_path / "site")
    _admit(site)
    plugin = _install(tmp_path / "plugin")
    async with on_nats(site, STAGES, environment=plugin, provisioning=SOON) as deployment:
        client = await Client.join(deployment)
        tick = await client.tick()
        records = [
            record(f"neighbour-{number}", over_tick(f"neighbour-{number}", tick, (snp, 1)))
            for number in range(NEIGHBOURS)
        ]
        poison = EvidenceCollection(evidence=(Evidence("poison", {}),), challenge=EpochChallenge(tick.epoch))
        records.insert(20, record("poisoner", poison))
        await client.bus.store(records)
        counts = await deployment.settled()
        attested = [client.checked(await deployment.last(subjects.RESULTS, subject)) for subject in counts]
        assert sorted(counts.values()) == [1] * len(records)
        assert {one.sub: details(one).reason for one in attested if one.status != Status.AFFIRMING} == {
            "poisoner": "deliveries_exhausted"
        }
        assert await deployment.counts(subjects.DEAD) == {subjects.dead(TENANT, "poisoner"): 1}
        assert await deployment.last(subjects.DEAD, subjects.dead(TENANT, "poisoner")) == wire.encode(poison)
        assert deployment.deaths() == [deployment.worker("parse").name]
