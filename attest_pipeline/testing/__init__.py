"""Shipped fakes: a broker in memory with the semantics of NATS and JetStream, and a bus on it."""

from attest_pipeline.testing.broker import InMemoryBroker
from attest_pipeline.testing.bus import InMemoryBus

__all__ = ["InMemoryBroker", "InMemoryBus"]
