"""Configuration versions in the broker's key-value store: immutable versions, one current pointer for each tenant.

Every document and version is named by its SHA-256 and checked on the way in, so a worker runs what was published or
nothing.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from attest_pipeline.errors import Unavailable
from attest_pipeline.model import TenantConfig
from attest_pipeline.owner.tenant import digest, version_of
from attest_pipeline.ports import Bus

BUCKET: Final = "config"
_KEPT: Final = 8
"""Versions of each tenant that a worker remembers; older ones are read again when a late frame names one."""


class Loaded(NamedTuple):
    """A configuration version with its documents by digest."""

    config: TenantConfig
    documents: Mapping[str, bytes]


async def publish(bus: Bus, config: TenantConfig, documents: Mapping[str, bytes]) -> None:
    """Store a version and its documents, then make it the tenant's current one."""
    for name, document in documents.items():
        await bus.put(BUCKET, f"document.{name}", document)
    await bus.put(BUCKET, f"version.{config.tenant}.{config.version}", msgspec.msgpack.encode(config))
    await bus.put(BUCKET, f"current.{config.tenant}", config.version.encode())


class ConfigStore:
    """A worker's view: the current version of each tenant, followed live, and any version by name."""

    def __init__(self, bus: Bus) -> None:
        """Read through the bus; call `follow` in a task to learn of changes."""
        self._bus = bus
        self._versions: dict[str, dict[str, Loaded]] = defaultdict(dict)
        self._current: dict[str, Loaded] = {}

    async def follow(self) -> None:
        """Keep the current versions current until the bus drains."""
        async for key, value in self._bus.watch(BUCKET, "current.>"):
            tenant = key.removeprefix("current.")
            self._current[tenant] = await self.version(tenant, value.decode())

    def current(self, tenant: str) -> Loaded | None:
        """Current version of a tenant, if it has one."""
        return self._current.get(tenant)

    def versions(self) -> dict[str, str]:
        """Current version of every tenant that has one."""
        return {tenant: loaded.config.version for tenant, loaded in self._current.items()}

    async def version(self, tenant: str, version: str) -> Loaded:
        """A version by its digest. Raises Unavailable if the store does not hold exactly that."""
        known = self._versions[tenant]
        if version not in known:
            known[version] = await self._load(tenant, version)
            if len(known) > _KEPT:
                del known[next(iter(known))]
        return known[version]

    async def _load(self, tenant: str, version: str) -> Loaded:
        data = await self._bus.get(BUCKET, f"version.{tenant}.{version}")
        if data is None:
            raise Unavailable(f"configuration {version[:12]} of tenant {tenant} is not in the store")
        config = msgspec.msgpack.decode(data, type=TenantConfig)
        if version_of(config) != version or config.tenant != tenant:
            raise Unavailable(f"configuration {version[:12]} of tenant {tenant} does not have its digest")
        documents = {name: await self._document(name) for names in config.endorsements.values() for name in names}
        return Loaded(config, documents)

    async def _document(self, name: str) -> bytes:
        data = await self._bus.get(BUCKET, f"document.{name}")
        if data is None or digest(data) != name:
            raise Unavailable(f"document {name[:12]} is not in the store")
        return data
