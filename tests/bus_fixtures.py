"""A real nats-server for tests: started on free ports, provisioned, with a connector for each user."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from attest_pipeline.adapters.broker import Broker
from attest_pipeline.adapters.nats_bus import NatsBus
from attest_pipeline.adapters.nats_config import PROVISIONER, BrokerSpec, Tenant
from attest_pipeline.adapters.provision import Provisioning, provision
from attest_pipeline.cli import stack

TENANTS = (
    Tenant(name="acme", agents=("a1", "a2"), gateways=("g1",), fleet=True),
    Tenant(name="other", agents=("a1",)),
)
QUICK = Provisioning(ack_waits=(0.5,), max_deliver=6)


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on."""
    first = stack.free_ports(count)
    return list(range(first, first + count))


@contextlib.asynccontextmanager
async def running_broker(
    directory: Path,
    *,
    settings: Provisioning = QUICK,
    tenants: tuple[Tenant, ...] = TENANTS,
    sync_always: bool = False,
    webhooks: tuple[str, ...] = ("siem",),
) -> AsyncIterator[Broker]:
    """Start and provision a server in a directory; stop it at the end of the block."""
    port, http_port = free_ports(2)
    spec = BrokerSpec(
        store=str(directory / "store"), port=port, http_port=http_port, sync_always=sync_always, tenants=tenants
    )
    broker = Broker(directory, spec)
    await broker.start()
    try:
        await provision(broker.url, broker.credentials(PROVISIONER), webhooks=webhooks, settings=settings)
        yield broker
    finally:
        await broker.stop()


async def connected(broker: Broker, user: str, tenant: str = "", clock: Callable[[], float] = lambda: 0.0) -> NatsBus:
    """A bus of that user."""
    return await NatsBus.connect(broker.url, credentials=broker.credentials(user, tenant), name=user, clock=clock)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    """A provisioned server, fresh for the test."""
    async with running_broker(tmp_path / "broker") as started:
        yield started
