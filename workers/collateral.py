"""collateral: has Endorsements fetched, and serves them. Besides `webhook` the only kind that leaves the machine."""

import asyncio
from typing import Final

from attest_pipeline.adapters.collateral_service import CollateralService
from attest_pipeline.adapters.collateral_sources import (
    DEFAULT_RATES,
    IMPORTED,
    READ_LIMIT,
    Directory,
    Vendors,
    read_settings,
)
from attest_pipeline.adapters.collateral_store import CollateralStore
from attest_pipeline.adapters.guarded_http import GuardedClient
from attest_pipeline.collateral.book import Book
from attest_pipeline.collateral.exchange import decode_ask, encode_reply, name_of
from attest_pipeline.collateral.records import MAX_RECORD
from attest_pipeline.ports import Bus, Message
from attest_pipeline.subjects import COLLATERAL
from workers._process import Process

TEND_SECONDS: Final = 10.0
_WAITING_MOST: Final = 256
"""Requests that may wait for their answer at a time; more are answered at once."""


async def run(process: Process) -> None:
    """Serve `collateral.get` until told to stop."""
    state = process.settings.path("collateral_state")
    settings = read_settings(state)
    store = await CollateralStore.open(state)
    try:
        async with GuardedClient(
            allow_private=settings.allow_private, read_limit=READ_LIMIT, timeout=settings.timeout
        ) as client:
            service = CollateralService(
                Book(settings.trust_anchors),
                Vendors(settings, client, process.clock),
                Directory(state / IMPORTED),
                store,
                rates={**DEFAULT_RATES, **settings.rates},
                clock=process.clock,
                max_count=settings.max_count,
                max_bytes=settings.max_bytes,
            )
            await service.load()
            await _serve(process, service)
            await service.stop()
    finally:
        await store.close()


async def _serve(process: Process, service: CollateralService) -> None:
    desk = _Desk(process.bus, service)
    await process.bus.serve(COLLATERAL, "collateral", desk.receive)
    while not process.stopping.is_set():
        await service.tend()
        await process.sleep(TEND_SECONDS)
    await process.bus.stop()
    await desk.close()


class _Desk:
    """Takes requests one by one, and lets each wait for its answer without holding up the next."""

    def __init__(self, bus: Bus, service: CollateralService) -> None:
        self._bus = bus
        self._service = service
        self._open: set[asyncio.Task[None]] = set()

    async def receive(self, message: Message) -> None:
        """Begin to answer one request; what is none is not answered."""
        ask = decode_ask(message.data)
        if ask is None:
            return
        patience = ask.patience if len(self._open) < _WAITING_MOST else 0.0
        names = tuple(dict.fromkeys(map(name_of, ask.refs)))
        task = asyncio.create_task(self._answer(message.reply, names, patience))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _answer(self, reply: str, names: tuple[str, ...], patience: float) -> None:
        answers = await self._service.obtain(names, patience)
        await self._bus.publish(reply, encode_reply(answers, MAX_RECORD))

    async def close(self) -> None:
        """Let open requests get their answers."""
        while self._open:
            await asyncio.wait(self._open)
