"""parse: takes Evidence from every lane, proves it, and hands frames of Claims on. Also answers for challenges."""

import asyncio
import hashlib
import logging
import secrets
from collections import defaultdict
from collections.abc import Sequence
from operator import itemgetter
from typing import Final

import msgspec

from attest_pipeline import freshness, subjects
from attest_pipeline.adapters import files, metrics
from attest_pipeline.adapters.collateral_cache import CollateralCache
from attest_pipeline.adapters.config_store import Loaded
from attest_pipeline.adapters.site import read_nonce_key
from attest_pipeline.endorsing import Snapshot
from attest_pipeline.errors import Reason, Unavailable
from attest_pipeline.freshness import NONCE_SECONDS, SALT_BYTES, Tick
from attest_pipeline.jws import BadToken, Jwk, Jwks
from attest_pipeline.model import EpochChallenge, EvidenceCollection
from attest_pipeline.pipeline import Parse, Submission, exhausted, rejected
from attest_pipeline.ports import Message, Record
from attest_pipeline.subjects import Lane, Origin
from attest_pipeline.wire import Frame, Item, portions
from workers._process import Process
from workers._stage import Handoff, Versioned, forward
from workers._submissions import asked, entries, mark_of, origin_of, single, stored
from workers._waiting import WaitingRoom

QUEUE: Final = "parse"
_RETRY_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.1
_SUSPECT: Final = 2
"""Deliveries before the last in which Evidence is judged alone, because it may be what killed its judge before."""
_TICKS_KEPT: Final = 64
_NO_EPOCH: Final = -1
_CATCH_UP_SECONDS: Final = 1.0
"""Between two questions for a tenant's last marker: whoever names an epoch that never was causes no more of them."""
_TURN: Final = 8
"""Evidences proven in a row before the interactive lane has its turn: about two milliseconds."""
_log: Final = logging.getLogger(__name__)


class Intake:
    """Evidence in, frames of proven or rejected items out."""

    def __init__(
        self,
        process: Process,
        stages: Versioned[Parse],
        handoff: Handoff,
        *,
        nonce_key: bytes,
        bell_keys: Sequence[Jwk],
        collateral: CollateralCache | None = None,
    ) -> None:
        """Read the keys that challenges are made with; the settings say when Evidence is a dead letter."""
        self._bus = process.bus
        self._clock = process.clock
        self._attempts = process.settings.attempts
        self._stages = stages
        self._handoff = handoff
        self._nonce_key = nonce_key
        self._bell_keys = bell_keys
        self._ticks: dict[str, dict[int, Tick]] = defaultdict(dict)
        self._caught_up: dict[str, float] = defaultdict(float)
        self._room = WaitingRoom(self._bus, collateral, self._frame, self._clock) if collateral else None

    async def run(self, frame: int) -> None:
        """Serve every lane until the bus drains; `frame` is the most messages taken together."""
        await self._bus.serve(subjects.service(Lane.VERIFY), QUEUE, self._interactive)
        await self._bus.serve(subjects.service(Lane.CHALLENGE), QUEUE, self._challenge)
        await self._bus.serve(subjects.epoch(), "", self._tick)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(self._room.run()) if self._room else None
            await self._take(frame)
            if waiting is not None:
                waiting.cancel()

    # ── lanes ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _take(self, frame: int) -> None:
        async for messages in self._bus.pull(subjects.EVIDENCE, subjects.PARSE, batch=frame):
            try:
                await self._durable(messages)
            except Unavailable as error:
                _log.warning("evidence left to redelivery", extra={"messages": len(messages), "why": str(error)})

    async def _durable(self, messages: Sequence[Message]) -> None:
        """Judge together what came together; what came too often is suspected of killing its judge."""
        frames: dict[str, list[Submission]] = defaultdict(list)
        suspects: list[tuple[Origin, Message]] = []
        for message in messages:
            origin = origin_of(message)
            if origin is None:
                await self._bury(subjects.dead("unknown", "unknown"), message.data)
                await self._bus.ack(message.reply)
            elif message.attempt >= self._attempts - _SUSPECT:
                suspects.append((origin, message))
            elif origin.lane is Lane.BATCH:
                await self._frame(origin.tenant, entries(message, origin))
            else:
                frames[origin.tenant].append(single(message, origin))
        for tenant, submissions in frames.items():
            await self._frame(tenant, submissions)
        await self._judge_alone(suspects)

    async def _judge_alone(self, suspects: Sequence[tuple[Origin, Message]]) -> None:
        """Mark each before it is touched; what has a mark already and comes for the last time is not touched again.

        What has none goes first: it was never reached, because another killed the process before it. Storing the mark
        is also the barrier behind which what was handed on before is safe.
        """
        marks = [mark_of(message) for _, message in suspects]
        known = [await self._bus.get(subjects.NONCES, mark) is not None for mark in marks]
        for is_known, mark, (origin, message) in sorted(zip(known, marks, suspects, strict=True), key=itemgetter(0)):
            await self._bus.put(subjects.NONCES, mark, b"")
            last = message.attempt >= self._attempts + (not is_known)
            await self._frame(origin.tenant, stored(message, origin, last_attempt=last))

    async def _interactive(self, message: Message) -> None:
        origin = origin_of(message)
        if origin is None or not message.reply:
            return
        await self._frame(origin.tenant, [asked(message, origin, last_attempt=not self._room)])

    async def _challenge(self, message: Message) -> None:
        origin = origin_of(message)
        if origin is None or not message.reply:
            return
        expires = int(self._clock()) + NONCE_SECONDS
        nonce = freshness.issue_nonce(
            self._nonce_key, origin.tenant, origin.name, expires=expires, salt=secrets.token_bytes(SALT_BYTES)
        )
        answer = msgspec.json.encode({"nonce": nonce, "expires": expires})
        await self._bus.publish(message.reply, answer)

    async def _tick(self, message: Message) -> None:
        tenant = message.subject.rpartition(".")[2]
        await self._learn(tenant, message.data)

    # ── frames ────────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _frame(self, tenant: str, submissions: Sequence[Submission]) -> None:
        try:
            version, stage = await self._stages.current(tenant)
        except Unavailable as error:
            _log.warning("no usable configuration", extra={"tenant": tenant, "why": str(error)})
            await self._hold(tenant, submissions)
            return
        await self._catch_up(tenant, submissions)
        with metrics.STAGE_SECONDS.labels("parse").time():
            items = await self._items(tenant, stage, submissions)
        metrics.STAGE_ITEMS.labels("parse").inc(len(items))
        for portion in portions(items):
            await self._handoff(Frame(tenant, version, portion))

    async def _items(self, tenant: str, stage: Parse, submissions: Sequence[Submission]) -> list[Item]:
        """Prove one by one, letting the interactive lane in between; what shares an ack waits together."""
        items: list[Item] = []
        waiting: list[Submission] = []
        for number, submission in enumerate(submissions, 1):
            try:
                items.append(await self._item(tenant, stage, submission))
            except Unavailable:
                waiting.append(submission)
            if number % _TURN == 0:
                await asyncio.sleep(0)
        held = {_message(one) for one in waiting}
        await self._wait(tenant, [one for one in submissions if _message(one) in held])
        return [item for item in items if _message(item) not in held]

    async def _wait(self, tenant: str, submissions: Sequence[Submission]) -> None:
        """Let what misses collateral wait here, or else on the stream."""
        await self._postpone(self._room.admit(tenant, submissions) if self._room else submissions)

    async def _item(self, tenant: str, stage: Parse, submission: Submission) -> Item:
        if submission.last_attempt and submission.ack:
            return await self._dead(tenant, submission)
        item = stage(submission, self._ticks[tenant])
        context = item.context
        if context.fresh and context.nonce is not None:
            return await self._spend(item, context.nonce)
        return item

    async def _dead(self, tenant: str, submission: Submission) -> Item:
        """Give up on Evidence that kills what touches it: keep a copy, answer with a Malfunction."""
        item = exhausted(submission, tenant, self._attempts)
        metrics.DEAD_LETTERS.inc()
        _log.error("dead letter", extra={"tenant": tenant, "attestation": item.context.attestation_id.hex()})
        await self._bury(subjects.dead(tenant, submission.agent), submission.data)
        return item

    async def _bury(self, subject: str, data: bytes) -> None:
        message_id = f"dead-{hashlib.sha256(subject.encode() + data).hexdigest()}"
        await self._bus.store([Record(subject=subject, data=data, message_id=message_id)])

    async def _spend(self, item: Item, nonce: bytes) -> Item:
        """A nonce serves one attestation; the redelivery of that attestation is the same one."""
        key = hashlib.sha256(nonce).hexdigest()
        holder = await self._bus.create(subjects.NONCES, key, item.context.attestation_id)
        if holder is None or holder == item.context.attestation_id:
            return item
        return rejected(item, Reason.CHALLENGE_REUSED, "the nonce has served another attestation")

    async def _hold(self, tenant: str, submissions: Sequence[Submission]) -> None:
        """Without a configuration nobody can sign: wait for one, and in the end keep a copy."""
        given_up = [submission for submission in submissions if submission.ack and submission.last_attempt]
        for submission in given_up:
            await self._bury(subjects.dead(tenant, submission.agent), submission.data)
        for ack in dict.fromkeys(submission.ack for submission in given_up):
            await self._bus.ack(ack)
        await self._postpone([submission for submission in submissions if not submission.last_attempt])

    async def _postpone(self, submissions: Sequence[Submission]) -> None:
        for ack in dict.fromkeys(submission.ack for submission in submissions if submission.ack):
            await self._bus.retry_later(ack, _RETRY_SECONDS)

    # ── ticks ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _catch_up(self, tenant: str, submissions: Sequence[Submission]) -> None:
        """Ask for the last marker when Evidence names a later epoch than any known: a marker may have been missed."""
        named = max(map(_epoch, submissions), default=_NO_EPOCH)
        now = self._clock()
        if named > max(self._ticks[tenant], default=_NO_EPOCH) and now >= self._caught_up[tenant] + _CATCH_UP_SECONDS:
            self._caught_up[tenant] = now
            await self._last_ticks(tenant)

    async def _last_ticks(self, tenant: str) -> None:
        try:
            last = await self._bus.request(subjects.last_epoch(tenant), b"", timeout=1.0)
        except Unavailable:
            return
        await self._learn(tenant, last.data)

    async def _learn(self, tenant: str, marker: bytes) -> None:
        try:
            ticks = freshness.decode_marker(marker, self._bell_keys, tenant)
        except BadToken as error:
            _log.warning("epoch marker ignored", extra={"tenant": tenant, "why": str(error)})
            return
        newest = max(ticks, default=_NO_EPOCH)  # the bell's clock may have been set back
        known = {epoch: tick for epoch, tick in self._ticks[tenant].items() if epoch <= newest} | ticks
        self._ticks[tenant] = {epoch: known[epoch] for epoch in sorted(known)[-_TICKS_KEPT:]}


async def run(process: Process, handoff: Handoff | None = None) -> None:
    """Run the parse stage; frames go to match over the bus unless a handoff says otherwise."""
    nonce_key = read_nonce_key(process.settings.path("nonce_key"))
    bell_keys = process.settings.path("bell_keys")
    collateral = CollateralCache(process.clock) if process.settings.collateral else None
    intake = Intake(
        process,
        Versioned(process.configs, lambda loaded: _stage(loaded, nonce_key, collateral)),
        handoff or forward(process.bus, subjects.STAGE_CLAIMS),
        nonce_key=nonce_key,
        bell_keys=files.decode_json(bell_keys, files.read(bell_keys), Jwks).keys,
        collateral=collateral,
    )
    while not process.configs.versions():  # without any, each delivery would be wasted
        await process.sleep(_LOOK_SECONDS)
        if process.stopping.is_set():
            return
    await intake.run(process.settings.frame)


def _stage(loaded: Loaded, nonce_key: bytes, collateral: CollateralCache | None) -> Parse:
    snapshot = Snapshot(loaded.config.endorsements, loaded.documents)
    return Parse(loaded.config, collateral.behind(snapshot) if collateral else snapshot, nonce_key)


def _epoch(submission: Submission) -> int:
    """The epoch that a submission's challenge names."""
    challenge = submission.evidence.challenge if isinstance(submission.evidence, EvidenceCollection) else None
    return challenge.epoch if isinstance(challenge, EpochChallenge) else _NO_EPOCH


def _message(one: Submission | Item) -> str:
    """What the submissions of one message share: its ack, or where its only answer goes."""
    return one.ack or one.reply
