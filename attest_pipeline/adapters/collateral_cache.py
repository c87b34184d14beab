"""Collateral at hand in parse: asked of the collateral worker in the background, found without leaving the process.

What is not at hand is remembered as wanted, and the Evidence waits; a task asks for it until there is an answer.
"""

import asyncio
import contextlib
import itertools
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from attest_pipeline.adapters import metrics
from attest_pipeline.collateral.cache import Bounded
from attest_pipeline.collateral.exchange import (
    MAX_REFS,
    Absent,
    Answer,
    Ask,
    Held,
    decode_reply,
    encode_ask,
    name_of,
    vendor_of,
)
from attest_pipeline.errors import Unavailable
from attest_pipeline.model import EndorsementRef
from attest_pipeline.ports import NOTHING, Bus, EndorsementSource, Found
from attest_pipeline.subjects import COLLATERAL

MAX_BYTES: Final = 128 * 1024 * 1024
MAX_COUNT: Final = 50_000
RENEW_SECONDS: Final = 300.0
"""After which time the worker is asked whether it has something newer."""

_WANTED_MOST: Final = 4096
"""References of one vendor: chips that do not exist, which anybody can name, are in no other vendor's way."""
_FORGET_SECONDS: Final = 3600.0
"""What no Evidence has asked for in this time is not asked of the worker any more."""
_ASKS_AT_ONCE: Final = 4
_PATIENCE: Final = 1.5
_TIMEOUT: Final = 5.0
_POLL_MOST: Final = 10.0
_log: Final = logging.getLogger(__name__)


class _Entry(Struct):
    """An answer of the worker, and when to ask again."""

    answer: Held | Absent
    renew_at: float


class _Wanted(Struct):
    """A reference that Evidence waits for: when to ask for it, how long it may take, when nobody wants it any more."""

    ref: EndorsementRef
    ask_at: float
    ready_at: float
    forget_at: float
    asking: bool = False


class CollateralCache:
    """Bounded memory of the worker's answers; `clock` is seconds since 1970. `run` keeps it warm."""

    def __init__(self, clock: Callable[[], float], *, max_count: int = MAX_COUNT, max_bytes: int = MAX_BYTES) -> None:
        self._clock = clock
        self._entries: Bounded[_Entry] = Bounded(_size, max_count=max_count, max_bytes=max_bytes)
        self._wanted: dict[str, dict[str, _Wanted]] = defaultdict(dict)
        self._news = asyncio.Event()
        self._wakes = asyncio.Event()
        self._slots = asyncio.Semaphore(_ASKS_AT_ONCE)

    def behind(self, snapshot: EndorsementSource) -> EndorsementSource:
        """A source that asks the tenant's own configuration first."""
        return _Layered(snapshot, self)

    def find(self, ref: EndorsementRef) -> Found:
        """What is at hand. Raises Unavailable, and asks for it, if nothing is known."""
        name, now = name_of(ref), self._clock()
        entry = self._entries.get(name)
        if entry is None or not _holds(entry, now):
            metrics.COLLATERAL_MISSES.labels(vendor_of(ref.kind)).inc()
            wanted = self._want(name, ref, now)
            raise Unavailable(f"{name} is not at hand yet", max(1.0, wanted.ready_at - now))
        if entry.renew_at <= now:
            self._want(name, ref, now)
        metrics.COLLATERAL_HITS.labels(vendor_of(ref.kind)).inc()
        held = entry.answer
        return Found(held.documents, held.stale_at <= now, held.valid_from) if isinstance(held, Held) else NOTHING

    async def arrival(self, seconds: float) -> None:
        """Return when the next answer has come, or after that time."""
        await _happened(self._news, seconds)

    async def run(self, bus: Bus) -> None:
        """Ask for what is wanted, for ever."""
        async with asyncio.TaskGroup() as asks:
            while True:
                self._wakes.clear()
                for batch in self._due():
                    await self._slots.acquire()
                    asks.create_task(self._ask(bus, batch))
                await _happened(self._wakes, 0.5)

    # ── what is wanted ────────────────────────────────────────────────────────────────────────────────────────────────
    def _want(self, name: str, ref: EndorsementRef, now: float) -> _Wanted:
        of_vendor = self._wanted[vendor_of(ref.kind)]
        wanted = of_vendor.get(name)
        if wanted is None:
            wanted = _Wanted(ref, ask_at=now, ready_at=now, forget_at=0.0)
            if len(of_vendor) < _WANTED_MOST:
                of_vendor[name] = wanted
                self._wakes.set()
        wanted.forget_at = now + _FORGET_SECONDS
        return wanted

    def _due(self) -> Iterable[list[_Wanted]]:
        now = self._clock()
        for vendor, of_vendor in self._wanted.items():
            self._wanted[vendor] = {name: one for name, one in of_vendor.items() if now < one.forget_at}
        wanted = itertools.chain.from_iterable(map(dict.values, self._wanted.values()))
        due = [one for one in wanted if one.ask_at <= now and not one.asking]
        for one in due:
            one.asking = True
        return [due[start : start + MAX_REFS] for start in range(0, len(due), MAX_REFS)]

    async def _ask(self, bus: Bus, batch: list[_Wanted]) -> None:
        """One request; what it leaves open is asked for again before long."""
        answers: dict[str, Answer] = {}
        try:
            data = encode_ask(Ask(tuple(one.ref for one in batch), _PATIENCE))
            answers = decode_reply((await bus.request(COLLATERAL, data, timeout=_TIMEOUT)).data).answers
        except Unavailable as error:
            _log.warning("no answer on collateral", extra={"references": len(batch), "why": str(error)})
        finally:
            self._slots.release()
        now = self._clock()
        learned = [self._learn(one, answers.get(name_of(one.ref)), now, cut=bool(answers)) for one in batch]
        if any(learned):
            self._news.set()
            self._news = asyncio.Event()

    def _learn(self, wanted: _Wanted, answer: Answer | None, now: float, *, cut: bool) -> bool:
        """Take up an answer; whether it ends a wait.

        None means no answer at all, or, if it was `cut`, that others filled the message.
        """
        name, of_vendor = name_of(wanted.ref), self._wanted[vendor_of(wanted.ref.kind)]
        wanted.asking = False
        if isinstance(answer, Held | Absent):
            lasts = RENEW_SECONDS if isinstance(answer, Held) else min(answer.seconds, RENEW_SECONDS)
            self._entries.put(name, _Entry(answer, now + lasts))
            of_vendor.pop(name, None)
        elif answer is not None:
            wanted.ask_at = now + min(answer.seconds, _POLL_MOST)
            wanted.ready_at = now + answer.seconds
        else:
            wanted.ask_at = now if cut else now + 1.0
        return name not in of_vendor


class _Layered(EndorsementSource):
    """The tenant's configuration, and behind it the collateral at hand."""

    def __init__(self, snapshot: EndorsementSource, cache: CollateralCache) -> None:
        self._snapshot = snapshot
        self._cache = cache

    def find(self, ref: EndorsementRef) -> Found:
        own = self._snapshot.find(ref)
        return own if own.documents else self._cache.find(ref)


async def _happened(event: asyncio.Event, seconds: float) -> None:
    """Return when the event has happened, or after that time. `wait_for` of Python 3.11 may swallow a cancellation."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _holds(entry: _Entry, now: float) -> bool:
    """Documents hold to the end of their window; that there are none is believed only until it is asked again."""
    return now < (entry.answer.valid_until if isinstance(entry.answer, Held) else entry.renew_at)


def _size(entry: _Entry) -> int:
    return sum(map(len, entry.answer.documents)) if isinstance(entry.answer, Held) else 0
