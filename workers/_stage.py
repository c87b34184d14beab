"""What every stage process does: take a frame, apply the pure stage of its configuration version, hand the frame on."""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final, Generic, TypeVar

from attest_pipeline import verifiers
from attest_pipeline.adapters import metrics
from attest_pipeline.adapters.config_store import ConfigStore, Loaded
from attest_pipeline.errors import Misconfigured, Unavailable
from attest_pipeline.model import Appraised, Malfunction, Rejection
from attest_pipeline.pipeline import UNKNOWN_TEE, Sign, Transform, Vouched
from attest_pipeline.ports import Bus, Message, Record
from attest_pipeline.subjects import Lane, service
from attest_pipeline.wire import CONTENT_TYPE, RESULT_TYPE, Frame, decode_frame, encode

Handoff = Callable[[Frame], Awaitable[None]]
"""Where a frame goes next: over the bus, or into the next stage of the same process."""

T = TypeVar("T")
_VERSIONS_KEPT: Final = 8
"""Of each tenant."""
_WAITING_MOST: Final = 512
"""Results that may wait for a store; with them and one more frame a store is still one batch."""
_TEES: Final = verifiers.installed()
_RESULT_HEADERS: Final = {CONTENT_TYPE: RESULT_TYPE}
_log: Final = logging.getLogger(__name__)


class Versioned(Generic[T]):
    """A stage for each configuration version in use, so that a redelivered frame meets the stage it met before."""

    def __init__(self, configs: ConfigStore, build: Callable[[Loaded], T]) -> None:
        """`build` makes the stage of one version."""
        self._configs = configs
        self._build = build
        self._built: dict[str, dict[str, T]] = defaultdict(dict)

    async def current(self, tenant: str) -> tuple[str, T]:
        """The tenant's current version and its stage. Raises Unavailable if it has none that can be used here."""
        loaded = self._configs.current(tenant)
        if loaded is None:
            raise Unavailable(f"tenant {tenant} has no configuration")
        version = loaded.config.version
        return version, await self.of(tenant, version)

    async def of(self, tenant: str, version: str) -> T:
        """Stage of that version. Raises Unavailable if it is not in the store, or cannot be used here."""
        built = self._built[tenant]
        if version not in built:
            stage = self._made(await self._configs.version(tenant, version))
            if len(built) >= _VERSIONS_KEPT:
                del built[next(iter(built))]
            built[version] = stage
        return built[version]

    def _made(self, loaded: Loaded) -> T:
        """One tenant's version that this host cannot run, for want of a plugin, stops no other tenant."""
        try:
            return self._build(loaded)
        except Misconfigured as error:
            raise Unavailable(f"configuration {loaded.config.version[:12]}: {error}") from None


def forward(bus: Bus, subject: str) -> Handoff:
    """Hand frames to another process."""

    async def handoff(frame: Frame) -> None:
        await bus.publish(subject, encode(frame))

    return handoff


def transform(name: str, stages: Versioned[Transform], handoff: Handoff) -> Handoff:
    """A stage between parse and sign, as a function of frames."""

    async def handle(frame: Frame) -> None:
        stage = await stages.of(frame.tenant, frame.config)
        with metrics.STAGE_SECONDS.labels(name).time():
            done = stage(frame)
        metrics.STAGE_ITEMS.labels(name).inc(len(done.items))
        await handoff(done)

    return handle


async def serve(bus: Bus, subject: str, queue: str, handle: Handoff) -> None:
    """Feed a stage from the bus. A frame that cannot be handled is left to redelivery, and said so."""

    async def receive(message: Message) -> None:
        try:
            await handle(decode_frame(message.data))
        except Unavailable as error:
            _log.warning("frame left to redelivery", extra={"stage": queue, "why": str(error)})
        except Exception:  # noqa: BLE001 - one frame must not end the worker; redelivery brings it back
            _log.exception("frame left to redelivery", extra={"stage": queue})

    await bus.serve(subject, queue, receive)


class Outlet:
    """The end of the pipeline: sign, store the results, answer, and only then ack the Evidence.

    One store is under way at a time, and what is signed meanwhile goes with the next: the slower the disk, the more
    results share an fsync. A frame is never divided, because its items may share an ack.
    """

    def __init__(self, bus: Bus, stages: Versioned[Sign]) -> None:
        """Results leave through the bus."""
        self._bus = bus
        self._stages = stages
        self._signed: list[Vouched] = []
        self._leaving: asyncio.Task[None] | None = None

    async def __call__(self, frame: Frame) -> None:
        """Sign a frame and let its results leave while the next frame is signed."""
        stage = await self._stages.of(frame.tenant, frame.config)
        with metrics.STAGE_SECONDS.labels("sign").time():
            vouched = stage(frame)
        metrics.STAGE_ITEMS.labels("sign").inc(len(vouched))
        for verdict, count in Counter(_verdicts(frame)).items():
            metrics.VERDICTS.labels(*verdict).inc(count)
        await self._answer(one for one in vouched if not one.item.ack)
        self._signed.extend(one for one in vouched if one.item.ack)
        if self._leaving is None or self._leaving.done():
            self._leaving = asyncio.create_task(self._leave())
        if len(self._signed) >= _WAITING_MOST:
            await self.drain()

    async def drain(self) -> None:
        """Wait until every signed result has left."""
        if self._leaving is not None:
            await self._leaving

    async def _leave(self) -> None:
        while self._signed:
            vouched, self._signed = self._signed, []
            try:
                await self._store(vouched)
            except Unavailable as error:
                _log.warning("results left to redelivery", extra={"items": len(vouched), "why": str(error)})

    async def _store(self, vouched: Sequence[Vouched]) -> None:
        await self._bus.store([_record(one) for one in vouched])
        await self._answer(vouched)
        for ack in dict.fromkeys(one.item.ack for one in vouched):
            await self._bus.ack(ack)
        now = time.time()  # noqa: TID251 - latency is measured against the stream's clock
        for one in vouched:
            metrics.ATTESTATION_SECONDS.observe(max(0.0, now - one.item.context.received_at))

    async def _answer(self, vouched: Iterable[Vouched]) -> None:
        for one in vouched:
            if one.item.reply:
                await self._bus.publish(one.item.reply, one.token)


def _verdicts(frame: Frame) -> Iterator[tuple[str, str, str]]:
    """Labels of each verdict; a TEE without a plugin is no label, because its name is the sender's."""
    for item in frame.items:
        for artefact in item.artefacts:
            if isinstance(artefact, Appraised):
                yield artefact.claims.tee, artefact.appraisal.status, ""
            elif isinstance(artefact, Rejection | Malfunction):
                tee = artefact.tee if artefact.tee in _TEES else UNKNOWN_TEE
                yield tee, "rejected" if isinstance(artefact, Rejection) else "malfunction", artefact.reason


def _record(vouched: Vouched) -> Record:
    context = vouched.item.context
    return Record(
        subject=service(Lane.RESULT, context.tenant, context.agent),
        data=vouched.token,
        message_id=context.attestation_id.hex(),
        headers=_RESULT_HEADERS,
    )
