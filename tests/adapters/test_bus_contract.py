"""One contract for both buses: in memory, and NATS with JetStream on a real server."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from bus_fixtures import connected, running_broker

from attest_pipeline import subjects
from attest_pipeline.errors import NotFound, Unavailable
from attest_pipeline.ports import Bus, Message, Record
from attest_pipeline.subjects import CONFIG, DEAD, EVIDENCE, NONCES, PARSE, RESULTS, Lane
from attest_pipeline.testing import InMemoryBroker, InMemoryBus

clock = time.time

Connect = Callable[..., Awaitable[Bus]]
"""Connects a worker kind, or a user of a tenant."""

A1 = subjects.view(Lane.EVIDENCE, "a1")


@contextlib.asynccontextmanager
async def in_memory(_: Path) -> AsyncIterator[Connect]:
    broker = InMemoryBroker(clock, ack_wait=0.5)
    broker.add_consumer(RESULTS, subjects.webhook_consumer("siem"))

    async def connect(_user: str, tenant: str = "") -> Bus:
        return InMemoryBus(broker, tenant)

    yield connect


@contextlib.asynccontextmanager
async def on_nats(directory: Path) -> AsyncIterator[Connect]:
    async with running_broker(directory) as broker, contextlib.AsyncExitStack() as stack:

        async def connect(user: str, tenant: str = "") -> Bus:
            bus = await connected(broker, user, tenant, clock=clock)
            stack.push_async_callback(bus.drain)
            return bus

        yield connect


@pytest.fixture(params=[in_memory, pytest.param(on_nats, marks=pytest.mark.integration)], ids=["memory", "nats"])
async def connect(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Connect]:
    async with request.param(tmp_path) as connector:
        yield connector


def evidence(number: int, data: bytes = b"evidence") -> Record:
    return Record(subject=A1, data=data, message_id=f"id-{number}")


async def take(bus: Bus, count: int, *, batch: int = 8, stream: str = EVIDENCE, consumer: str = PARSE) -> list[Message]:
    """The next `count` messages, not acked."""
    taken: list[Message] = []
    messages = bus.pull(stream, consumer, batch=batch)
    async with asyncio.timeout(5), contextlib.aclosing(messages):  # type: ignore[type-var]
        async for some in messages:
            assert 1 <= len(some) <= batch
            taken += some
            if len(taken) >= count:
                break
    return taken


async def nothing_comes(bus: Bus, seconds: float = 0.3) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return not await take(bus, 1)
    except TimeoutError:
        return True


class Heard:
    """A handler that remembers, and lets the test wait."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._news = asyncio.Event()

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)
        self._news.set()

    async def wait(self, count: int) -> list[Message]:
        async with asyncio.timeout(5):
            while len(self.messages) < count:
                self._news.clear()
                await self._news.wait()
        return self.messages


# ── the work queue ────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_stored_evidence_is_pulled_under_the_tenants_name(connect: Connect) -> None:
    agent, parse = await connect("a1", "acme"), await connect("parse")
    before = int(clock())
    await agent.store([Record(subject=A1, data=b"quote", message_id="x", headers={"Attest-Reply": "_INBOX_a1.r"})])
    (message,) = await take(parse, 1)
    assert message.subject == "ingest.acme.evidence.a1"
    assert message.data == b"quote"
    assert message.headers["Attest-Reply"] == "_INBOX_a1.r"
    assert before <= message.received_at <= int(clock())
    assert message.attempt == 1
    assert message.reply.startswith("$JS.ACK.EVIDENCE.parse.")


async def test_messages_come_in_order_and_in_lists_of_at_most_the_batch(connect: Connect) -> None:
    agent, parse = await connect("a1", "acme"), await connect("parse")
    await agent.store([evidence(number, str(number).encode()) for number in range(50)])
    messages = await take(parse, 50, batch=7)
    assert [int(message.data) for message in messages] == list(range(50))


async def test_acked_evidence_never_comes_again(connect: Connect) -> None:
    agent, parse, sign = await connect("a1", "acme"), await connect("parse"), await connect("sign")
    await agent.store([evidence(1)])
    (message,) = await take(parse, 1)
    await sign.ack(message.reply)
    assert await nothing_comes(parse, 0.8)


async def test_unacked_evidence_comes_again_with_its_attempt_and_its_time(connect: Connect) -> None:
    agent, parse = await connect("a1", "acme"), await connect("parse")
    await agent.store([evidence(1)])
    (first,) = await take(parse, 1)
    (second,) = await take(parse, 1)
    assert (first.attempt, second.attempt) == (1, 2)
    assert (first.data, first.received_at) == (second.data, second.received_at)


async def test_evidence_that_is_worked_on_does_not_come_again(connect: Connect) -> None:
    agent, parse = await connect("a1", "acme"), await connect("parse")
    await agent.store([evidence(1)])
    (message,) = await take(parse, 1)
    for _ in range(4):
        await parse.working(message.reply)
        assert await nothing_comes(parse, 0.3)
    (again,) = await take(parse, 1)
    assert again.attempt == 2


async def test_evidence_is_delivered_a_bounded_number_of_times(connect: Connect) -> None:
    agent, parse = await connect("a1", "acme"), await connect("parse")
    await agent.store([evidence(1)])
    for attempt in range(1, 7):
        (message,) = await take(parse, 1)
        assert message.attempt == attempt
        await parse.retry_later(message.reply, 0.05)
    assert await nothing_comes(parse, 0.8)


async def test_evidence_put_off_comes_after_its_delay(connect: Connect) -> None:
    agent, parse = await connect("a1", "acme"), await connect("parse")
    await agent.store([evidence(1)])
    (message,) = await take(parse, 1)
    start = time.monotonic()
    await parse.retry_later(message.reply, 0.2)
    (again,) = await take(parse, 1)
    assert again.attempt == 2
    assert 0.15 <= time.monotonic() - start < 0.45


async def test_two_workers_share_the_queue(connect: Connect) -> None:
    agent, one, two = await connect("a1", "acme"), await connect("parse"), await connect("parse")
    seen = Heard()

    async def work(bus: Bus) -> None:
        async for messages in bus.pull(EVIDENCE, PARSE, batch=4):
            for message in messages:
                await seen(message)
                await bus.ack(message.reply)

    tasks = [asyncio.create_task(work(bus)) for bus in (one, two)]
    await agent.store([evidence(number, str(number).encode()) for number in range(40)])
    await seen.wait(40)
    await asyncio.gather(one.stop(), two.stop())
    await asyncio.gather(*tasks)
    assert sorted(int(message.data) for message in seen.messages) == list(range(40))


async def test_a_pull_of_no_consumer_is_unavailable(connect: Connect) -> None:
    parse = await connect("webhook")
    with pytest.raises(Unavailable):
        await take(parse, 1, stream=RESULTS, consumer="webhook-unknown")


async def test_a_stopped_bus_ends_its_pull_and_gives_back_what_it_fetched_ahead(connect: Connect) -> None:
    agent, parse, other = await connect("a1", "acme"), await connect("parse"), await connect("parse")
    await agent.store([evidence(number) for number in range(6)])
    lists = []
    async for messages in parse.pull(EVIDENCE, PARSE, batch=2):
        lists.append(messages)
        for message in messages:
            await parse.ack(message.reply)
        await parse.stop()
    rest = await take(other, 6 - sum(map(len, lists)))
    assert sum(map(len, lists)) + len(rest) == 6


# ── storing ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_equal_ids_are_stored_once(connect: Connect) -> None:
    agent, parse = await connect("a1", "acme"), await connect("parse")
    await agent.store([evidence(1, b"first")])
    await agent.store([evidence(1, b"second"), evidence(2, b"third")])
    assert [message.data for message in await take(parse, 2)] == [b"first", b"third"]


@pytest.mark.parametrize("count", [1, 3, 64])
async def test_storing_again_changes_nothing_however_many(connect: Connect, count: int) -> None:
    sign, webhook = await connect("sign"), await connect("webhook")
    results = [
        Record(subject="result.acme.a1", data=str(number).encode(), message_id=f"r{number}") for number in range(count)
    ]
    await sign.store(results)
    await sign.store(results)
    more = Record(subject="result.acme.a2", data=b"last", message_id="last")
    await sign.store([*results[: count // 2], more])
    messages = await take(webhook, count + 1, stream=RESULTS, consumer="webhook-siem")
    assert [message.data for message in messages] == [*(record.data for record in results), b"last"]
    assert messages[-1].subject == "result.acme.a2"


async def test_results_stored_by_others_in_part_are_completed(connect: Connect) -> None:
    sign, webhook = await connect("sign"), await connect("webhook")
    results = [
        Record(subject="result.acme.a1", data=str(number).encode(), message_id=f"r{number}") for number in range(32)
    ]
    await sign.store(results[:20])
    await sign.store(results)
    messages = await take(webhook, 32, stream=RESULTS, consumer="webhook-siem")
    assert sorted(int(message.data) for message in messages) == list(range(32))


async def test_what_no_stream_stores_is_unavailable(connect: Connect) -> None:
    sign = await connect("sign")
    with pytest.raises(Unavailable):
        await sign.store([Record(subject="reply.acme.nowhere", data=b"", message_id="x")])


async def test_headers_of_a_record_are_kept(connect: Connect) -> None:
    parse = await connect("parse")
    record = Record(subject=subjects.dead("acme", "a1"), data=b"x", message_id="d", headers={"Why": "poison"})
    await parse.store([record, record])


# ── messages ──────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_request_is_answered_across_accounts(connect: Connect) -> None:
    agent, parse, sign = await connect("a1", "acme"), await connect("parse"), await connect("sign")

    async def answer(message: Message) -> None:
        await sign.publish(message.reply, message.subject.encode() + b"|" + message.data, headers={"A": "b"})

    await parse.serve(subjects.service(Lane.VERIFY), "parse", answer)
    reply = await agent.request(subjects.view(Lane.VERIFY, "a1"), b"?", timeout=2)
    assert reply.data == b"verify.acme.a1|?"
    assert reply.headers == {"A": "b"}


async def test_a_request_that_nobody_hears_is_unavailable(connect: Connect) -> None:
    agent = await connect("a1", "acme")
    start = time.monotonic()
    with pytest.raises(Unavailable):
        await agent.request(subjects.view(Lane.VERIFY, "a1"), b"?", timeout=5)
    assert time.monotonic() - start < 2


async def test_a_request_that_nobody_answers_is_unavailable(connect: Connect) -> None:
    agent, parse = await connect("a1", "acme"), await connect("parse")
    await parse.serve(subjects.service(Lane.VERIFY), "parse", Heard())
    with pytest.raises(Unavailable):
        await agent.request(subjects.view(Lane.VERIFY, "a1"), b"?", timeout=0.1)


async def test_a_queue_hands_each_message_to_one_member_and_no_queue_to_all(connect: Connect) -> None:
    parse = await connect("parse")
    members, together, everybody = [Heard(), Heard()], Heard(), [Heard(), Heard()]

    async def hear(member: Heard, message: Message) -> None:
        await member(message)
        await together(message)

    for member in members:
        await (await connect("match")).serve(subjects.STAGE_CLAIMS, "match", partial(hear, member))
    for one in everybody:
        await (await connect("match")).serve(subjects.STAGE_CLAIMS, "", one)
    for number in range(40):
        await parse.publish(subjects.STAGE_CLAIMS, str(number).encode())
    for one in everybody:
        assert [int(message.data) for message in await one.wait(40)] == list(range(40))
    shared = [int(message.data) for message in await together.wait(40)]
    assert sorted(shared) == list(range(40))
    assert all(member.messages for member in members)


async def test_a_handler_gets_one_message_at_a_time_and_may_fail(connect: Connect) -> None:
    parse, match = await connect("parse"), await connect("match")
    running, seen = 0, Heard()

    async def handle(message: Message) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0.01)
        running -= 1
        await seen(message)
        if message.data == b"0":
            raise ValueError("a bug")

    await match.serve(subjects.STAGE_CLAIMS, "match", handle)
    for number in range(4):
        await parse.publish(subjects.STAGE_CLAIMS, str(number).encode())
    assert [message.data for message in await seen.wait(4)] == [b"0", b"1", b"2", b"3"]


async def test_an_agent_hears_its_result_its_inbox_and_the_bell(connect: Connect) -> None:
    agent, sign, bell = await connect("a1", "acme"), await connect("sign"), await connect("bell")
    heard = Heard()
    await agent.serve(subjects.view(Lane.RESULT, "a1"), "", heard)
    await agent.serve("_INBOX_a1.job.>", "", heard)
    await agent.serve(subjects.EPOCH, "", heard)
    await sign.store([Record(subject=subjects.service(Lane.RESULT, "acme", "a1"), data=b"token", message_id="t")])
    await heard.wait(1)
    await sign.publish(subjects.reply("acme", "a1", "_INBOX_a1.job.7"), b"token")
    await heard.wait(2)
    await bell.store([Record(subject=subjects.epoch("acme"), data=b"tick", message_id="e1")])
    assert [(message.subject, message.data) for message in await heard.wait(3)] == [
        ("attest.v1.result.a1", b"token"), ("_INBOX_a1.job.7", b"token"), ("attest.v1.epoch", b"tick"),
    ]  # fmt: skip


async def test_the_last_tick_can_be_asked_for(connect: Connect) -> None:
    agent, bell = await connect("a1", "acme"), await connect("bell")
    with pytest.raises(NotFound):
        await agent.request(subjects.LAST_EPOCH, b"", timeout=2)
    for tick in (b"one", b"two"):
        await bell.store([Record(subject=subjects.epoch("acme"), data=tick, message_id=tick.decode())])
    await bell.store([Record(subject=subjects.epoch("other"), data=b"three", message_id="three")])
    assert (await agent.request(subjects.LAST_EPOCH, b"", timeout=2)).data == b"two"
    assert (await bell.request(subjects.last_epoch("acme"), b"", timeout=2)).data == b"two"


# ── buckets ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_key_has_its_latest_value(connect: Connect) -> None:
    config, parse = await connect("config"), await connect("parse")
    assert await parse.get(CONFIG, "current.acme") is None
    await config.put(CONFIG, "current.acme", b"1")
    await config.put(CONFIG, "current.acme", b"")
    assert await parse.get(CONFIG, "current.acme") == b""


async def test_a_key_that_is_set_for_a_while_is_forgotten_unless_it_is_set_again(connect: Connect) -> None:
    config, parse = await connect("config"), await connect("parse")
    for key in ("version.acme.old", "version.acme.again"):
        await config.put(CONFIG, key, b"1")
        await config.put(CONFIG, key, b"1", seconds=1)
    await config.put(CONFIG, "version.acme.again", b"2")
    assert await parse.get(CONFIG, "version.acme.old") == b"1"
    await asyncio.sleep(2)
    assert await parse.get(CONFIG, "version.acme.old") is None
    assert await parse.get(CONFIG, "version.acme.again") == b"2"


async def test_only_the_first_creates_a_key(connect: Connect) -> None:
    one, two = await connect("parse"), await connect("parse")
    answers = await asyncio.gather(*(bus.create(NONCES, "n", name) for bus, name in ((one, b"1"), (two, b"2"))))
    winner = await one.get(NONCES, "n")
    assert sorted(answers, key=lambda answer: answer is not None) == [None, winner]
    assert await one.create(NONCES, "n", b"3") == winner


async def test_a_watch_shows_what_is_there_and_what_changes_until_the_bus_stops(connect: Connect) -> None:
    config, parse = await connect("config"), await connect("parse")
    await config.put(CONFIG, "current.acme", b"1")
    await config.put(CONFIG, "version.acme.x", b"no match")
    seen: list[tuple[str, bytes]] = []
    news = asyncio.Event()

    async def follow() -> None:
        async for change in parse.watch(CONFIG, "current.>"):
            seen.append(change)
            news.set()

    following = asyncio.create_task(follow())
    for number, value in enumerate((b"2", b"3"), 1):
        async with asyncio.timeout(5):
            while len(seen) < number:
                await news.wait()
                news.clear()
        await config.put(CONFIG, "current.acme", value)
    async with asyncio.timeout(5):
        while len(seen) < 3:
            await news.wait()
            news.clear()
        await parse.stop()
        await following
    assert seen == [("current.acme", b"1"), ("current.acme", b"2"), ("current.acme", b"3")]


async def test_a_bucket_that_is_not_there_is_unavailable(connect: Connect) -> None:
    provisioner = await connect("provisioner")
    with pytest.raises(Unavailable):
        await provisioner.get("none", "x")


# ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_draining_lets_handlers_finish_and_sends_what_they_say(connect: Connect) -> None:
    parse, match, appraise = await connect("parse"), await connect("match"), await connect("appraise")
    heard, started = Heard(), asyncio.Event()

    async def handle(message: Message) -> None:
        started.set()
        await asyncio.sleep(0.05)
        await match.publish(subjects.STAGE_MATCH, message.data)

    await appraise.serve(subjects.STAGE_MATCH, "appraise", heard)
    await match.serve(subjects.STAGE_CLAIMS, "match", handle)
    for number in range(5):
        await parse.publish(subjects.STAGE_CLAIMS, str(number).encode())
    await started.wait()
    await asyncio.sleep(0.02)
    await match.drain()
    assert [message.data for message in await heard.wait(5)] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_stopped_bus_still_sends_and_a_drained_one_does_not(connect: Connect) -> None:
    sign, webhook = await connect("sign"), await connect("webhook")
    await sign.stop()
    await sign.store([Record(subject="result.acme.a1", data=b"x", message_id="x")])
    assert len(await take(webhook, 1, stream=RESULTS, consumer="webhook-siem")) == 1
    await sign.drain()
    await sign.drain()
    with pytest.raises(Unavailable):
        await sign.publish("result.acme.a1", b"x")
    with pytest.raises(Unavailable):
        await sign.store([Record(subject="result.acme.a1", data=b"x", message_id="y")])


async def test_everything_published_before_the_end_arrives(connect: Connect) -> None:
    parse, match = await connect("parse"), await connect("match")
    heard = Heard()
    await match.serve(subjects.STAGE_CLAIMS, "match", heard)
    for number in range(3000):
        await parse.publish(subjects.STAGE_CLAIMS, number.to_bytes(1000))
    await parse.drain()
    assert [int.from_bytes(message.data) for message in await heard.wait(3000)] == list(range(3000))


def test_the_dead_have_a_stream() -> None:
    assert subjects.STREAMS[DEAD] == ("dead.>",)
