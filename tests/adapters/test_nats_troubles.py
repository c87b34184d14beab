"""A server that is silent, stuck or wrong: what the parts of the NATS bus make of it. The link is scripted."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import nkeys
import pytest
from bus_fixtures import connected, running_broker

from attest_pipeline.adapters import nats_bus, nats_kv, nats_link, nats_pull, nats_store
from attest_pipeline.adapters.broker import Broker
from attest_pipeline.adapters.nats_bus import NatsBus
from attest_pipeline.adapters.nats_kv import Watch
from attest_pipeline.adapters.nats_link import Link, Raw, Sink, parsed, status
from attest_pipeline.adapters.nats_pull import Pull
from attest_pipeline.adapters.provision import Provisioning
from attest_pipeline.errors import Misconfigured, Unavailable
from attest_pipeline.ports import Message, Record

ACK = b"$JS.ACK.EVIDENCE.parse.1.7.7.1795438624020125218.0"
LONG_ACK = b"$JS.ACK.hub.ABCDEF.EVIDENCE.parse.3.7.7.1795438624020125218.0.rnd"
STUCK = {"num_pending": 5, "num_ack_pending": 0, "config": {"max_ack_pending": 10}}
BUSY = {"num_pending": 5, "num_ack_pending": 10, "config": {"max_ack_pending": 10}}
IDLE = {"num_pending": 0, "num_ack_pending": 0, "config": {"max_ack_pending": 10}}


class Server:
    """What nats-py tells of a server when it asks where to reconnect."""

    def __init__(self, reconnects: int) -> None:
        self.reconnects = reconnects


class ScriptedLink(Link):
    """A link whose server answers what the test says; `sent` keeps what it was sent."""

    def __init__(self, answer: Callable[["ScriptedLink", str, str], None] = lambda *_: None) -> None:
        super().__init__("_INBOX_x")
        self.sent: list[tuple[str, bytes, str]] = []
        self.sink: Sink | None = None
        self.listened = 0
        self.info: object = IDLE
        self._answer = answer

    @property
    def connected(self) -> bool:
        return True

    async def send(self, subject: str, data: bytes, reply: str = "", headers: Mapping[str, str] | None = None) -> None:
        self.sent.append((subject, data, reply))
        del headers
        self._answer(self, subject, reply)

    async def listen(self, _subject: str, _queue: str, sink: Sink) -> object:
        self.sink = sink
        self.listened += 1
        return object()

    async def flush(self) -> None:
        pass

    async def unlisten(self, *_: Any) -> None:
        self.sink = None

    async def request(self, *_: Any) -> Raw:
        return b"", b"", msgspec.json.encode(self.info), None

    def answer(self, address: str, data: bytes, headers: bytes | None = None) -> None:
        """Let the server answer to an address of the inbox."""
        self._answered(address.encode(), b"", data, headers)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_pull, "_SILENCE", 0.02)
    monkeypatch.setattr(nats_pull, "_PAUSE", 0.001)
    monkeypatch.setattr(nats_store, "ACK_SECONDS", 0.02)
    monkeypatch.setattr(nats_store, "_PAUSE", 0.001)
    monkeypatch.setattr(nats_kv, "_SECONDS", 0.02)


async def first(pull: Pull) -> list[Message]:
    async with contextlib.aclosing(pull.lists()) as lists:
        return await anext(lists)


def requests(link: ScriptedLink) -> int:
    return sum(subject.startswith("$JS.API.CONSUMER.MSG.NEXT") for subject, _, _ in link.sent)


# ── pulling ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_lost_request_is_made_again() -> None:
    def second_time(link: ScriptedLink, _subject: str, _reply: str) -> None:
        if requests(link) == 2 and link.sink:
            link.sink(b"ingest.acme.evidence.a1", ACK, b"x", None)

    (message,) = await first(Pull(ScriptedLink(second_time), "EVIDENCE", "parse", 4))
    assert (message.data, message.attempt, message.received_at) == (b"x", 1, 1795438624)


async def test_an_ack_subject_with_domain_and_account_is_understood() -> None:
    def deliver(link: ScriptedLink, _subject: str, _reply: str) -> None:
        if link.sink:
            link.sink(b"ingest.acme.evidence.a1", LONG_ACK, b"x", b"NATS/1.0\r\nA: b\r\nno header\r\n\r\n")

    (message,) = await first(Pull(ScriptedLink(deliver), "EVIDENCE", "parse", 1))
    assert (message.attempt, message.received_at) == (3, 1795438624)
    assert message.headers == {"A": "b", "no header": ""}


async def test_a_consumer_that_holds_messages_back_is_subscribed_anew_and_then_given_up() -> None:
    link = ScriptedLink()
    link.info = STUCK
    with pytest.raises(Unavailable, match="none is delivered"):
        await first(Pull(link, "EVIDENCE", "parse", 4))
    assert link.listened == 3


@pytest.mark.parametrize("info", [{"error": {"code": 404}}, "nonsense"])
async def test_a_consumer_that_cannot_be_asked_about_counts_as_stuck(info: object) -> None:
    link = ScriptedLink()
    link.info = info
    with pytest.raises(Unavailable, match="none is delivered"):
        await first(Pull(link, "EVIDENCE", "parse", 4))


@pytest.mark.parametrize("info", [IDLE, BUSY])
async def test_a_consumer_with_nothing_to_give_is_waited_for(info: object) -> None:
    def tenth_time(link: ScriptedLink, _subject: str, _reply: str) -> None:
        if requests(link) == 10 and link.sink:
            link.sink(b"ingest.acme.evidence.a1", ACK, b"x", None)

    link = ScriptedLink(tenth_time)
    link.info = info
    assert len(await first(Pull(link, "EVIDENCE", "parse", 4))) == 1
    assert link.listened == 1


@pytest.mark.parametrize("refusal", [b"NATS/1.0 409 Server Shutdown\r\n\r\n", b"NATS/1.0 503\r\n\r\n"])
async def test_a_request_refused_again_and_again_is_unavailable(refusal: bytes) -> None:
    def refuse(link: ScriptedLink, _subject: str, _reply: str) -> None:
        if link.sink:
            link.sink(b"", b"", b"", refusal)

    with pytest.raises(Unavailable, match="refuses"):
        await first(Pull(ScriptedLink(refuse), "EVIDENCE", "parse", 4))


async def test_requests_are_asked_for_ahead_and_again_at_half() -> None:
    def deliver_one(link: ScriptedLink, _subject: str, _reply: str) -> None:
        if link.sink and requests(link) == 1:
            for _ in range(4):
                link.sink(b"ingest.acme.evidence.a1", ACK, b"x", None)

    link = ScriptedLink(deliver_one)
    pull = Pull(link, "EVIDENCE", "parse", 4)
    async with contextlib.aclosing(pull.lists()) as lists:
        await anext(lists)
        assert [msgspec.json.decode(data)["batch"] for _, data, _ in link.sent] == [8]
        pull.close()
        with pytest.raises(StopAsyncIteration):
            await anext(lists)


async def test_a_request_that_ends_unfilled_is_made_again_for_what_is_missing() -> None:
    def expire(link: ScriptedLink, _subject: str, _reply: str) -> None:
        if not link.sink:
            return
        if requests(link) == 1:
            link.sink(b"", b"", b"", b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 8\r\n\r\n")
        else:
            link.sink(b"ingest.acme.evidence.a1", ACK, b"x", None)

    link = ScriptedLink(expire)
    await first(Pull(link, "EVIDENCE", "parse", 4))
    assert [msgspec.json.decode(data)["batch"] for _, data, _ in link.sent] == [8, 8]


# ── storing ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def results(count: int) -> list[Record]:
    return [Record(subject="result.acme.a1", data=b"x", message_id=f"r{number}") for number in range(count)]


async def test_what_is_not_acked_in_time_is_sent_again_and_nothing_else() -> None:
    def every_other_first(link: ScriptedLink, _subject: str, reply: str) -> None:
        if len(link.sent) > 3 or len(link.sent) % 2:
            link.answer(reply, b'{"stream":"RESULTS","seq":1}')

    link = ScriptedLink(every_other_first)
    await nats_store.store(link, results(3))
    addresses = [reply for _, _, reply in link.sent]
    assert addresses[3:] == [addresses[1]]


async def test_a_stream_that_never_answers_is_unavailable() -> None:
    link = ScriptedLink()
    with pytest.raises(Unavailable, match="2 of 2 records not stored"):
        await nats_store.store(link, results(2))
    assert len(link.sent) == 6
    assert link._routes == {}


async def test_a_batch_whose_commit_is_not_answered_goes_singly() -> None:
    def single(link: ScriptedLink, _subject: str, reply: str) -> None:
        if len(link.sent) > 8:
            link.answer(reply, b'{"stream":"RESULTS","seq":1}')

    link = ScriptedLink(single)
    await nats_store.store(link, results(8))
    assert len(link.sent) == 16


# ── buckets ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_bucket_that_does_not_answer_is_unavailable() -> None:
    watch = Watch(ScriptedLink(), "config", ">")
    with pytest.raises(Unavailable, match="does not answer"):
        await anext(watch.values())


@pytest.mark.parametrize("code", [b"413", b"503"])
async def test_a_bucket_that_refuses_is_unavailable(code: bytes) -> None:
    def refuse(link: ScriptedLink, _subject: str, reply: str) -> None:
        if reply:
            link.answer(reply, b"", b"NATS/1.0 " + code + b"\r\n\r\n")

    with pytest.raises(Unavailable, match=code.decode()):
        await anext(Watch(ScriptedLink(refuse), "config", ">").values())


async def test_a_key_that_an_operator_deleted_has_no_value() -> None:
    deleted = b"NATS/1.0\r\nKV-Operation: DEL\r\nNats-Sequence: 4\r\nNats-Subject: $KV.config.a\r\n\r\n"
    present = b"NATS/1.0\r\nNats-Sequence: 5\r\nNats-Subject: $KV.config.b\r\n\r\n"

    def deliver(link: ScriptedLink, _subject: str, reply: str) -> None:
        link.answer(reply, b"", deleted)
        link.answer(reply, b"2", present)
        link.answer(reply, b"", b"NATS/1.0 204 EOB\r\n\r\n")

    assert await anext(Watch(ScriptedLink(deliver), "config", ">").values()) == ("b", b"2")

    class Deleted(ScriptedLink):
        async def request(self, *_: Any) -> Raw:
            return b"", b"", b"", deleted

    assert await nats_kv.get(Deleted(), "config", "a") is None


async def test_a_key_that_cannot_be_created_for_another_reason_is_unavailable() -> None:
    def refuse(link: ScriptedLink, _subject: str, reply: str) -> None:
        link.answer(reply, b'{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}')

    with pytest.raises(Unavailable, match="10077"):
        await nats_kv.create(ScriptedLink(refuse), "nonces", "n", b"x")


# ── messages ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("limit", ["_WAITING", "_WAITING_BYTES"])
async def test_a_handler_that_is_far_behind_loses_messages_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limit: str
) -> None:
    monkeypatch.setattr(nats_bus, limit, 2)
    link = ScriptedLink()
    bus, heard, free = NatsBus(link, lambda: 7.5), [], asyncio.Event()

    async def handle(message: Message) -> None:
        await free.wait()
        heard.append((message.data, message.received_at))

    await bus.serve("stage.claims", "match", handle)
    assert link.sink
    for number in range(3):
        link.sink(b"stage.claims", b"", b"%d" % number, None)
    free.set()
    await asyncio.sleep(0.01)
    link.sink(b"stage.claims", b"", b"3", None)
    await bus.stop()
    assert heard == [(b"0", 7), (b"1", 7), (b"3", 7)]
    assert "dropped" in caplog.text


async def test_answers_that_nobody_awaits_any_more_are_nothing() -> None:
    link = ScriptedLink()
    address = link.expect(lambda *_: None)
    link.forget(address)
    link.answer(address, b"late")


async def test_an_answer_to_a_flush_that_was_given_up_ends_no_connection() -> None:
    client = Link("_INBOX_x")._client
    given_up = asyncio.get_running_loop().create_future()
    given_up.cancel()
    waiting = asyncio.get_running_loop().create_future()
    client._pongs = [given_up, waiting]
    await client._process_pong()
    await client._process_pong()
    await client._process_pong()  # nobody asked
    assert await waiting


async def test_a_sink_that_fails_ends_no_connection(caplog: pytest.LogCaptureFixture) -> None:
    link = Link("_INBOX_x")

    class Subscription:
        _future = staticmethod(lambda *_: 1 / 0)

    link._client._subs[1] = Subscription()
    with caplog.at_level(logging.ERROR):
        await link._client._process_msg(1, b"x", b"", b"", None)
        await link._client._process_msg(2, b"x", b"", b"", None)
    assert caplog.text.count("could not be taken") == 1


def test_status_and_headers_are_told_apart() -> None:
    assert status(b"NATS/1.0 503\r\n\r\n") == b"503"
    assert status(b"NATS/1.0\r\nA: 503\r\n\r\n") == b""
    assert status(None) == b""
    assert parsed(None) == {}
    assert parsed(b"NATS/1.0\r\nA:  b:c \r\n\xff: \xfe\r\n\r\n") == {"A": "b:c", "\ufffd": "\ufffd"}


async def test_a_fleet_comes_back_spread_over_time_and_later_each_time() -> None:
    first_tries = [nats_link._next_server([Server(0)], {})[1] for _ in range(200)]
    later_tries = [nats_link._next_server([Server(50)], {})[1] for _ in range(200)]
    assert 0 <= min(first_tries) < 0.1 < max(first_tries) <= 0.5
    assert 5 < max(later_tries) <= 10
    assert min(later_tries) < 2


@pytest.mark.parametrize("url", ["garbage", "http://127.0.0.1:4222", "nats://", "nats://h:port", "nats://h:0", ""])
async def test_what_is_no_address_of_a_broker_is_refused_at_once(url: str) -> None:
    with pytest.raises(Misconfigured, match="no address of a broker"):
        await Link("_INBOX_x").connect(url, "", "x")


@pytest.mark.parametrize("url", ["nats://127.0.0.1:1", "nats://none"])
async def test_a_server_that_cannot_be_reached_is_unavailable_and_said_once(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(nats_link, "_START_SECONDS", 0.05)
    seed = nkeys.encode_seed(bytes(32), nkeys.PREFIX_BYTE_USER).decode()
    link = Link("_INBOX_x")
    with pytest.raises(Unavailable, match="cannot connect"):
        await link.connect(url, seed, "x")
    assert caplog.text == ""
    await link.close()
    await link.flush()


@pytest.mark.parametrize("header", [{"A": "b\r\nPUB evil 0\r\n\r\n"}, {"A\nB": "c"}, {"A": "b\r"}])
async def test_a_header_that_would_begin_another_line_is_refused(broker: Broker, header: Mapping[str, str]) -> None:
    bus = await connected(broker, "sign")
    with pytest.raises(Unavailable, match="cannot send"):
        await bus.publish("result.acme.n1", b"", headers=header)
    await bus.drain()


async def test_a_closed_connection_is_unavailable(broker: Broker) -> None:
    bus = await connected(broker, "sign")
    subscription = await bus._link.listen("_INBOX_sign.x", "", lambda *_: None)
    await bus.drain()
    await bus._link.unlisten(subscription)
    with pytest.raises(Unavailable, match="cannot listen"):
        await bus.serve("stage.appraisal", "sign", never)
    with pytest.raises(Unavailable, match="cannot send"):
        await bus.publish("reply.acme.x", b"")


async def never(_: Message) -> None:
    raise AssertionError


async def test_a_stream_that_admits_no_batches_gets_single_messages_and_is_not_asked_again(tmp_path: Path) -> None:
    async with running_broker(tmp_path, settings=Provisioning(atomic_results=False)) as broker:
        bus = await connected(broker, "sign")
        for number in range(2):
            records = [Record(subject=f"result.acme.a{i}", data=b"token", message_id=f"{number}-{i}") for i in range(8)]
            await bus.store(records)
        await bus.drain()

    assert bus._link.atomic is False
