"""The parse worker: what is handed on, what waits, what is given up, and what is answered."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pipeline_lab as lab
import pytest
import token_lab
from msgspec.structs import replace
from topologies import eventually

from attest_pipeline import freshness, subjects, wire
from attest_pipeline.adapters import config_store
from attest_pipeline.adapters.config_store import ConfigStore
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.errors import Misconfigured, Reason, Unavailable
from attest_pipeline.freshness import Tick, encode_marker
from attest_pipeline.model import (
    AllowList,
    EpochChallenge,
    EventLog,
    LoggedEvent,
    LogName,
    Malfunction,
    NonceChallenge,
    ReferenceValueSet,
    Rejection,
    TenantConfig,
    Verified,
)
from attest_pipeline.owner.tenant import version_of
from attest_pipeline.pipeline import Parse
from attest_pipeline.ports import Found, Message, Record
from attest_pipeline.subjects import Lane
from attest_pipeline.testing import InMemoryBroker, InMemoryBus
from attest_pipeline.wire import Frame, Item
from workers import parse
from workers._process import Process
from workers._settings import Settings
from workers._stage import Versioned
from workers.parse import Intake

ATTEMPTS: Final = 6
ACK_WAIT: Final = 10.0
SIGNER: Final = token_lab.SIGNER
DATA: Final = wire.encode(lab.EVIDENCE)


class House:
    """One Intake between a broker in memory and a list of frames; time moves when the test says so."""

    def __init__(self) -> None:
        self.now = float(lab.NOW)
        self.broker = InMemoryBroker(lambda: self.now, ack_wait=ACK_WAIT, max_deliver=ATTEMPTS + 1)
        self.bus = InMemoryBus(self.broker)
        self.configs = ConfigStore(self.bus)
        self.verifier = lab.ScriptedVerifier()
        self.source = lab.ScriptedSource()
        self.frames: list[Frame] = []
        self.refused: set[str] = set()
        stages = Versioned(self.configs, lambda loaded: self._stage(loaded.config))
        process = Process(
            settings=Settings(), bus=self.bus, configs=self.configs, stopping=asyncio.Event(), clock=lambda: self.now
        )
        keys = [SIGNER.public_jwk()]
        self.intake = Intake(process, stages, self._hand_on, nonce_key=lab.NONCE_KEY, bell_keys=keys)

    async def configure(self, tenant: str = "acme", **changes: Any) -> None:
        config = replace(lab.CONFIG, tenant=tenant, **changes)
        version = version_of(config)
        await config_store.publish(self.bus, replace(config, version=version), {})
        await eventually(lambda: self.configs.versions().get(tenant) == version, "the configuration was not taken")

    async def store(self, agent: str, data: bytes = DATA, *, lane: Lane = Lane.EVIDENCE, tenant: str = "acme") -> None:
        await self.bus.store([Record(subject=subjects.service(lane, tenant, agent), data=data, message_id="")])

    async def items(self, count: int) -> list[Item]:
        """Items handed on so far, once there are that many."""
        await eventually(lambda: len(self._items()) >= count, "nothing was handed on")
        return self._items()

    async def rest(self) -> list[Item]:
        """Items handed on so far, when everything that can happen now has happened."""
        await asyncio.sleep(0.05)
        return self._items()

    def _items(self) -> list[Item]:
        return [item for frame in self.frames for item in frame.items]

    def _stage(self, config: TenantConfig) -> Parse:
        if config.tenant in self.refused:
            raise Misconfigured("no plugin")
        return lab.parse(self.verifier, self.source, config)

    async def _hand_on(self, frame: Frame) -> None:
        self.frames.append(frame)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """A running Intake with one configured tenant."""
    house = House()
    following = asyncio.create_task(house.configs.follow())
    await house.configure()
    running = asyncio.create_task(house.intake.run(64))
    yield house
    await house.bus.drain()
    await asyncio.gather(following, running)


def _agents(items: Sequence[Item]) -> list[str]:
    return [item.context.agent for item in items]


def _batch(*entries: wire.BatchEntry) -> bytes:
    return wire.encode(wire.EvidenceBatch(tuple(msgspec.Raw(wire.encode(entry)) for entry in entries)))


def _again(agent: str, attempt: int, data: bytes = DATA) -> Message:
    """Stored Evidence as it is delivered for the nth time."""
    subject = subjects.service(Lane.EVIDENCE, "acme", agent)
    ack = f"$JS.ACK.EVIDENCE.parse.{agent}"
    return Message(subject=subject, data=data, reply=ack, received_at=lab.NOW, attempt=attempt)


# ── frames ────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_evidence_that_comes_together_is_one_frame_for_each_tenant(house: House) -> None:
    await house.configure("other")
    for number in range(3):
        await house.store(f"a{number}")
        await house.store(f"b{number}", tenant="other")
    items = await house.items(6)
    assert sorted((frame.tenant, len(frame.items)) for frame in house.frames) == [("acme", 3), ("other", 3)]
    assert all(isinstance(item.artefacts[0], Verified) for item in items)
    assert len({item.ack for item in items}) == 6


async def test_evidence_with_long_logs_comes_together_and_leaves_in_several_frames(house: House) -> None:
    events = (LoggedEvent(10, "ima-ng", "aa" * 32, "/usr/bin/cat", text_authenticated=True),) * 4000
    log = EventLog(name=LogName.IMA, digest="00", registers=(10,), events=events)
    house.verifier.outcome = replace(token_lab.CLAIMS, logs=(log,))
    allowed = AllowList(registers=(10,), digests=("aa" * 32,))
    baseline = ReferenceValueSet(
        name="files", version="1", tee="tdx", values={"mrtd": ("00",)}, logs={LogName.IMA: allowed}
    )
    await house.configure(reference_values=(baseline,))
    for number in range(5):
        await house.store(f"a{number}")
    assert _agents(await house.items(5)) == [f"a{number}" for number in range(5)]
    assert [len(frame.items) for frame in house.frames] == [2, 2, 1]


async def test_a_wanted_reply_lies_in_the_agents_inbox_or_the_evidence_is_rejected(house: House) -> None:
    for wanted in ("_INBOX_a1.x", "_INBOX_a2.x"):
        subject = subjects.service(Lane.EVIDENCE, "acme", "a1")
        headers = {wire.REPLY_HEADER: wanted}
        await house.bus.store([Record(subject=subject, data=DATA, message_id="", headers=headers)])
    good, bad = await house.items(2)
    assert good.reply == "reply.acme._INBOX_a1.x"
    assert bad.reply == ""
    assert isinstance(bad.artefacts[0], Rejection)
    assert bad.artefacts[0].reason == Reason.WRONG_REPLY


async def test_evidence_of_a_name_that_is_none_is_kept_aside_and_acked(house: House) -> None:
    await house.bus.store([Record(subject="ingest.acme.evidence.a~b", data=b"whose?", message_id="")])
    await eventually(lambda: not house.broker.stored(subjects.EVIDENCE), "it was not acked")
    (kept,) = house.broker.stored(subjects.DEAD)
    assert (kept.subject, kept.data) == ("dead.unknown.unknown", b"whose?")
    assert not await house.rest()


# ── what waits ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_evidence_whose_endorsement_is_not_known_yet_waits_and_the_others_go_on(house: House) -> None:
    house.source.failure = Unavailable("on its way")
    await house.store("early")
    assert not await house.rest()
    house.source.failure = None
    await house.store("late")
    assert _agents(await house.items(1)) == ["late"]
    house.now += 2.0
    items = await house.items(2)
    assert _agents(items) == ["late", "early"]
    assert items[1].context.received_at == lab.NOW


async def test_of_a_batch_nothing_is_handed_on_while_one_entry_waits(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = replace(lab.EVIDENCE, attester_key=None, as_of=lab.NOW - 7)
    find = house.source.find

    def find_late(ref: Any) -> Found:
        if len(house.verifier.seen) == 1:
            raise Unavailable("on its way")
        return find(ref)

    monkeypatch.setattr(house.source, "find", find_late)
    await house.store(
        "gateway", _batch(wire.BatchEntry("b1", lab.EVIDENCE), wire.BatchEntry("b2", late)), lane=Lane.BATCH
    )
    assert not await house.rest()
    monkeypatch.setattr(house.source, "find", find)
    house.now += 2.0
    items = await house.items(2)
    assert _agents(items) == ["b1", "b2"]
    assert len({item.ack for item in items}) == 1


async def test_evidence_of_a_tenant_without_configuration_waits_and_in_the_end_a_copy_is_kept(house: House) -> None:
    await house.store("a1", tenant="nobody")
    for _ in range(ATTEMPTS):
        await house.rest()
        house.now += ACK_WAIT
    await eventually(lambda: not house.broker.stored(subjects.EVIDENCE), "it was not acked")
    assert [message.subject for message in house.broker.stored(subjects.DEAD)] == ["dead.nobody.a1"]
    assert not await house.rest()


async def test_a_configuration_that_cannot_be_used_here_stops_no_other_tenant(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    await house.configure("other")
    house.refused.add("acme")
    with caplog.at_level(logging.WARNING):
        await house.store("a1")
        await house.store("b1", tenant="other")
        assert _agents(await house.items(1)) == ["b1"]
    assert "no usable configuration" in caplog.text
    house.refused.clear()
    house.now += 2.0
    assert _agents(await house.items(2)) == ["b1", "a1"]


async def test_nothing_is_pulled_before_there_is_a_configuration(tmp_path: Path) -> None:
    broker = InMemoryBroker(lambda: float(lab.NOW))
    bus, stopping = InMemoryBus(broker), asyncio.Event()
    (tmp_path / "nonce").write_bytes(lab.NONCE_KEY)
    (tmp_path / "bell").write_bytes(b'{"keys":[]}')
    settings = Settings(nonce_key=tmp_path / "nonce", bell_keys=tmp_path / "bell")
    process = Process(settings=settings, bus=bus, configs=ConfigStore(bus), stopping=stopping)
    running = asyncio.create_task(parse.run(process))
    await bus.store([Record(subject="ingest.acme.evidence.a1", data=DATA, message_id="")])
    await asyncio.sleep(0.05)
    (attempt,) = [message.attempt for message in broker.take(subjects.EVIDENCE, subjects.PARSE, 10)]
    assert attempt == 1
    stopping.set()
    await asyncio.wait_for(running, 1.0)
    await bus.drain()


async def test_what_the_broker_does_not_take_is_left_to_redelivery_and_ends_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hand_on = house.intake._handoff

    async def fail(_: Frame) -> None:
        raise Unavailable("the broker is away")

    monkeypatch.setattr(house.intake, "_handoff", fail)
    with caplog.at_level(logging.WARNING):
        await house.store("a1")
        await house.rest()
    assert "evidence left to redelivery" in caplog.text
    monkeypatch.setattr(house.intake, "_handoff", hand_on)
    house.now += ACK_WAIT
    assert _agents(await house.items(1)) == ["a1"]


# ── what is given up ──────────────────────────────────────────────────────────────────────────────────────────────────
async def test_evidence_that_was_touched_alone_and_comes_for_the_last_time_is_a_dead_letter(house: House) -> None:
    await house.intake._durable([_again("a1", ATTEMPTS - 1)])
    assert len(house.verifier.seen) == 1
    await house.intake._durable([_again("a1", ATTEMPTS)])
    assert len(house.verifier.seen) == 1
    dead = house.frames[-1].items[0]
    assert isinstance(dead.artefacts[0], Malfunction)
    assert dead.artefacts[0].reason == Reason.DELIVERIES_EXHAUSTED
    assert dead.ack == "$JS.ACK.EVIDENCE.parse.a1"
    (kept,) = house.broker.stored(subjects.DEAD)
    assert (kept.subject, kept.data) == ("dead.acme.a1", DATA)


async def test_evidence_that_was_never_reached_is_judged_at_its_last_delivery_but_not_beyond(house: House) -> None:
    await house.intake._durable([_again("a1", ATTEMPTS), _again("a2", ATTEMPTS + 1)])
    judged, dead = await house.items(2)
    assert isinstance(judged.artefacts[0], Verified)
    assert isinstance(dead.artefacts[0], Malfunction)


async def test_suspects_are_judged_alone_and_those_that_were_touched_before_come_last(house: House) -> None:
    await house.intake._durable([_again("a1", ATTEMPTS - 2)])
    messages = [_again("a1", ATTEMPTS - 1), _again("new", 1), _again("a2", ATTEMPTS - 1), _again("a3", ATTEMPTS - 2)]
    house.frames.clear()
    await house.intake._durable(messages)
    assert [_agents(frame.items) for frame in house.frames] == [["new"], ["a2"], ["a3"], ["a1"]]


async def test_a_suspected_batch_is_judged_alone_and_given_up_entry_by_entry(house: House) -> None:
    batch = _batch(wire.BatchEntry("b1", lab.EVIDENCE), wire.BatchEntry("b2", lab.EVIDENCE))
    message = replace(_again("gateway", ATTEMPTS - 1, batch), subject="ingest.acme.batch.gateway")
    await house.intake._durable([message])
    await house.intake._durable([replace(message, attempt=ATTEMPTS)])
    first, last = house.frames
    assert _agents(first.items) == _agents(last.items) == ["b1", "b2"]
    assert all(isinstance(item.artefacts[0], Malfunction) for item in last.items)
    assert [message.subject for message in house.broker.stored(subjects.DEAD)] == ["dead.acme.b1", "dead.acme.b2"]


# ── lanes that answer ─────────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_interactive_lane_gives_up_at_once_what_cannot_be_known(house: House) -> None:
    house.source.failure = Unavailable("on its way")
    request = house.broker.message(subjects.service(Lane.VERIFY, "acme", "a1"), DATA, reply="inbox")
    house.broker.send(request)
    (item,) = await house.items(1)
    assert (item.reply, item.ack) == ("inbox", "")
    assert isinstance(item.artefacts[0], Malfunction)


@pytest.mark.parametrize("lane", ["verify", "challenge"])
async def test_a_request_of_a_name_that_is_none_has_no_answer(
    house: House, caplog: pytest.LogCaptureFixture, lane: str
) -> None:
    with pytest.raises(Unavailable, match="no answer"):
        await house.bus.request(f"{lane}.acme.a~b", DATA, timeout=0.05)
    assert not await house.rest()
    assert "undeliverable subject" in caplog.text


async def test_a_nonce_is_for_the_agent_that_asked_and_expires(house: House) -> None:
    answer = await house.bus.request(subjects.service(Lane.CHALLENGE, "acme", "a1"), b"", timeout=1.0)
    issued = msgspec.json.decode(answer.data)
    assert issued["expires"] == lab.NOW + freshness.NONCE_SECONDS
    nonce = msgspec.json.decode(answer.data, type=_Issued).nonce
    freshness.check_nonce(lab.NONCE_KEY, "acme", "a1", nonce, received_at=lab.NOW)


class _Issued(msgspec.Struct):
    nonce: bytes


async def test_a_nonce_serves_one_attestation_and_its_redelivery(house: House) -> None:
    nonce = freshness.issue_nonce(lab.NONCE_KEY, "acme", "a1", expires=lab.NOW + 60, salt=bytes(16))
    first = replace(lab.EVIDENCE, challenge=NonceChallenge(nonce))
    other = replace(first, evidence=(replace(first.evidence[0], items={"quote": b"other"}),))
    for collection in (first, first, other, first):
        await house.store("a1", wire.encode(collection))
    outcomes = [type(item.artefacts[0]) for item in await house.items(4)]
    assert outcomes == [Verified, Verified, Rejection, Verified]


# ── ticks ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _tick(epoch: int, tenant: str = "acme") -> Tick:
    return Tick(tenant, epoch, bytes(32), lab.NOW - 10, lab.NOW + 10)


async def _outcome(house: House, epoch: int) -> type:
    before = len(house._items())
    await house.store("a1", wire.encode(replace(lab.EVIDENCE, challenge=EpochChallenge(epoch))))
    return type((await house.items(before + 1))[-1].artefacts[0])


async def test_the_last_marker_is_fetched_and_every_later_one_is_heard(house: House) -> None:
    await house.bus.store([Record(subject="epoch.acme", data=encode_marker([_tick(1)], SIGNER), message_id="")])
    house.intake._ticks.clear()
    assert await _outcome(house, 1) is Verified
    await house.bus.publish("epoch.acme", encode_marker([_tick(2)], SIGNER))
    await house.rest()
    assert [await _outcome(house, epoch) for epoch in (1, 2, 3)] == [Verified, Verified, Rejection]


async def test_a_marker_that_was_missed_is_asked_for_when_evidence_names_its_epoch(house: House) -> None:
    await house.bus.publish("epoch.acme", encode_marker([_tick(1)], SIGNER))
    await house.rest()
    house.intake._caught_up.clear()
    assert await _outcome(house, 2) is Rejection, "nobody rang that bell"
    unheard = house.broker.message("epoch.acme", encode_marker([_tick(1), _tick(2)], SIGNER))
    assert house.broker._keep(unheard, "")
    assert await _outcome(house, 2) is Rejection, "asked a moment ago"
    house.now += 1.0
    assert await _outcome(house, 2) is Verified


async def test_who_wants_no_answer_gets_none(house: House, caplog: pytest.LogCaptureFixture) -> None:
    for lane, data in ((Lane.CHALLENGE, b""), (Lane.VERIFY, DATA)):
        await house.bus.publish(subjects.service(lane, "acme", "a1"), data)
    assert await house.rest() == []
    assert caplog.text == ""


async def test_a_marker_that_is_not_the_bells_for_this_tenant_is_ignored(house: House, tmp_path: Path) -> None:
    stranger = FileSigner.ensure(tmp_path / "key.pem")
    for marker in (encode_marker([_tick(5)], stranger), encode_marker([_tick(5, "other")], SIGNER), b"ding"):
        await house.bus.publish("epoch.acme", marker)
    await house.rest()
    assert await _outcome(house, 5) is Rejection


async def test_old_ticks_are_forgotten(house: House) -> None:
    for start in range(0, 100, 10):
        marker = encode_marker([_tick(epoch) for epoch in range(start, start + 10)], SIGNER)
        await house.bus.publish("epoch.acme", marker)
    await house.rest()
    assert sorted(house.intake._ticks["acme"]) == list(range(36, 100))


async def test_ticks_of_a_clock_that_was_set_back_since_displace_none_of_now(house: House) -> None:
    for epoch in range(1000, 1070):
        await house.bus.publish("epoch.acme", encode_marker([_tick(epoch)], SIGNER))
    await house.bus.publish("epoch.acme", encode_marker([_tick(1)], SIGNER))
    await eventually(lambda: set(house.intake._ticks["acme"]) == {1}, "ticks of the future are kept")
