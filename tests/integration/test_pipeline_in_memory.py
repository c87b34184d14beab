import asyncio
import time
from pathlib import Path

import msgspec
import pytest
from topologies import FUSED, STAGES, in_memory, settings_of

from attest_pipeline import freshness, result, subjects, wire
from attest_pipeline.adapters.site import Site, ensure
from attest_pipeline.cli.simulated import write_tenant
from attest_pipeline.jws import Jwks
from attest_pipeline.ports import Record
from attest_pipeline.simulator.fleet import members
from attest_pipeline.subjects import Lane
from attest_pipeline.testing import InMemoryBroker, InMemoryBus

TENANT = "acme"
POLICIES = "policies/appraisal"


async def _tick(bus: InMemoryBus, site: Site) -> freshness.Tick:
    keys = msgspec.json.decode(site.bell_jwks.read_bytes(), type=Jwks).keys
    while True:
        try:
            marker = await bus.request(subjects.last_epoch(TENANT), b"", timeout=1.0)
        except Exception:  # noqa: BLE001
            await asyncio.sleep(0.05)
            continue
        ticks = freshness.decode_marker(marker.data, keys, TENANT)
        return ticks[max(ticks)]


async def _results(broker: InMemoryBroker, count: int) -> dict[str, bytes]:
    for _ in range(1000):
        stored = broker.stored(subjects.RESULTS)
        if len(stored) >= count:
            return {message.subject.rpartition(".")[2]: message.data for message in stored}
        await asyncio.sleep(0.02)
    pytest.fail(f"{len(broker.stored(subjects.RESULTS))} of {count} results")


@pytest.mark.parametrize("kinds", [FUSED, STAGES], ids=["one process", "one process per stage"])
async def test_every_member_of_a_fleet_gets_the_verdict_it_must(tmp_path: Path, vendors, kinds: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    site = Site(tmp_path)
    ensure(site)
    fleet = members(vendors, 60 * len(vendors))
    async with in_memory(settings_of(site, [TENANT], POLICIES), kinds) as broker:
        bus = InMemoryBus(broker)
        tick = await _tick(bus, site)
        collections = {member.agent: member.collection(tick) for member in fleet}
        write_tenant(site, TENANT, vendors)
        for agent, collection in collections.items():
            record = Record(
                subject=subjects.service(Lane.EVIDENCE, TENANT, agent),
                data=wire.encode(collection),
                message_id=wire.attestation_id(TENANT, agent, collection).hex(),
            )
            await bus.store([record])
        tokens = await _results(broker, len(fleet))
    keys = msgspec.json.decode(site.jwks.read_bytes(), type=Jwks).keys
    wrong = []
    for member in fleet:
        checked = result.check(
            tokens[member.agent], keys, audience=TENANT, issuer=f"urn:attest-pipeline:{TENANT}", now=int(time.time())
        )
        details = next(iter(checked.submods.values())).details
        if not member.expects(checked.status, details.outcome, details.reason):
            wrong.append((member.agent, member.fault, checked.status, details.outcome, details.reason, details.detail))
    assert not wrong
