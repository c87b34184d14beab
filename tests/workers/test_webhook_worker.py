"""The webhook worker against receivers that fail in every way, on real sockets of the loopback."""

import asyncio
import base64
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import REGISTRY
from standardwebhooks import Webhook

from attest_pipeline.adapters.config_store import ConfigStore
from attest_pipeline.adapters.guarded_http import GuardedClient
from attest_pipeline.adapters.webhook_sender import WebhookSender
from attest_pipeline.errors import Misconfigured, Unavailable
from attest_pipeline.ports import Record
from attest_pipeline.subjects import DEAD, RESULTS, webhook_consumer
from attest_pipeline.testing import InMemoryBroker, InMemoryBus
from attest_pipeline.webhook import HORIZON, SCHEDULE, Endpoint, read_endpoints
from workers._process import Process
from workers._settings import Settings
from workers.webhook import BATCH, DISABLED_DELAY, LONGEST_PAUSE, deliver, run

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdefghijklmnop").decode()
START = 1_790_000_000.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """A subscriber: verifies each request with the public library, then answers as scripted (the last for ever)."""

    def __init__(self, *script: Handler) -> None:
        self.script = list(script)
        self.requests: list[tuple[str, bytes]] = []
        self.accepted: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        content = Webhook(SECRET).verify(body, dict(request.headers))
        self.requests.append((request.headers["webhook-id"], body))
        response = await (self.script.pop(0) if len(self.script) > 1 else self.script[0])(request)
        if response.status < 300:
            self.accepted.append(content["data"]["agent"])
        return response

    @property
    def ids(self) -> list[str]:
        return [name for name, _ in self.requests]


def status(code: int, **headers: str) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer


async def reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response(status=500)


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(2)
    return web.Response(status=500)


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(status=500)
    response.content_length = 100
    await response.prepare(request)
    await asyncio.sleep(2)
    return response


class House:
    """Broker, clock and worker of one test. The clock stands still unless the test moves it."""

    def __init__(self, sender: WebhookSender) -> None:
        self.now = START
        self.broker = InMemoryBroker(lambda: self.now, ack_wait=1e9, max_deliver=10_000)
        self.bus = InMemoryBus(self.broker)
        self.sender = sender
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def store(self, *agents: str, tenant: str = "acme", status: str = "affirming") -> None:
        await self.bus.store([result(agent, tenant, status) for agent in agents])

    @asynccontextmanager
    async def working(self, *endpoints: Endpoint, bus: InMemoryBus | None = None) -> AsyncIterator[None]:
        bus = bus or self.bus
        for endpoint in endpoints:
            self.broker.add_consumer(RESULTS, webhook_consumer(endpoint.id))
        worker = asyncio.create_task(
            deliver(bus, endpoints, sender=self.sender, clock=lambda: self.now, sleep=self.sleep)
        )
        try:
            yield
        finally:
            await bus.drain()
            await worker

    async def until(self, happened: Callable[[], bool], step: float = 0.0) -> None:
        """Wait, and let the clock run by `step` seconds at each look."""
        async with asyncio.timeout(10):
            while not happened():
                await asyncio.sleep(0.012)
                self.now += step

    async def settle(self) -> None:
        """Give the worker time for whatever it might still do."""
        await asyncio.sleep(0.05)

    def unacked(self, endpoint: str = "siem") -> int:
        return len(self.broker._streams[RESULTS].consumers[webhook_consumer(endpoint)]._due)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with GuardedClient() as public, GuardedClient(allow_private=True, timeout=0.6) as private:
        yield House(WebhookSender(public, private, time.time))


@asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/{tail:.*}", receiver.handle)
    async with TestServer(app) as server:
        yield str(server.make_url("/hook?key=in-the-url"))


def entry(url: str, **changes: object) -> dict[str, object]:
    base = {"id": "siem", "url": url, "tenant": "acme", "secrets": [SECRET], "allow_private": True}
    return {**base, **changes}


def endpoint(url: str, **changes: object) -> Endpoint:
    return read_endpoints(msgspec.json.encode({"endpoints": [entry(url, **changes)]}))[0]


def result(agent: str, tenant: str = "acme", status: str = "affirming") -> Record:
    jti = f"{agent:0>64}"
    payload = msgspec.json.encode({"jti": jti, "iat": int(START), "ear_status": status})
    token = f"e30.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.c2ln"
    return Record(subject=f"result.{tenant}.{agent}", data=token.encode(), message_id=jti)


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("attest_webhook_deliveries_total", {"outcome": outcome}) or 0.0


# ── delivery ──────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_each_result_arrives_once_signed_and_is_acked(house: House) -> None:
    before = counted("delivered")
    receiver = Receiver(status(204))
    async with receiving(receiver) as url:
        await house.store(*(f"n{number}" for number in range(40)))
        async with house.working(endpoint(url)):
            await house.until(lambda: len(receiver.accepted) == 40)
            await house.settle()
    assert sorted(receiver.accepted) == sorted(f"n{number}" for number in range(40))
    assert len(set(receiver.ids)) == 40
    assert house.unacked() == 0
    assert counted("delivered") - before == 40
    assert house.pauses == []


async def test_the_lag_is_the_time_since_the_result_was_stored(house: House) -> None:
    def lag() -> float:
        return REGISTRY.get_sample_value("attest_webhook_lag_seconds_sum") or 0.0

    before = lag()
    receiver = Receiver(status(200))
    async with receiving(receiver) as url:
        await house.store("n1")
        house.now += 90
        async with house.working(endpoint(url)):
            await house.until(lambda: lag() > before)
    assert lag() - before == 90


async def test_results_of_other_tenants_and_statuses_are_passed_over(house: House) -> None:
    before = counted("unwanted")
    receiver = Receiver(status(200))
    async with receiving(receiver) as url:
        await house.store("n1", tenant="other", status="contraindicated")
        await house.store("n2", status="affirming")
        await house.store("n3", status="contraindicated")
        async with house.working(endpoint(url, statuses=["contraindicated"])):
            await house.until(lambda: counted("unwanted") - before == 2 and bool(receiver.accepted))
            await house.settle()
    assert receiver.accepted == ["n3"]
    assert house.unacked() == 0


@pytest.mark.parametrize(
    "failure",
    [
        status(500),
        status(503),
        status(404),
        status(302, Location="http://127.0.0.1:1/elsewhere"),
        status(429, Retry_After="1"),
        reset,
        hang,
        drip,
    ],
    ids=["500", "503", "404", "redirect", "429", "reset", "timeout", "slow body"],
)
async def test_a_failed_delivery_is_tried_again_with_the_same_id_and_body(house: House, failure: Handler) -> None:
    before = counted("failed")
    receiver = Receiver(failure, failure, status(200))
    async with receiving(receiver) as url:
        await house.store("n1")
        async with house.working(endpoint(url)):
            await house.until(lambda: receiver.accepted == ["n1"], step=5)
            await house.until(lambda: house.unacked() == 0)
    assert len(receiver.requests) == 3
    assert len(set(receiver.requests)) == 1, "id and body are constant over attempts"
    assert counted("failed") - before == 2
    assert house.now - START >= SCHEDULE[0] + SCHEDULE[1]
    assert house.broker.stored(DEAD) == []


async def test_a_receiver_is_not_called_again_before_the_time_it_asked_for(house: House) -> None:
    receiver = Receiver(status(429, Retry_After="900"), status(200))
    async with receiving(receiver) as url:
        await house.store("n1")
        async with house.working(endpoint(url)):
            await house.until(lambda: len(receiver.requests) == 1)
            await house.settle()
            house.now += 899
            await house.settle()
            assert len(receiver.requests) == 1
            house.now += 900 * 0.2 + 1
            await house.until(lambda: receiver.accepted == ["n1"])


async def test_a_name_that_turned_private_is_refused_and_tried_again(house: House) -> None:
    before = counted("refused")
    await house.store("n1")
    async with house.working(endpoint("https://localhost/", allow_private=False)):
        await house.until(lambda: counted("refused") - before == 2, step=2)
    assert house.unacked() == 1


# ── endpoints do not harm one another ─────────────────────────────────────────────────────────────────────────────────
async def test_a_dead_endpoint_delays_no_other_even_on_the_same_host(house: House) -> None:
    release = asyncio.Event()
    waiting: list[str] = []

    async def by_path(request: web.Request) -> web.StreamResponse:
        if request.path == "/dead":
            waiting.append(request.path)
            await release.wait()
        return web.Response()

    receiver = Receiver(by_path)
    agents = [f"n{number}" for number in range(60)]
    async with receiving(receiver) as url, GuardedClient(allow_private=True) as patient:
        house.sender = WebhookSender(patient, patient, time.time)
        dead = [endpoint(url.replace("/hook", "/dead"), id=f"dead-{number}") for number in range(8)]
        await house.store(*agents)
        async with house.working(*dead, endpoint(url)):
            await house.until(lambda: len(receiver.accepted) == len(agents))
            assert sorted(receiver.accepted) == sorted(agents), "all arrived while the others were still in their first"
            await house.until(lambda: len(waiting) == 8 * BATCH)
            await house.settle()
            assert len(waiting) == 8 * BATCH, "and each of those holds no more than one batch"
            release.set()
            await house.until(lambda: len(receiver.accepted) == 9 * len(agents))


async def test_a_failing_endpoint_is_pulled_more_slowly_until_it_answers(house: House) -> None:
    receiver = Receiver(*[status(500)] * 6, status(200), status(500))
    async with receiving(receiver) as url, house.working(endpoint(url)):
        for number in range(6):
            await house.store(f"n{number}")
            await house.until(lambda count=number + 1: len(receiver.requests) == count)  # type: ignore[misc]
        await house.store("good")
        await house.until(lambda: receiver.accepted == ["good"])
        await house.store("n6")
        await house.until(lambda: len(house.pauses) == 7)
    assert house.pauses == [2, 4, 8, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE, 2]


async def test_gone_disables_the_endpoint_until_a_restart_and_loses_nothing(house: House) -> None:
    receiver, healthy = Receiver(status(410)), Receiver(status(200))
    async with receiving(receiver) as url, receiving(healthy) as other:
        chosen = endpoint(url)
        await house.store("n1")
        async with house.working(chosen, endpoint(other, id="healthy")):
            await house.until(lambda: len(receiver.requests) == 1)
            await house.store("n2")
            await house.until(lambda: len(healthy.accepted) == 2)
            await house.until(lambda: house.unacked() == 2, step=1)
            house.now += DISABLED_DELAY * 30
            await house.settle()
            assert len(receiver.requests) == 1
            assert REGISTRY.get_sample_value("attest_webhook_endpoint_disabled", {"endpoint": "siem"}) == 1
        receiver.script = [status(200)]
        async with house.working(chosen, bus=InMemoryBus(house.broker)):
            await house.until(lambda: len(receiver.accepted) == 2, step=600)
            assert REGISTRY.get_sample_value("attest_webhook_endpoint_disabled", {"endpoint": "siem"}) == 0
    assert sorted(receiver.accepted) == ["n1", "n2"]
    assert house.unacked() == 0
    assert house.broker.stored(DEAD) == []


# ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_after_three_days_the_result_is_a_dead_letter(house: House, caplog: pytest.LogCaptureFixture) -> None:
    before = counted("exhausted")
    receiver = Receiver(status(500))
    async with receiving(receiver) as url:
        await house.store("n1")
        async with house.working(endpoint(url)):
            await house.until(lambda: bool(house.broker.stored(DEAD)), step=1800)
            await house.until(lambda: house.unacked() == 0)
    (letter,) = house.broker.stored(DEAD)
    assert letter.subject == "dead.acme.n1"
    assert letter.data == result("n1").data
    assert letter.headers["Attest-Endpoint"] == "siem"
    assert letter.headers["Attest-Reason"] == "exhausted"
    assert len(receiver.requests) == len(SCHEDULE) + 1
    assert len(set(receiver.requests)) == 1
    assert house.now - START >= HORIZON
    assert counted("exhausted") - before == 1
    logged = json.dumps([vars(record) for record in caplog.records if record.name == "workers.webhook"], default=str)
    assert "webhook given up" in logged
    assert SECRET[6:] not in logged
    assert "in-the-url" not in logged


async def test_what_is_no_result_becomes_a_dead_letter_and_the_next_is_delivered(house: House) -> None:
    receiver = Receiver(status(200))
    async with receiving(receiver) as url:
        await house.bus.store([Record(subject="result.acme.n1", data=b"rubbish", message_id="1")])
        await house.store("n2")
        async with house.working(endpoint(url)):
            await house.until(lambda: receiver.accepted == ["n2"])
            await house.until(lambda: house.unacked() == 0)
    (letter,) = house.broker.stored(DEAD)
    assert letter.data == b"rubbish"
    assert letter.headers["Attest-Reason"] == "unreadable"


class Failing(InMemoryBus):
    """A bus of which the first of each of some calls fails."""

    def __init__(self, broker: InMemoryBroker, *calls: str) -> None:
        super().__init__(broker)
        self.left = list(calls)

    def _fail(self, call: str) -> None:
        if call in self.left:
            self.left.remove(call)
            raise Unavailable(f"no {call}")

    async def ack(self, reply: str) -> None:
        self._fail("ack")
        await super().ack(reply)

    async def store(self, records: Any) -> None:
        self._fail("store")
        await super().store(records)

    async def retry_later(self, reply: str, seconds: float) -> None:
        self._fail("retry_later")
        await super().retry_later(reply, seconds)


async def test_a_bus_that_fails_means_redelivery_under_the_same_id(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    receiver = Receiver(status(500), status(200))
    await house.store("n1")
    bus = Failing(house.broker, "retry_later", "ack")
    async with receiving(receiver) as url, house.working(endpoint(url), bus=bus):
        await house.until(lambda: house.unacked() == 0 and not bus.left, step=1e8)
    assert receiver.accepted == ["n1", "n1"]
    assert len(set(receiver.ids)) == 1
    assert [record.message for record in caplog.records] == ["bus failed during a webhook delivery"] * 2


async def test_a_dead_letter_is_acked_only_once_it_is_stored(house: House) -> None:
    await house.bus.store([Record(subject="result.acme.bad", data=b"rubbish", message_id="1")])
    bus = Failing(house.broker, "store")
    async with house.working(endpoint("https://siem.example.test/"), bus=bus):
        await house.until(lambda: not bus.left)
        await house.settle()
        assert house.unacked() == 1
        assert house.broker.stored(DEAD) == []
        await house.until(lambda: house.unacked() == 0, step=1e8)
    assert len(house.broker.stored(DEAD)) == 1


# ── start-up ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "url", ["http://siem.example.test/", "https://10.0.0.1/", "https://u:p@siem.example.test/", ""]
)
async def test_an_endpoint_that_can_never_be_called_stops_the_start_up(house: House, url: str) -> None:
    with pytest.raises(Misconfigured, match="'siem'"):
        await deliver(
            house.bus,
            [endpoint(url, allow_private=False)],
            sender=house.sender,
            clock=time.time,
            sleep=house.sleep,
        )


async def test_an_endpoint_without_a_consumer_is_said(house: House) -> None:
    with pytest.raises(Unavailable, match="webhook-siem"):
        await deliver(
            house.bus,
            [endpoint("https://siem.example.test/")],
            sender=house.sender,
            clock=time.time,
            sleep=house.sleep,
        )


def process(house: House, webhooks: Path | None) -> Process:
    return Process(
        settings=Settings(webhooks=webhooks),
        bus=house.bus,
        configs=ConfigStore(house.bus),
        stopping=asyncio.Event(),
    )


async def test_the_process_reads_its_endpoints_and_delivers_until_it_is_stopped(house: House, tmp_path: Path) -> None:
    receiver = Receiver(status(200))
    path = tmp_path / "webhooks.json"
    house.broker.add_consumer(RESULTS, webhook_consumer("siem"))
    async with receiving(receiver) as url:
        path.write_bytes(msgspec.json.encode({"endpoints": [entry(url)]}))
        worker = asyncio.create_task(run(process(house, path)))
        await house.store("n1")
        await house.until(lambda: receiver.accepted == ["n1"])
        await house.bus.drain()
        await worker


async def test_a_missing_endpoints_file_is_misconfigured(house: House, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"webhooks\.json"):
        await run(process(house, tmp_path / "webhooks.json"))
    with pytest.raises(Misconfigured, match="ATTEST_WEBHOOKS"):
        await run(process(house, None))
