"""What the broker in memory does beyond the contract: an injected clock, capacity, forgetful buckets."""

import asyncio

import pytest

from attest_pipeline.errors import Unavailable
from attest_pipeline.ports import Record
from attest_pipeline.subjects import CONFIG, EVIDENCE, NONCES, PARSE, RESULTS
from attest_pipeline.testing import InMemoryBroker, InMemoryBus


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def evidence(number: int) -> Record:
    return Record(subject="ingest.acme.evidence.a1", data=b"%d" % number, message_id=f"e{number}")


async def test_time_is_the_injected_clocks() -> None:
    clock = Clock()
    broker = InMemoryBroker(clock, ack_wait=30, duplicate_window=100)
    await InMemoryBus(broker).store([evidence(1)])
    (first,) = broker.take(EVIDENCE, PARSE, 5)
    assert first.received_at == 1_000
    assert broker.take(EVIDENCE, PARSE, 5) == []
    clock.now += 30
    (again,) = broker.take(EVIDENCE, PARSE, 5)
    assert (again.attempt, again.received_at) == (2, 1_000)
    broker.ack(again.reply)
    broker.ack(again.reply)
    broker.retry_later(again.reply, 0)
    clock.now += 100
    assert broker.take(EVIDENCE, PARSE, 5) == []
    assert broker.stored(EVIDENCE) == []
    await InMemoryBus(broker).store([evidence(1)])
    assert len(broker.stored(EVIDENCE)) == 1


async def test_a_full_stream_refuses_and_takes_again_once_work_is_done() -> None:
    broker = InMemoryBroker(Clock(), capacity={EVIDENCE: 2})
    bus = InMemoryBus(broker)
    await bus.store([evidence(1), evidence(2)])
    with pytest.raises(Unavailable, match="full"):
        await bus.store([evidence(3)])
    await bus.ack(broker.take(EVIDENCE, PARSE, 1)[0].reply)
    await bus.store([evidence(3)])


async def test_a_bucket_forgets_after_its_time() -> None:
    clock = Clock()
    bus = InMemoryBus(InMemoryBroker(clock, ttl={NONCES: 60}))
    assert await bus.create(NONCES, "n", b"1") is None
    assert await bus.create(NONCES, "n", b"2") == b"1"
    clock.now += 60
    assert await bus.create(NONCES, "n", b"3") is None
    clock.now += 60
    watching = bus.watch(NONCES, ">")
    following = asyncio.ensure_future(anext(aiter(watching)))
    await asyncio.sleep(0)
    await bus.put(CONFIG, "n", b"elsewhere")
    await bus.put(NONCES, "m", b"4")
    assert await following == ("m", b"4")


async def test_a_consumer_made_later_gets_what_is_stored_already_and_once() -> None:
    broker = InMemoryBroker(Clock())
    bus = InMemoryBus(broker)
    await bus.store([Record(subject="result.acme.a1", data=b"1", message_id="1")])
    broker.add_consumer(RESULTS, "webhook-siem")
    broker.add_consumer(RESULTS, "webhook-siem")
    (message,) = broker.take(RESULTS, "webhook-siem", 5)
    await bus.ack(message.reply)
    assert len(broker.stored(RESULTS)) == 1
    with pytest.raises(Unavailable, match="no consumer"):
        broker.take("NONE", "x", 1)


async def test_a_message_sent_to_a_streams_subject_is_stored_as_on_the_server() -> None:
    broker = InMemoryBroker(Clock())
    await InMemoryBus(broker, "acme").publish("attest.v1.evidence.a1", b"x")
    assert [message.subject for message in broker.stored(EVIDENCE)] == ["ingest.acme.evidence.a1"]
