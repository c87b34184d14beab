"""The collateral worker's mind: what is known, what is being fetched, and what may be asked of whom, when.

One flight for each reference, whoever waits for it; a queue for each vendor, so that one that hangs delays no other;
documents are proven before they are kept, and nothing that is kept is replaced by anything older or worse.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from msgspec.structs import replace

from attest_pipeline.adapters import metrics
from attest_pipeline.adapters.collateral_sources import Directory, Throttled, Vendors
from attest_pipeline.adapters.collateral_store import CollateralStore
from attest_pipeline.collateral.book import Book
from attest_pipeline.collateral.budget import Budget, Rate
from attest_pipeline.collateral.cache import Bounded
from attest_pipeline.collateral.exchange import Absent, Answer, Held, Later
from attest_pipeline.collateral.recipes import BadCollateral, Documents, NotThere, Recipe, Request, Response
from attest_pipeline.collateral.records import MINUTE, WEEK, Record, due_at, is_usable, rolls_back, stale_at
from attest_pipeline.errors import Unavailable

ABSENT_SECONDS: Final = 15 * MINUTE
"""How long a vendor's "there is none" is believed."""
_UNSERVED_SECONDS: Final = float(MINUTE)
"""The same where nobody can be asked: the operator may lay it down at any time."""
_ABSENT_MOST: Final = 20_000
_FAILURES_MOST: Final = 20_000
"""Whoever may attest can name references without end, each of which fails."""
_AT_ONCE: Final = 4
"""Requests in flight to one vendor."""
_QUEUED_MOST: Final = 2048
"""References that may wait for one vendor; whoever asks for more is told to come again."""
_BACKOFF_LEAST, _BACKOFF_MOST = 5.0, 600.0
_REFRESHED_AT_ONCE: Final = 64
_DEFAULT_RATE: Final = Rate(interval=1.0)
_log: Final = logging.getLogger(__name__)


class _Vendor:
    """One vendor's queue: requests go one by one as its budget grants, a few are in flight."""

    def __init__(self, name: str, rate: Rate) -> None:
        self.name = name
        self.budget = Budget(rate)
        self.flying = 0
        self.gate = asyncio.Lock()
        self.slots = asyncio.Semaphore(_AT_ONCE)


class _Failure:
    """How often a reference failed in a row, and until when it is left alone."""

    def __init__(self) -> None:
        self.count = 0
        self.until = 0.0

    def again(self, now: float, asked: float) -> None:
        self.count += 1
        self.until = now + max(asked, min(_BACKOFF_LEAST * 2.0 ** min(self.count - 1, 10), _BACKOFF_MOST))


class CollateralService:
    """Answers for references from records, and has what is missing or due fetched.

    `clock` is seconds since 1970, `sleep` waits. Call `load` first, then `tend` now and then.
    """

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        book: Book,
        vendors: Vendors,
        directory: Directory,
        store: CollateralStore,
        *,
        rates: dict[str, Rate],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        max_count: int,
        max_bytes: int,
    ) -> None:
        self._book = book
        self._network = vendors
        self._directory = directory
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._records: Bounded[Record] = Bounded(lambda record: record.size, max_count=max_count, max_bytes=max_bytes)
        self._absent: Bounded[float] = Bounded(lambda _: 0, max_count=_ABSENT_MOST, max_bytes=1)
        self._asked: dict[str, float] = {}
        self._failures: Bounded[_Failure] = Bounded(lambda _: 0, max_count=_FAILURES_MOST, max_bytes=1)
        self._flights: dict[tuple[Request, ...], asyncio.Task[None]] = {}
        self._vendors: dict[str, _Vendor] = {}
        self._rates = rates

    async def load(self) -> None:
        """Take up what an earlier run knew, and what the operator laid down."""
        for record in await self._store.load():
            self._records.put(record.name, record)
            self._asked[record.name] = self._clock()
        await self._import()

    # ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def answer(self, name: str) -> Answer:
        """What is known of a reference; what is not, or is due, begins to be fetched."""
        try:
            recipe, key = self._book.of(name)
            requests = recipe.requests(key)
        except BadCollateral:
            return Absent(ABSENT_SECONDS)
        now = self._clock()
        record = self._records.get(name)
        if record is not None and is_usable(record, now):
            self._asked[name] = now
            if due_at(record, recipe.lifetime) <= now:
                self._fly(name, recipe, requests)
            return _held(record, recipe)
        if (until := self._absent.get(name)) is not None and now < until:
            return Absent(until - now)
        self._fly(name, recipe, requests)
        if record is None and not self._served(requests):
            return Absent(_UNSERVED_SECONDS)
        return Later(self._estimate(name, recipe, now))

    async def obtain(self, names: Sequence[str], patience: float) -> dict[str, Answer]:
        """Answers for several references; waits up to `patience` seconds for those that are being fetched."""
        answers = {name: self.answer(name) for name in names}
        flights = [flight for name in names if (flight := self._flight_of(name)) and isinstance(answers[name], Later)]
        if flights and patience > 0:
            await asyncio.wait(flights, timeout=patience)
            answers |= {name: self.answer(name) for name, found in answers.items() if isinstance(found, Later)}
        return answers

    # ── upkeep ────────────────────────────────────────────────────────────────────────────────────────────────────────
    async def tend(self) -> None:
        """Take in what the operator laid down, fetch anew what is due and was asked for of late, state the expiry."""
        await self._import()
        now = self._clock()
        expiry: dict[str, float] = {}
        due = []
        for record in self._records:
            recipe, key = self._book.of(record.name)
            expiry[recipe.vendor] = min(expiry.get(recipe.vendor, float("inf")), record.valid_until - now)
            if due_at(record, recipe.lifetime) <= now and now - self._asked.get(record.name, 0.0) < WEEK:
                due.append((record.name, recipe, recipe.requests(key)))
        for vendor, seconds in expiry.items():
            metrics.COLLATERAL_EXPIRY.labels(vendor).set(seconds)
        for name, recipe, requests in due[:_REFRESHED_AT_ONCE]:
            self._fly(name, recipe, requests)
        self._asked = {name: at for name, at in self._asked.items() if self._records.peek(name)}

    async def stop(self) -> None:
        """End every flight."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    # ── flights ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _served(self, requests: tuple[Request, ...]) -> bool:
        return bool(requests) and all(map(self._network.serve, requests))

    def _flight_of(self, name: str) -> asyncio.Task[None] | None:
        try:
            recipe, key = self._book.of(name)
            return self._flights.get(recipe.requests(key))
        except BadCollateral:
            return None

    def _fly(self, name: str, recipe: Recipe, requests: tuple[Request, ...]) -> asyncio.Task[None] | None:
        """The flight that fetches a reference, started if need be; None while it is better left alone."""
        vendor = self._vendor(recipe.vendor)
        if (flight := self._flights.get(requests)) is not None:
            return flight
        if not self._served(requests) or vendor.flying >= _QUEUED_MOST:
            return None
        failure = self._failures.peek(name)
        if failure is not None and self._clock() < failure.until:
            return None
        flight = asyncio.create_task(self._fetch(name, recipe, requests, vendor))
        self._flights[requests] = flight
        vendor.flying += 1
        metrics.COLLATERAL_QUEUED.labels(vendor.name).set(vendor.flying)
        flight.add_done_callback(lambda _: self._landed(requests, vendor))
        return flight

    def _landed(self, requests: tuple[Request, ...], vendor: _Vendor) -> None:
        del self._flights[requests]
        vendor.flying -= 1
        metrics.COLLATERAL_QUEUED.labels(vendor.name).set(vendor.flying)

    async def _fetch(self, name: str, recipe: Recipe, requests: tuple[Request, ...], vendor: _Vendor) -> None:
        """Fetch, prove and keep; whatever goes wrong stays with this reference and is tried again later."""
        outcome, asked = "fetched", 0.0
        try:
            await self._fetch_records(name, recipe, requests, vendor)
        except NotThere:
            outcome = "absent"
            self._absent.put(name, self._clock() + ABSENT_SECONDS)
        except Throttled as error:
            outcome, asked = "throttled", error.retry_after
            vendor.budget.pause(self._clock() + asked)
        except Unavailable as error:
            outcome, asked = "failed", error.retry_after
            _log.warning("collateral not fetched", extra={"collateral": name, "why": str(error)})
        except _Older:
            outcome = "older"
            _log.warning("older collateral refused", extra={"collateral": name})
        except BadCollateral as error:
            outcome = "refused"
            _log.error("collateral refused", extra={"collateral": name, "why": str(error)})
        except Exception:  # noqa: BLE001 - one reference must not end the worker
            outcome = "failed"
            _log.exception("collateral not fetched", extra={"collateral": name})
        metrics.COLLATERAL_FETCHES.labels(vendor.name, outcome).inc()
        if outcome == "fetched":
            self._failures.drop(name)
            return
        failure = self._failures.get(name) or _Failure()
        failure.again(self._clock(), asked)
        self._failures.put(name, failure)

    async def _fetch_records(self, name: str, recipe: Recipe, requests: tuple[Request, ...], vendor: _Vendor) -> None:
        _, key = self._book.of(name)
        await self._ready(recipe.needs(key))
        responses = [await self._ask(vendor, request, first=request is requests[0]) for request in requests]
        found = recipe.documents(key, responses)
        if name not in found:
            raise BadCollateral("the answer leaves out what was asked for")
        for other, documents in found.items():
            await self._keep(other, documents, source=vendor.name)

    async def _ready(self, names: Sequence[str]) -> None:
        """Have the records that a proof stands on. Raises Unavailable."""
        for name in names:
            if not isinstance(self.answer(name), Held):
                flight = self._flight_of(name)
                if flight is not None:
                    await asyncio.wait([flight])
            if not isinstance(answer := self.answer(name), Held):
                raise Unavailable(f"{name} is needed first", answer.seconds if isinstance(answer, Later) else 1.0)

    async def _ask(self, vendor: _Vendor, request: Request, *, first: bool) -> Response:
        """One request, when the vendor's budget grants it. That only a later part is absent is the vendor's fault."""
        async with vendor.slots:
            async with vendor.gate:
                while (wait := vendor.budget.wait(self._clock())) > 0:
                    await self._sleep(wait)
                vendor.budget.spend(self._clock())
            try:
                return await self._network.fetch(request)
            except NotThere:
                if first:
                    raise
                raise Unavailable(f"{request.site}: a part of the collateral is not there") from None

    # ── records ───────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _import(self) -> None:
        """Take in the operator's files that are new; those that need others come after them."""
        changed = await asyncio.to_thread(self._directory.changed)
        for name in sorted(changed, key=lambda one: len(self._needs(one))):
            try:
                documents = await asyncio.to_thread(self._directory.documents, name)
                await self._keep(name, documents, source="directory", at=changed[name])
            except _Older:
                _log.warning("older collateral refused", extra={"collateral": name})
            except _Unready as error:
                self._directory.forget(name)
                _log.warning("collateral of the directory waits", extra={"collateral": name, "why": str(error)})
            except (BadCollateral, OSError, Unavailable) as error:
                _log.error("collateral of the directory refused", extra={"collateral": name, "why": str(error)})

    def _needs(self, name: str) -> tuple[str, ...]:
        try:
            return self._book.needs(name)
        except BadCollateral:
            return ()

    async def _keep(self, name: str, documents: tuple[bytes, ...], *, source: str, at: int | None = None) -> None:
        """Prove and keep documents that were had just now or `at` that time, unless later ones are kept already.

        Raises BadCollateral, also for what is of an earlier version than what is known.
        """
        now = int(self._clock())
        record = self._book.record(name, documents, self._proof_of(name, now), source=source, now=now)
        known = self._records.peek(name)
        if rolls_back(record, known):
            raise _Older(name)
        if at is not None:
            record = replace(record, fetched_at=at)
            if known is not None and known.fetched_at >= at:
                return
        self._absent.drop(name)
        self._asked[name] = now
        await self._store.save([record], self._records.put(name, record))

    def _proof_of(self, name: str, now: int) -> Documents:
        """Documents that a proof of the name stands on. Raises _Unready if they are not at hand."""
        proof = {}
        for need in self._book.needs(name):
            record = self._records.get(need)
            if record is None or not is_usable(record, now):
                raise _Unready(f"{need} is needed to prove it")
            proof[need] = record.documents
        return proof

    # ── estimates ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _vendor(self, name: str) -> _Vendor:
        if name not in self._vendors:
            self._vendors[name] = _Vendor(name, self._rates.get(name, _DEFAULT_RATE))
        return self._vendors[name]

    def _estimate(self, name: str, recipe: Recipe, now: float) -> float:
        """Seconds after which it is worth asking again."""
        vendor = self._vendor(recipe.vendor)
        queued = vendor.budget.estimate(now, max(0, vendor.flying - 1))
        failure = self._failures.peek(name)
        resting = 0.0 if failure is None else failure.until - now
        return max(1.0, min(max(queued, resting), _BACKOFF_MOST))


class _Unready(BadCollateral):
    """What the collateral is proven with is not at hand yet."""


class _Older(BadCollateral):
    """Collateral of an earlier version than what is known."""


def _held(record: Record, recipe: Recipe) -> Held:
    return Held(
        documents=record.documents,
        valid_from=record.valid_from,
        valid_until=record.valid_until,
        stale_at=stale_at(record, recipe.lifetime),
    )
