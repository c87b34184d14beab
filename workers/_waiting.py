"""Where Evidence waits in parse for collateral: judged as soon as it is there, and meanwhile kept from redelivery."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple

from attest_pipeline.adapters import metrics
from attest_pipeline.adapters.collateral_cache import CollateralCache
from attest_pipeline.errors import Unavailable
from attest_pipeline.pipeline import Submission
from attest_pipeline.ports import Bus

PLACES: Final = 1024
"""Messages that may wait; more are sent back to the stream."""
DURABLE_SECONDS: Final = 600.0
"""How long a delivery waits before it is sent back: each of the few deliveries lasts that long through an outage."""
INTERACTIVE_SECONDS: Final = 2.0
BACK_SECONDS: Final = 30.0
_EXTEND_SECONDS: Final = 2.0
"""Well below the shortest `ack_wait`: parse says that often that it still works on what waits."""
_log: Final = logging.getLogger(__name__)

Judge = Callable[[str, Sequence[Submission]], Awaitable[None]]


class _Guest(NamedTuple):
    """The submissions of one message, and until when they wait."""

    tenant: str
    submissions: tuple[Submission, ...]
    until: float

    @property
    def ack(self) -> str:
        return self.submissions[0].ack


class WaitingRoom:
    """Submissions that miss collateral. `judge` is given those whose wait may be over, and may send them back here."""

    def __init__(self, bus: Bus, cache: CollateralCache, judge: Judge, clock: Callable[[], float]) -> None:
        self._bus = bus
        self._cache = cache
        self._judge = judge
        self._clock = clock
        self._guests: dict[str, _Guest] = {}
        self._untils: dict[str, float] = {}

    def admit(self, tenant: str, submissions: Iterable[Submission]) -> list[Submission]:
        """Let submissions wait, those of one message together; those for which there is no place."""
        messages: dict[str, list[Submission]] = defaultdict(list)
        for submission in submissions:
            messages[submission.ack or submission.reply].append(submission)
        left = []
        for key, together in messages.items():
            if len(self._guests) >= PLACES:
                left += together
                continue
            patience = DURABLE_SECONDS if together[0].ack else INTERACTIVE_SECONDS
            until = self._untils.setdefault(key, self._clock() + patience)
            self._guests[key] = _Guest(tenant, tuple(together), until)
        metrics.COLLATERAL_WAITING.set(len(self._guests))
        return left

    async def run(self) -> None:
        """Keep the cache warm, and judge what may be judged, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._cache.run(self._bus))
            await self._attend()

    async def _attend(self) -> None:
        extended = self._clock()
        while True:
            await self._cache.arrival(self._pause())
            guests, self._guests = self._guests, {}
            await self._release(guests)
            self._untils = {key: until for key, until in self._untils.items() if key in self._guests}
            metrics.COLLATERAL_WAITING.set(len(self._guests))
            if self._clock() - extended >= _EXTEND_SECONDS:
                extended = self._clock()
                await self._extend()

    def _pause(self) -> float:
        next_end = min((guest.until for guest in self._guests.values()), default=float("inf")) - self._clock()
        return min(max(next_end, 0.01), _EXTEND_SECONDS)

    async def _release(self, guests: dict[str, _Guest]) -> None:
        """Judge again, together what is of one tenant; who has waited long enough is told so."""
        now = self._clock()
        again: dict[str, list[Submission]] = defaultdict(list)
        for guest in guests.values():
            if now < guest.until:
                again[guest.tenant] += guest.submissions
            elif guest.ack:
                await self._send_back(guest.ack)
            else:
                again[guest.tenant] += [one._replace(last_attempt=True) for one in guest.submissions]
        for tenant, submissions in again.items():
            try:
                await self._judge(tenant, submissions)
            except Unavailable as error:
                _log.warning("evidence left to redelivery", extra={"messages": len(submissions), "why": str(error)})

    async def _send_back(self, ack: str) -> None:
        _log.warning("collateral has not come", extra={"waited": DURABLE_SECONDS})
        await self._tell(self._bus.retry_later(ack, BACK_SECONDS))

    async def _extend(self) -> None:
        for guest in self._guests.values():
            if guest.ack:
                await self._tell(self._bus.working(guest.ack))

    async def _tell(self, call: Awaitable[None]) -> None:
        """What the broker does not hear ends in a redelivery."""
        try:
            await call
        except Unavailable as error:
            _log.warning("the broker was not told of what waits", extra={"why": str(error)})
