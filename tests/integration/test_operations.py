"""What an operator does or suffers, on a real nats-server: new configuration, new epochs, a full stream, a drain."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from bus_client import Client, details, over_nonce, over_tick, record
from msgspec.structs import replace
from topologies import AGENTS, QUICK, TENANT, OnNats, copied, eventually, on_nats, settings_of

from attest_pipeline import subjects, wire
from attest_pipeline.adapters.config_store import ConfigStore
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.adapters.nats_config import PROVISIONER
from attest_pipeline.adapters.site import Site
from attest_pipeline.ear import Status
from attest_pipeline.errors import Unavailable
from attest_pipeline.freshness import Tick, encode_marker
from attest_pipeline.jws import BadToken
from attest_pipeline.result import AttestationResult
from attest_pipeline.simulator.device import Vendor
from attest_pipeline.subjects import Lane
from attest_pipeline.wire import Frame
from workers import parse
from workers._process import Process, run_until_stopped
from workers._stage import forward

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
EPOCH_SECONDS = 3
STAGES = ("parse", "match", "appraise", "sign")


@pytest.fixture(scope="module")
def snp(vendors: Sequence[Vendor]) -> Vendor:
    return next(vendor for vendor in vendors if vendor.tee == "snp")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def operated(origin: Site, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OnNats]:
    """A pipeline with short epochs and little room for Evidence; no test ends a worker."""
    site = copied(origin, tmp_path_factory.mktemp("operated") / "site")
    small = replace(QUICK, evidence_bytes=1024 * 1024)
    async with on_nats(site, STAGES, provisioning=small, epoch_seconds=EPOCH_SECONDS) as deployment:
        yield deployment
        assert not deployment.deaths()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(operated: OnNats) -> Client:
    return await Client.join(operated)


async def _verdict(client: Client, vendor: Vendor) -> AttestationResult:
    nonce = await client.nonce("watched")
    return await client.verify("watched", over_nonce("watched", nonce, (vendor, 1)))


# ── configuration ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_changed_reference_values_change_the_verdict_of_running_workers(
    operated: OnNats, client: Client, snp: Vendor
) -> None:
    assert (await _verdict(client, snp)).status == Status.AFFIRMING
    path = operated.site.config / TENANT / "reference-values" / "snp.json"
    before = path.read_text()
    references = json.loads(before)
    references["values"]["measurement"] = ["00" * 48]
    references["version"] = "2"
    path.write_text(json.dumps(references))

    async def reads(version: str) -> bool:
        return details(await _verdict(client, snp)).reference_version == version

    await eventually(lambda: reads("2"), "the new Reference Values were not taken")
    attested = await _verdict(client, snp)
    assert attested.status == Status.CONTRAINDICATED
    assert [mismatch.field for mismatch in details(attested).mismatches] == ["measurement"]
    path.write_text(before)
    await eventually(lambda: reads(json.loads(before)["version"]), "the old Reference Values did not come back")
    assert (await _verdict(client, snp)).status == Status.AFFIRMING


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tenant.json", b"{"),
        ("tenant.json", b'{"issuer": "\xff"}'),
        ("policies/snp.rego", b"package appraisal.snp"),
        ("policies/snp.rego", b"\xff\xfe"),
        ("reference-values/other.json", b"[]"),
        ("trust-anchors/amd/other.pem", b"no key"),
        ("endorsements/unheard-of/of", b"?"),
    ],
)
async def test_a_configuration_that_is_not_valid_is_refused_and_the_one_before_stays(
    operated: OnNats, client: Client, snp: Vendor, file: str, content: bytes
) -> None:
    path = operated.site.config / TENANT / file
    before = path.read_bytes() if path.exists() else None
    log = operated.site.logs / f"{operated.worker('config').name}.log"
    refused = log.read_text().count("configuration refused")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        await eventually(
            lambda: log.read_text().count("configuration refused") > refused, "nobody said that it is not valid"
        )
        assert (await _verdict(client, snp)).status == Status.AFFIRMING
    finally:
        path.unlink() if before is None else path.write_bytes(before)


async def test_a_frame_whose_configuration_is_forgotten_comes_again_and_is_judged_anew(
    origin: Site, tmp_path: Path, snp: Vendor
) -> None:
    site = copied(origin, tmp_path / "site")
    async with on_nats(site, ("match", "appraise", "sign")) as deployment:
        bus = await deployment.connect("parse")
        process = Process(settings=settings_of(site), bus=bus, configs=ConfigStore(bus), stopping=asyncio.Event())
        onwards, frames = forward(bus, subjects.STAGE_CLAIMS), list[Frame]()

        async def late_once(frame: Frame) -> None:
            frames.append(frame)
            await onwards(frame if len(frames) > 1 else replace(frame, config="0" * 64))

        parsing = asyncio.create_task(run_until_stopped(process, lambda started: parse.run(started, late_once)))
        client = await Client.join(deployment)
        attested = await client.attest("late", over_tick("late", await client.tick(), (snp, 1)))
        assert attested.status == Status.AFFIRMING
        assert len(frames) == 2
        assert await deployment.settled() == {subjects.service(Lane.RESULT, TENANT, "late"): 1}
        process.stopping.set()
        await parsing
        log = (site.logs / f"{deployment.worker('match').name}.log").read_text()
    assert log.count("frame left to redelivery") == 1
    assert "configuration 000000000000 of tenant acme is not in the store" in log


async def test_the_bucket_may_be_emptied_because_the_directories_are_published_anew(
    origin: Site, tmp_path: Path, snp: Vendor
) -> None:
    async with on_nats(copied(origin, tmp_path / "site"), ("all",)) as deployment:
        client = await Client.join(deployment)
        provisioner = await deployment.connect(PROVISIONER)
        purged = await provisioner.request(f"$JS.API.STREAM.PURGE.KV_{subjects.CONFIG}", b"", timeout=5.0)
        assert msgspec.json.decode(purged.data)["success"]
        assert (await _verdict(client, snp)).status == Status.AFFIRMING
        for kind in ("config", "all"):
            worker = deployment.worker(kind)
            worker.kill()
            await eventually(lambda one=worker: one.starts > 1, f"{kind} was not started again")  # type: ignore[misc]
        await deployment.stack.ready()

        async def judges() -> bool:
            with contextlib.suppress(Unavailable):  # it knows the configuration before it listens
                return (await _verdict(client, snp)).status == Status.AFFIRMING
            return False

        await eventually(judges, "a worker that started anew does not judge")


# ── epochs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_epoch_before_is_accepted_and_an_older_one_is_not(client: Client, snp: Vendor) -> None:
    tick = await client.tick()
    collection = over_tick("slow", tick, (snp, 1))

    async def rang(epoch: int) -> bool:
        return (await client.tick()).epoch >= epoch

    await eventually(lambda: rang(tick.epoch + 1), "the bell did not ring")
    assert (await client.attest("slow", collection)).status == Status.AFFIRMING
    await eventually(lambda: rang(tick.epoch + 2), "the bell did not ring again")
    rejected = details(await client.attest("slow", collection))
    assert (rejected.outcome, rejected.reason) == ("rejected", "challenge_expired")


async def test_a_marker_of_another_tenant_or_key_is_ignored(
    operated: OnNats, client: Client, snp: Vendor, tmp_path: Path
) -> None:
    tick = await client.tick()
    foreign = Tick("other", tick.epoch + 7, bytes(32), 0, tick.not_after + 1000)
    forged = Tick(TENANT, tick.epoch + 7, bytes(32), 0, tick.not_after + 1000)
    bell = await operated.connect("bell")
    await bell.publish(subjects.epoch(TENANT), encode_marker([foreign], FileSigner.load(operated.site.bell_key)))
    await bell.publish(subjects.epoch(TENANT), encode_marker([forged], FileSigner.ensure(tmp_path / "bell.pem")))
    await bell.publish(subjects.epoch(TENANT), b"ding")
    for false in (foreign, forged):
        found = details(await client.verify("misled", over_tick("misled", false, (snp, 1))))
        assert found.reason == "challenge_expired"

    async def rings() -> bool:
        with contextlib.suppress(BadToken):
            return (await client.tick()).epoch > tick.epoch
        return False

    await eventually(rings, "the bell does not ring any more")
    assert (await client.attest("led", over_tick("led", await client.tick(), (snp, 1)))).status == Status.AFFIRMING


# ── subjects ──────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_an_agent_cannot_ask_or_submit_as_another(operated: OnNats, snp: Vendor) -> None:
    thief, victim = AGENTS
    bus = await operated.connect(thief, TENANT)
    data = wire.encode(over_nonce(victim, bytes(56), (snp, 1)))
    for lane in (Lane.VERIFY, Lane.CHALLENGE, Lane.EVIDENCE):
        with pytest.raises(Unavailable):
            await bus.request(subjects.view(lane, victim), data, timeout=0.3)
    assert not await operated.counts(subjects.EVIDENCE)


# ── a full stream ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def _submitted(client: Client, messages: Mapping[str, bytes]) -> AsyncIterator[str]:
    """Agents whose Evidence was taken, until the stream refuses the first."""
    for agent, message in messages.items():
        try:
            await client.submit(agent, message)
        except Unavailable as refusal:
            assert "maximum bytes exceeded" in str(refusal)  # noqa: PT017 - and nothing else
            return
        yield agent


async def test_a_full_stream_refuses_and_loses_nothing_that_it_took(
    operated: OnNats, client: Client, snp: Vendor
) -> None:
    parse = operated.worker("parse").pid
    agents = [f"filler-{number}" for number in range(1000)]
    messages = {agent: wire.encode(over_nonce(agent, bytes(56), (snp, 1))) for agent in agents}
    os.kill(parse, signal.SIGSTOP)
    try:
        taken = [agent async for agent in _submitted(client, messages)]
    finally:
        os.kill(parse, signal.SIGCONT)
    assert 100 < len(taken) < len(agents)
    for agent in taken:
        assert details(client.checked(await client.token(agent))).reason == "challenge_mismatch"
    nonce = await client.nonce("later")
    assert (await client.attest("later", over_nonce("later", nonce, (snp, 1)))).status == Status.AFFIRMING


# ── a drain ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_drain_in_the_middle_of_a_load_loses_nothing_and_does_nothing_twice(
    origin: Site, tmp_path: Path, snp: Vendor
) -> None:
    site = copied(origin, tmp_path / "site")
    agents = [f"drained-{number}" for number in range(1500)]

    async with on_nats(site, STAGES) as first:
        client = await Client.join(first)
        tick = await client.tick()
        records = [record(agent, over_tick(agent, tick, (snp, 1))) for agent in agents]
        await client.bus.store(records)
        await client.token(agents[0])
        assert len(await first.counts(subjects.RESULTS)) < len(agents), "the load was over before the drain"
        workers = first.stack.workers
    assert [worker._process and worker._process.returncode for worker in workers] == [0] * len(workers)
    async with on_nats(site, STAGES) as second:
        assert sorted((await second.settled()).values()) == [1] * len(agents)
