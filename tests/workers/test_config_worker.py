"""The config worker: publishes what is valid, refuses what is not, and survives what people do to directories."""

import asyncio
import json
import logging
import shutil
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from topologies import eventually

from attest_pipeline.adapters import config_store
from attest_pipeline.adapters.config_store import ConfigStore
from attest_pipeline.adapters.site import Site, add_tenant
from attest_pipeline.cli.stack import POLICIES
from attest_pipeline.errors import Misconfigured, Unavailable
from attest_pipeline.model import TenantConfig
from attest_pipeline.owner.tenant import TenantSettings
from attest_pipeline.ports import Bus
from attest_pipeline.testing import InMemoryBroker, InMemoryBus
from workers import config
from workers._process import Process
from workers._settings import Settings

SETTINGS = TenantSettings(issuer="urn:i", audience="a", tees=("snp",))


class Desk:
    """A running config worker, the directory that it watches, and what a worker would learn."""

    def __init__(self, root: Path, configs: ConfigStore) -> None:
        self.site = Site(root)
        self.directory = root / "config" / "acme"
        self._configs = configs

    def version(self, tenant: str = "acme") -> str | None:
        return self._configs.versions().get(tenant)

    async def becomes_another_than(self, version: str | None) -> str:
        await eventually(lambda: self.version() not in {version, None}, "nothing was published")
        return str(self.version())


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(config, "_LOOK_SECONDS", 0.02)
    bus, stopping = InMemoryBus(InMemoryBroker(lambda: 0.0)), asyncio.Event()
    configs = ConfigStore(bus)
    add_tenant(Site(tmp_path), "acme", SETTINGS)
    settings = Settings(config=tmp_path / "config", policies=POLICIES)
    process = Process(settings=settings, bus=bus, configs=configs, stopping=stopping)
    tasks = [asyncio.create_task(config.run(process)), asyncio.create_task(configs.follow())]
    yield Desk(tmp_path, configs)
    stopping.set()
    await bus.drain()
    await asyncio.gather(*tasks)


async def test_every_valid_change_is_published_and_an_equal_one_is_the_same_version(desk: Desk) -> None:
    first = await desk.becomes_another_than(None)
    before = (desk.directory / "tenant.json").read_text()
    (desk.directory / "tenant.json").write_text(json.dumps({**json.loads(before), "token_seconds": 61}))
    second = await desk.becomes_another_than(first)
    (desk.directory / "tenant.json").write_text(before)
    assert await desk.becomes_another_than(second) == first


async def test_a_new_tenant_is_found(desk: Desk) -> None:
    await desk.becomes_another_than(None)
    add_tenant(desk.site, "other", SETTINGS)
    await eventually(lambda: desk.version("other") is not None, "the new tenant was not found")


@pytest.mark.parametrize(
    ("tees", "message"),
    [(["abacus"], "no policy for TEE 'abacus'"), (["snp", "poison"], "no verifier is installed for TEE 'poison'")],
)
async def test_a_version_that_no_worker_could_run_is_refused(
    desk: Desk, caplog: pytest.LogCaptureFixture, tees: list[str], message: str
) -> None:
    first = await desk.becomes_another_than(None)
    policy = (POLICIES / "sample" / "sample.rego").read_text().replace("appraisal.sample", "appraisal.poison")
    (desk.directory / "policies").mkdir()
    (desk.directory / "policies" / "poison.rego").write_text(policy)
    settings = json.loads((desk.directory / "tenant.json").read_text())
    with caplog.at_level(logging.ERROR):
        (desk.directory / "tenant.json").write_text(json.dumps({**settings, "tees": tees}))
        await eventually(
            lambda: any(message in getattr(one, "why", "") for one in caplog.records), "it was not refused"
        )
    assert desk.version() == first


async def test_a_directory_with_a_name_that_is_no_token_is_refused(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        (desk.directory.parent / "a b").mkdir()
        (desk.directory.parent / "a b" / "tenant.json").write_bytes((desk.directory / "tenant.json").read_bytes())
        await eventually(lambda: "configuration refused" in caplog.text, "it was not refused")
    assert await desk.becomes_another_than(None)


async def test_what_no_message_can_hold_is_refused_and_stops_no_other_tenant(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    first = await desk.becomes_another_than(None)
    chain = desk.directory / "endorsements" / "amd-chain" / "milan"
    chain.parent.mkdir(parents=True)
    with caplog.at_level(logging.ERROR):
        chain.write_bytes(bytes(config_store.MAX_VALUE + 1))
        await eventually(lambda: any("fit the broker" in getattr(one, "why", "") for one in caplog.records), "accepted")
    chain.unlink()
    baseline = {
        "name": "big",
        "version": "1",
        "tee": "snp",
        "values": {"measurement": [f"{n:096x}" for n in range(50_000)]},
    }
    (desk.directory / "reference-values").mkdir()
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        (desk.directory / "reference-values" / "big.json").write_text(json.dumps(baseline))
        await eventually(lambda: any("list fewer" in getattr(one, "why", "") for one in caplog.records), "accepted")
    add_tenant(desk.site, "other", SETTINGS)
    await eventually(lambda: desk.version("other") is not None, "the worker has ended")
    assert desk.version() == first


async def test_what_the_store_does_not_take_is_tried_again_and_stops_no_other_tenant(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await desk.becomes_another_than(None)
    publish = config_store.publish

    async def full(bus: Bus, found: TenantConfig, documents: Mapping[str, bytes]) -> None:
        if found.tenant == "acme":
            raise Unavailable("maximum bytes exceeded")
        await publish(bus, found, documents)

    monkeypatch.setattr(config_store, "publish", full)
    settings = json.loads((desk.directory / "tenant.json").read_text())
    (desk.directory / "tenant.json").write_text(json.dumps({**settings, "token_seconds": 61}))
    add_tenant(desk.site, "other", SETTINGS)
    await eventually(lambda: desk.version("other") is not None, "the worker has ended")
    assert "configuration not published yet" in caplog.text
    monkeypatch.setattr(config_store, "publish", publish)
    await desk.becomes_another_than(first)


async def test_a_configuration_directory_that_is_not_there_is_misconfigured(tmp_path: Path) -> None:
    bus = InMemoryBus(InMemoryBroker(lambda: 0.0))
    settings = Settings(config=tmp_path / "nowhere", policies=POLICIES)
    process = Process(settings=settings, bus=bus, configs=ConfigStore(bus), stopping=asyncio.Event())
    with pytest.raises(Misconfigured, match="nowhere is no directory"):
        await config.run(process)
    await bus.drain()


def test_directories_that_go_while_they_are_listed_are_not_seen(tmp_path: Path) -> None:
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            (tmp_path / "a" / "b" / "c").mkdir(parents=True)
            shutil.rmtree(tmp_path / "a")

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        for _ in range(2000):
            assert all(name.startswith(str(tmp_path)) for name, _, _ in config._state(tmp_path))
    finally:
        stop.set()
        churning.join()


def test_a_file_that_is_gone_when_it_is_looked_at_is_not_seen(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"x")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to("loop")
    assert {Path(name).name for name, _, _ in config._state(tmp_path)} == {"there"}
