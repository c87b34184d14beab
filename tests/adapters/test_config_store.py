"""Configuration versions in a bucket: a worker runs what was published, or nothing."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
import token_lab
from msgspec.structs import replace

from attest_pipeline.adapters import config_store
from attest_pipeline.adapters.config_store import BUCKET, ConfigStore
from attest_pipeline.errors import Unavailable
from attest_pipeline.model import TenantConfig
from attest_pipeline.owner.tenant import digest, version_of
from attest_pipeline.testing import InMemoryBroker, InMemoryBus

DOCUMENTS = {digest(data): data for data in (b"one", b"two")}


def _version(issuer: str) -> TenantConfig:
    config = replace(token_lab.CONFIG, issuer=issuer, endorsements={"amd-chain/milan": tuple(DOCUMENTS)})
    return replace(config, version=version_of(config))


FIRST, SECOND = _version("urn:first"), _version("urn:second")


@pytest.fixture
async def bus() -> AsyncIterator[InMemoryBus]:
    bus = InMemoryBus(InMemoryBroker(lambda: 0.0))
    yield bus
    await bus.drain()


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
    key = f"document.{digest(b'one')}"
    if document is None:
        del bus._broker._buckets[BUCKET][key]
    else:
        await bus.put(BUCKET, key, document)
    with pytest.raises(Unavailable, match="is not in the store"):
        await ConfigStore(bus).version("acme", FIRST.version)


async def test_a_worker_remembers_a_few_versions_and_reads_the_others_again(bus: InMemoryBus) -> None:
    store = ConfigStore(bus)
    versions = [_version(f"urn:{number}") for number in range(2 * config_store._KEPT)]
    for config in versions:
        await config_store.publish(bus, config, DOCUMENTS)
        assert (await store.version("acme", config.version)).config == config
    assert list(store._versions["acme"]) == [config.version for config in versions[-config_store._KEPT :]]
    assert (await store.version("acme", versions[0].version)).config == versions[0]
