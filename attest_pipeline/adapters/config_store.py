"""Configuration versions in the broker's key-value store: immutable versions, one current pointer for each tenant.

Every document and version is named by its SHA-256 and checked on the way in, so a worker runs what was published or
nothing. What is current stays; a version that another has replaced is forgotten by the broker itself a day later
(`docs/adr/0013-replaced-configurations.md`).
"""

import logging
from collections import defaultdict
from collections.abc import Container, Mapping
from typing import Final, NamedTuple

import msgspec

from attest_pipeline.adapters.nats_config import MAX_PAYLOAD
from attest_pipeline.errors import Misconfigured, NotFound, Unavailable
from attest_pipeline.model import TenantConfig
from attest_pipeline.owner.tenant import digest, version_of
from attest_pipeline.ports import Bus

BUCKET: Final = "config"
_KEPT: Final = 8
"""Versions of each tenant that a worker remembers; older ones are read again when a late frame names one."""
_REPLACED_SECONDS: Final = 86_400
"""How long a replaced version can still be had. A frame names its version for seconds, and Evidence that comes again is
judged under the current one."""
MAX_VALUE: Final = MAX_PAYLOAD - 4096
"""Bytes of a version, or of one document: what a message of the broker holds beside its headers."""
_log: Final = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """A configuration version with its documents by digest."""

    config: TenantConfig
    documents: Mapping[str, bytes]


def check_sizes(config: TenantConfig, documents: Mapping[str, bytes]) -> None:
    """Raises Misconfigured for a version that could not be stored: it, or one of its documents, fits no message."""
    size = len(msgspec.msgpack.encode(config))
    if size > MAX_VALUE:
        raise Misconfigured(f"{size} bytes of policies and Reference Values; {MAX_VALUE} fit the broker: list fewer")
    for name, digests in config.endorsements.items():
        size = max(len(documents[one]) for one in digests)
        if size > MAX_VALUE:
            raise Misconfigured(f"endorsement {name} has {size} bytes; {MAX_VALUE} fit the broker")


async def publish(bus: Bus, config: TenantConfig, documents: Mapping[str, bytes]) -> None:
    """Store a version and its documents, make it the tenant's current one, and let the one before be forgotten.

    A tenant's versions are published one after the other, by one process. Raises Unavailable.
    """
    current = f"current.{config.tenant}"
    before = await bus.get(BUCKET, current)
    await _put(bus, Loaded(config, documents))
    await bus.put(BUCKET, current, config.version.encode())
    if before is not None and before.decode() != config.version:
        await _retire(bus, config.tenant, before.decode(), documents)


async def _retire(bus: Bus, tenant: str, version: str, kept: Container[str]) -> None:
    """Store a replaced version, and its documents that are not kept, once more and with an end.

    Only after another is current: whatever ends this process, too much is kept and never too little.
    """
    try:
        config, documents = await ConfigStore(bus).version(tenant, version)
        alone = {name: document for name, document in documents.items() if name not in kept}
        await _put(bus, Loaded(config, alone), _REPLACED_SECONDS)
    except Unavailable as error:
        _log.warning("replaced configuration stays", extra={"tenant": tenant, "version": version, "why": str(error)})


async def _put(bus: Bus, loaded: Loaded, seconds: int | None = None) -> None:
    """Documents come first, so that whoever finds the version finds them too."""
    config = loaded.config
    for name, document in loaded.documents.items():
        await bus.put(BUCKET, _document(config.tenant, name), document, seconds=seconds)
    await bus.put(BUCKET, _version(config.tenant, config.version), msgspec.msgpack.encode(config), seconds=seconds)


def _version(tenant: str, version: str) -> str:
    return f"version.{tenant}.{version}"


def _document(tenant: str, name: str) -> str:
    """A tenant's own: no other tenant's version could need it when it is forgotten."""
    return f"document.{tenant}.{name}"


class ConfigStore:
    """A worker's view: the current version of each tenant, followed live, and any version by name."""

    def __init__(self, bus: Bus) -> None:
        """Read through the bus; call `follow` in a task to learn of changes."""
        self._bus = bus
        self._versions: dict[str, dict[str, Loaded]] = defaultdict(dict)
        self._current: dict[str, Loaded] = {}

    async def follow(self) -> None:
        """Keep the current versions current until the bus drains.

        What the store holds of one tenant stops no other: its version before stays in force. The `config` worker reads
        this too, and is the one that can put it right.
        """
        async for key, value in self._bus.watch(BUCKET, "current.>"):
            tenant = key.removeprefix("current.")
            try:
                self._current[tenant] = await self.version(tenant, value.decode(errors="replace"))
            except NotFound as error:
                _log.error("configuration not followed", extra={"tenant": tenant, "why": str(error)})

    def current(self, tenant: str) -> Loaded | None:
        """Current version of a tenant, if it has one."""
        return self._current.get(tenant)

    def versions(self) -> dict[str, str]:
        """Current version of every tenant that has one."""
        return {tenant: loaded.config.version for tenant, loaded in self._current.items()}

    async def version(self, tenant: str, version: str) -> Loaded:
        """A version by its digest. Raises Unavailable, and NotFound if the store does not hold exactly that."""
        known = self._versions[tenant]
        if version not in known:
            known[version] = await self._load(tenant, version)
            if len(known) > _KEPT:
                del known[next(iter(known))]
        return known[version]

    async def _load(self, tenant: str, version: str) -> Loaded:
        data = await self._bus.get(BUCKET, _version(tenant, version))
        if data is None:
            raise NotFound(f"configuration {version[:12]} of tenant {tenant} is not in the store")
        config = _decoded(data, f"configuration {version[:12]} of tenant {tenant}")
        if version_of(config) != version or config.tenant != tenant:
            raise NotFound(f"configuration {version[:12]} of tenant {tenant} does not have its digest")
        names = (name for names in config.endorsements.values() for name in names)
        return Loaded(config, {name: await self._document(tenant, name) for name in names})

    async def _document(self, tenant: str, name: str) -> bytes:
        data = await self._bus.get(BUCKET, _document(tenant, name))
        if data is None or digest(data) != name:
            raise NotFound(f"document {name[:12]} is not in the store")
        return data


def _decoded(data: bytes, what: str) -> TenantConfig:
    try:
        return msgspec.msgpack.decode(data, type=TenantConfig)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotFound(f"{what} is not of this release: {error}") from None
