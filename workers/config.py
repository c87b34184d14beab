"""config: watches the directory of tenant configurations and publishes every valid change as a new version."""

import contextlib
import logging
from pathlib import Path
from typing import Final

from attest_pipeline.adapters import config_dir, config_store, files, metrics
from attest_pipeline.adapters.rego import RegoEngine
from attest_pipeline.endorsing import Snapshot
from attest_pipeline.errors import Misconfigured, Unavailable
from attest_pipeline.pipeline import Parse
from attest_pipeline.ports import Bus
from workers._process import Process

_LOOK_SECONDS: Final = 1.0
_log: Final = logging.getLogger(__name__)


async def run(process: Process) -> None:
    """Publish the configuration, then follow its directory until the process is told to stop."""
    root, policies = process.settings.path("config"), process.settings.path("policies")
    if not root.is_dir():
        raise Misconfigured(f"ATTEST_CONFIG: {root} is no directory")
    engine = RegoEngine()
    seen: dict[str, frozenset[tuple[str, int, int]]] = {}
    try:
        while not process.stopping.is_set():
            for tenant in config_dir.tenants(root):
                state = _state(root / tenant, policies)
                if state != seen.get(tenant) and await publish(process.bus, root / tenant, policies, engine):
                    seen[tenant] = state
            await process.sleep(_LOOK_SECONDS)
    finally:
        engine.close()


async def publish(bus: Bus, directory: Path, policies: Path, engine: RegoEngine) -> bool:
    """Publish one tenant's directory. What is not valid is logged, and the version before stays current.

    False if the store did not take it, which is logged too: the same may succeed later.
    """
    try:
        config, documents = config_dir.read(directory, policies, engine.vet)
        Parse(config, Snapshot(config.endorsements, documents), nonce_key=b"")  # a version that none could run is none
        config_store.check_sizes(config, documents)
        await config_store.publish(bus, config, documents)
    except Misconfigured as error:
        metrics.CONFIG_PUBLISHED.labels("refused").inc()
        _log.error("configuration refused", extra={"tenant": directory.name, "why": str(error)})
        return True
    except Unavailable as error:
        metrics.CONFIG_PUBLISHED.labels("failed").inc()
        _log.error("configuration not published yet", extra={"tenant": directory.name, "why": str(error)})
        return False
    metrics.CONFIG_PUBLISHED.labels("published").inc()
    _log.info("configuration published", extra={"tenant": config.tenant, "version": config.version})
    return True


def _state(*roots: Path) -> frozenset[tuple[str, int, int]]:
    """What tells a changed directory: names, times of change, and sizes."""
    found = set()
    for root in roots:
        with contextlib.suppress(Misconfigured):  # `publish` says what cannot be read
            for path in files.below(root):
                with contextlib.suppress(OSError):  # an editor's file, gone since it was listed, or a link to itself
                    stat = path.stat()
                    found.add((str(path), stat.st_mtime_ns, stat.st_size))
    return frozenset(found)
