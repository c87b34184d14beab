"""The same pipeline in memory: every stage process as tasks on a broker in memory, or all stages as one."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from importlib import import_module

from attest_pipeline.adapters.config_store import ConfigStore
from attest_pipeline.adapters.site import Site
from attest_pipeline.testing import InMemoryBroker, InMemoryBus
from workers._process import Process, run_until_stopped
from workers._settings import Settings

STAGES = ("parse", "match", "appraise", "sign")
FUSED = ("all",)


def settings_of(site: Site, tenants: Sequence[str], policies: str, **changes: object) -> Settings:
    """Settings of any worker kind on that site."""
    return Settings(
        signing_key=site.signing_key,
        nonce_key=site.nonce_key,
        bell_key=site.bell_key,
        bell_keys=site.bell_jwks,
        config=site.config,
        policies=site.root.__class__(policies),
        tenants=",".join(tenants),
        **changes,  # type: ignore[arg-type]
    )


@contextlib.asynccontextmanager
async def in_memory(
    settings: Settings, kinds: Sequence[str], *, clock: Callable[[], float] = time.time
) -> AsyncIterator[InMemoryBroker]:
    """Run worker kinds, the bell and the configuration publisher on one broker until the block ends."""
    broker = InMemoryBroker(clock, ack_wait=2.0)
    stopping = asyncio.Event()
    tasks = []
    for kind in ("config", "bell", *kinds):
        bus = InMemoryBus(broker)
        process = Process(settings=settings, bus=bus, configs=ConfigStore(bus), stopping=stopping, clock=clock)
        tasks.append(asyncio.create_task(run_until_stopped(process, import_module(f"workers.{kind}").run)))
    try:
        yield broker
    finally:
        stopping.set()
        await asyncio.gather(*tasks)
