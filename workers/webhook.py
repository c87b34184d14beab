"""The webhook worker: results from the RESULTS stream to each configured endpoint, at least once.

One task and one durable consumer for each endpoint, so a dead one delays no other, and JetStream remembers what each
still has to get.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from attest_pipeline.adapters import files
from attest_pipeline.adapters.guarded_http import GuardedClient
from attest_pipeline.adapters.metrics import WEBHOOK_DELIVERIES, WEBHOOK_DISABLED, WEBHOOK_LAG
from attest_pipeline.adapters.webhook_sender import WebhookSender
from attest_pipeline.errors import Unavailable
from attest_pipeline.ports import Bus, Message
from attest_pipeline.subjects import RESULTS, webhook_consumer
from attest_pipeline.webhook import (
    Delivery,
    Endpoint,
    Outcome,
    Verdict,
    dead_letter,
    delivery_of,
    is_spent,
    is_wanted,
    read_endpoints,
    retry_delay,
)
from workers._process import Process

BATCH: Final = 16
"""Deliveries in flight for one endpoint; all of a batch run at once, so it ends within one HTTP timeout."""
LONGEST_PAUSE: Final = 10.0
"""Seconds. Two batches may be fetched ahead: three HTTP timeouts and two pauses must end within `ack_wait` (60 s)."""
DISABLED_DELAY: Final = 3600.0

_log: Final = logging.getLogger(__name__)


async def run(process: Process) -> None:
    """Deliver to the endpoints of the file `ATTEST_WEBHOOKS` until the bus stops."""
    endpoints = read_endpoints(files.read(process.settings.path("webhooks")))
    async with GuardedClient() as public, GuardedClient(allow_private=True) as private:
        sender = WebhookSender(public, private, process.clock)
        await deliver(process.bus, endpoints, sender=sender, clock=process.clock, sleep=process.sleep)


async def deliver(
    bus: Bus,
    endpoints: Sequence[Endpoint],
    *,
    sender: WebhookSender,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Deliver until the bus stops. `clock` gives seconds since 1970.

    Raises Misconfigured, before anything is sent, for an endpoint whose URL can never be called, and Unavailable where
    an endpoint has no consumer.
    """
    for endpoint in endpoints:
        sender.check(endpoint)
    await asyncio.gather(*(_Feed(bus, endpoint, sender, clock, sleep).run() for endpoint in endpoints))


class _Feed:
    """What one endpoint gets."""

    def __init__(
        self,
        bus: Bus,
        endpoint: Endpoint,
        sender: WebhookSender,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._bus = bus
        self._endpoint = endpoint
        self._sender = sender
        self._clock = clock
        self._sleep = sleep
        self._failures = 0
        self._disabled = False

    async def run(self) -> None:
        """Deliver batch by batch; wait longer after each batch of which nothing arrived."""
        WEBHOOK_DISABLED.labels(self._endpoint.id).set(0)
        async for messages in self._bus.pull(RESULTS, webhook_consumer(self._endpoint.id), batch=BATCH):
            verdicts = await asyncio.gather(*(self._handle(message) for message in messages))
            if Verdict.DELIVERED in verdicts:
                self._failures = 0
            elif Verdict.FAILED in verdicts or Verdict.REFUSED in verdicts:
                self._failures += 1
                await self._sleep(min(2.0 ** min(self._failures, 10), LONGEST_PAUSE))

    async def _handle(self, message: Message) -> Verdict | None:
        """Deal with one message; None if nothing was sent. A bus that fails leaves it unacked: it comes again."""
        try:
            return await self._deal(message)
        except Unavailable as error:
            _log.warning("bus failed during a webhook delivery", extra=self._about(message, detail=str(error)))
            return None

    async def _deal(self, message: Message) -> Verdict | None:
        if self._disabled:
            await self._bus.retry_later(message.reply, DISABLED_DELAY)
            return None
        try:
            delivery = delivery_of(message, self._endpoint)
        except ValueError as error:
            await self._bury(message, "unreadable", str(error))
            return None
        if is_wanted(delivery, self._endpoint):
            return await self._attempt(message, delivery)
        WEBHOOK_DELIVERIES.labels("unwanted").inc()
        await self._bus.ack(message.reply)
        return None

    async def _attempt(self, message: Message, delivery: Delivery) -> Verdict:
        outcome = await self._sender.send(self._endpoint, delivery)
        WEBHOOK_DELIVERIES.labels(outcome.verdict).inc()
        age = self._clock() - message.received_at
        if outcome.verdict is Verdict.DELIVERED:
            WEBHOOK_LAG.observe(max(age, 0.0))
            await self._bus.ack(message.reply)
        elif outcome.verdict is Verdict.GONE:
            await self._disable(message)
        elif is_spent(message.attempt, age):
            await self._bury(message, "exhausted", outcome.detail)
        else:
            await self._put_off(message, delivery, outcome)
        return outcome.verdict

    async def _put_off(self, message: Message, delivery: Delivery, outcome: Outcome) -> None:
        delay = retry_delay(delivery, message.attempt, outcome.retry_after)
        _log.info("webhook attempt failed", extra=self._about(message, detail=outcome.detail, retry_in=delay))
        await self._bus.retry_later(message.reply, delay)

    async def _disable(self, message: Message) -> None:
        """The receiver wants no more: keep everything queued until an operator restarts the worker."""
        self._disabled = True
        WEBHOOK_DISABLED.labels(self._endpoint.id).set(1)
        _log.error("webhook endpoint answered 410 and is disabled", extra=self._about(message))
        await self._bus.retry_later(message.reply, DISABLED_DELAY)

    async def _bury(self, message: Message, reason: str, detail: str) -> None:
        """Keep a dead letter, then be done with the message."""
        await self._bus.store([dead_letter(message, self._endpoint, reason)])
        WEBHOOK_DELIVERIES.labels(reason).inc()
        _log.error("webhook given up", extra=self._about(message, reason=reason, detail=detail))
        await self._bus.ack(message.reply)

    def _about(self, message: Message, **more: object) -> dict[str, object]:
        """Fields of a log record; no secret, and no URL, which may hold one."""
        return {"endpoint": self._endpoint.id, "subject": message.subject, "attempt": message.attempt, **more}
