"""Configuration versions in a bucket: a worker runs what was published, or nothing."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping

import msgspec
import pytest
import token_lab
from bus_fixtures import connected
from msgspec.structs import replace
from topologies import eventually

from attest_pipeline.adapters import config_store
from attest_pipeline.adapters.broker import Broker
from attest_pipeline.adapters.config_store import BUCKET, ConfigStore
from attest_pipeline.errors import Unavailable
from attest_pipeline.model import TenantConfig
from attest_pipeline.owner.tenant import digest, version_of
from attest_pipeline.ports import Bus
from attest_pipeline.testing import InMemoryBroker, InMemoryBus

DAY = 86_400


def _documents(*contents: bytes) -> dict[str, bytes]:
    return {digest(content): content for content in contents}


def _version(issuer: str, documents: Mapping[str, bytes], tenant: str = "acme") -> TenantConfig:
    endorsements = {"amd-chain/milan": tuple(documents)}
    config = replace(token_lab.CONFIG, tenant=tenant, issuer=issuer, endorsements=endorsements)
    return replace(config, version=version_of(config))


DOCUMENTS = _documents(b"one", b"two")
FIRST, SECOND = _version("urn:first", DOCUMENTS), _version("urn:second", DOCUMENTS)
CHANGED = _documents(b"two", b"three")
THIRD = _version("urn:third", CHANGED)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def bus(clock: Clock) -> AsyncIterator[InMemoryBus]:
    bus = InMemoryBus(InMemoryBroker(clock))
    yield bus
    await bus.drain()


async def _had(bus: Bus, config: TenantConfig) -> bool:
    """Whether a worker that starts now can have that version, with its documents."""
    try:
        return (await ConfigStore(bus).version(config.tenant, config.version)).config == config
    except Unavailable:
        return False


async def test_a_follower_has_the_current_version_and_every_change(bus: InMemoryBus) -> None:
    store = ConfigStore(bus)
    await config_store.publish(bus, FIRST, DOCUMENTS)
    following = asyncio.create_task(store.follow())
    await asyncio.sleep(0.01)
    assert store.current("acme") == (FIRST, DOCUMENTS)
    await config_store.publish(bus, SECOND, DOCUMENTS)
    await asyncio.sleep(0.01)
    assert store.versions() == {"acme": SECOND.version}
    assert store.current("nobody") is None
    await bus.stop()
    await following


@pytest.mark.parametrize("stored", [None, b"\xc1", msgspec.msgpack.encode({"tenant": "gone", "of": "another release"})])
async def test_a_tenant_whose_version_cannot_be_read_stops_no_other_and_can_be_put_right(
    bus: InMemoryBus, caplog: pytest.LogCaptureFixture, stored: bytes | None
) -> None:
    store = ConfigStore(bus)
    await bus.put(BUCKET, "current.gone", b"f00d")
    if stored is not None:
        await bus.put(BUCKET, "version.gone.f00d", stored)
    following = asyncio.create_task(store.follow())
    await config_store.publish(bus, FIRST, DOCUMENTS)
    await asyncio.sleep(0.01)
    assert store.versions() == {"acme": FIRST.version}
    assert "configuration not followed" in caplog.text
    gone = replace(FIRST, tenant="gone")
    gone = replace(gone, version=version_of(gone))
    await config_store.publish(bus, gone, DOCUMENTS)
    await asyncio.sleep(0.01)
    assert store.versions() == {"acme": FIRST.version, "gone": gone.version}
    await bus.stop()
    await following


async def test_an_old_version_can_still_be_had_by_name(bus: InMemoryBus) -> None:
    for config in (FIRST, SECOND):
        await config_store.publish(bus, config, DOCUMENTS)
    assert (await ConfigStore(bus).version("acme", FIRST.version)).config == FIRST


async def test_a_version_that_was_never_published_is_unavailable(bus: InMemoryBus) -> None:
    with pytest.raises(Unavailable, match="not in the store"):
        await ConfigStore(bus).version("acme", FIRST.version)


@pytest.mark.parametrize("tampered", [replace(FIRST, issuer="urn:thief"), replace(FIRST, tenant="other")])
async def test_a_version_that_does_not_have_its_digest_is_not_run(bus: InMemoryBus, tampered: TenantConfig) -> None:
    await bus.put(BUCKET, f"version.acme.{FIRST.version}", msgspec.msgpack.encode(tampered))
    with pytest.raises(Unavailable, match="does not have its digest"):
        await ConfigStore(bus).version("acme", FIRST.version)


async def test_a_version_of_another_tenant_is_not_run(bus: InMemoryBus) -> None:
    await bus.put(BUCKET, f"version.other.{FIRST.version}", msgspec.msgpack.encode(FIRST))
    with pytest.raises(Unavailable, match="does not have its digest"):
        await ConfigStore(bus).version("other", FIRST.version)


@pytest.mark.parametrize("document", [None, b"another"])
async def test_a_document_that_is_missing_or_altered_is_not_used(bus: InMemoryBus, document: bytes | None) -> None:
    await config_store.publish(bus, FIRST, {**DOCUMENTS, digest(b"one"): b"one"})
    key = f"document.acme.{digest(b'one')}"
    if document is None:
        del bus._broker._buckets[BUCKET][key]
    else:
        await bus.put(BUCKET, key, document)
    with pytest.raises(Unavailable, match="is not in the store"):
        await ConfigStore(bus).version("acme", FIRST.version)


async def test_a_worker_remembers_a_few_versions_and_reads_the_others_again(bus: InMemoryBus) -> None:
    store = ConfigStore(bus)
    versions = [_version(f"urn:{number}", DOCUMENTS) for number in range(2 * config_store._KEPT)]
    for config in versions:
        await config_store.publish(bus, config, DOCUMENTS)
        assert (await store.version("acme", config.version)).config == config
    assert list(store._versions["acme"]) == [config.version for config in versions[-config_store._KEPT :]]
    assert (await store.version("acme", versions[0].version)).config == versions[0]


# ── what was replaced ─────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_replaced_version_can_be_had_for_a_day_and_then_takes_no_room(bus: InMemoryBus, clock: Clock) -> None:
    await config_store.publish(bus, FIRST, DOCUMENTS)
    clock.now += 7 * DAY
    await config_store.publish(bus, THIRD, CHANGED)
    clock.now += DAY - 1
    assert await _had(bus, FIRST)
    clock.now += 1
    assert await bus.get(BUCKET, f"version.acme.{FIRST.version}") is None
    assert await bus.get(BUCKET, f"document.acme.{digest(b'one')}") is None
    assert await _had(bus, THIRD)


async def test_what_is_current_stays_however_often_it_is_published(bus: InMemoryBus, clock: Clock) -> None:
    for _ in range(3):
        await config_store.publish(bus, FIRST, DOCUMENTS)
        clock.now += 7 * DAY
    assert await _had(bus, FIRST)


async def test_who_goes_back_to_a_replaced_version_has_it_for_good(bus: InMemoryBus, clock: Clock) -> None:
    for config, documents in ((FIRST, DOCUMENTS), (THIRD, CHANGED), (FIRST, DOCUMENTS)):
        await config_store.publish(bus, config, documents)
        clock.now += DAY / 2
    clock.now += DAY
    assert await _had(bus, FIRST)
    assert not await _had(bus, THIRD)


async def test_a_document_of_two_tenants_stays_with_the_one_that_still_names_it(bus: InMemoryBus, clock: Clock) -> None:
    other = _version("urn:first", DOCUMENTS, tenant="other")
    for config, documents in ((FIRST, DOCUMENTS), (other, DOCUMENTS), (THIRD, CHANGED)):
        await config_store.publish(bus, config, documents)
    clock.now += 2 * DAY
    assert await _had(bus, other)
    assert not await _had(bus, FIRST)


async def test_a_publisher_that_ends_before_the_new_version_is_current_leaves_the_old_one_alone(
    bus: InMemoryBus, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await config_store.publish(bus, FIRST, DOCUMENTS)
    put = bus.put

    async def put_all_but_the_pointer(bucket: str, key: str, value: bytes, *, seconds: int | None = None) -> None:
        if key == "current.acme":
            raise Unavailable("the broker is away")
        await put(bucket, key, value, seconds=seconds)

    monkeypatch.setattr(bus, "put", put_all_but_the_pointer)
    with pytest.raises(Unavailable):
        await config_store.publish(bus, THIRD, CHANGED)
    clock.now += 2 * DAY
    assert await _had(bus, FIRST)


async def test_a_replaced_version_that_is_not_whole_stops_no_publisher(
    bus: InMemoryBus, caplog: pytest.LogCaptureFixture
) -> None:
    await config_store.publish(bus, FIRST, DOCUMENTS)
    await bus.put(BUCKET, f"document.acme.{digest(b'one')}", b"another")
    with caplog.at_level(logging.WARNING):
        await config_store.publish(bus, THIRD, CHANGED)
    assert "replaced configuration stays" in caplog.text
    assert await bus.get(BUCKET, "current.acme") == THIRD.version.encode()


@pytest.mark.integration
async def test_a_real_broker_forgets_what_was_replaced_although_it_was_killed_meanwhile(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_store, "_REPLACED_SECONDS", 2)
    config, worker = await connected(broker, "config"), await connected(broker, "match")
    await config_store.publish(config, FIRST, DOCUMENTS)
    await config_store.publish(config, THIRD, CHANGED)
    assert await _had(worker, FIRST)
    await broker.kill()
    await broker.start()

    async def forgotten(key: str) -> bool:
        return await worker.get(BUCKET, key) is None

    for key in (f"version.acme.{FIRST.version}", f"document.acme.{digest(b'one')}"):
        await eventually(lambda key=key: forgotten(key), f"{key} is not forgotten")  # type: ignore[misc]
    await asyncio.sleep(2)
    assert await _had(worker, THIRD)
    for bus in (config, worker):
        await bus.drain()
