"""Every user of the broker may do exactly what it must, and is refused everything else: by a real server."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import pytest
from bus_fixtures import connected

from attest_pipeline import subjects
from attest_pipeline.adapters.broker import Broker
from attest_pipeline.adapters.nats_bus import NatsBus
from attest_pipeline.adapters.nats_config import (
    FLEET,
    PROVISIONER,
    RELYING_PARTY,
    WORKERS,
    BrokerSpec,
    credentials_file,
    ensure_credentials,
    users_of,
)
from attest_pipeline.errors import Unavailable
from attest_pipeline.ports import Message, Record
from attest_pipeline.subjects import EVIDENCE, LAST_EPOCH, PARSE, Lane

pytestmark = pytest.mark.integration

NEXT = "$JS.API.CONSUMER.MSG.NEXT"
GET = "$JS.API.DIRECT.GET"
READS_CONFIG = {f"{GET}.KV_config", f"{GET}.KV_config.$KV.config.current.acme"}
TAKES_EVIDENCE = {
    f"{NEXT}.EVIDENCE.parse", "$JS.API.CONSUMER.INFO.EVIDENCE.parse", "$JS.ACK.EVIDENCE.parse.1.2.3.4.5", "_R_.x.y",
    "$KV.nonces.n", f"{GET}.KV_nonces.$KV.nonces.n", f"{GET}.EPOCHS.epoch.acme", "dead.acme.a1",
    "collateral.get",
}  # fmt: skip
VOUCHES = {"result.acme.a1", "reply.acme._INBOX_a1.x", "_R_.x.y", "$JS.ACK.EVIDENCE.parse.1.2.3.4.5"}
MAY_PUBLISH: dict[str, set[str]] = {
    "parse": READS_CONFIG | TAKES_EVIDENCE | {"stage.claims"},
    "collateral": READS_CONFIG,
    "match": READS_CONFIG | {"stage.match"},
    "appraise": READS_CONFIG | {"stage.appraisal"},
    "sign": READS_CONFIG | VOUCHES,
    "all": READS_CONFIG | TAKES_EVIDENCE | VOUCHES,
    "webhook": READS_CONFIG
    | {f"{NEXT}.RESULTS.webhook-siem", "$JS.API.CONSUMER.INFO.RESULTS.webhook-siem", "$JS.ACK.RESULTS.webhook-siem.1"}
    | {"dead.acme.a1"},
    "bell": READS_CONFIG | {"epoch.acme", f"{GET}.EPOCHS.epoch.acme"},
    "config": READS_CONFIG | {"$KV.config.current.acme"},
}
EVERYTHING = [
    *sorted(set[str]().union(*MAY_PUBLISH.values())),
    "ingest.acme.evidence.a1", "ingest.acme.batch.g1", "verify.acme.a1", "challenge.acme.a1",
    "changes.config.current.acme", "_INBOX_sign.x", "_INBOX_provisioner.x", "$JS.API.STREAM.DELETE.RESULTS",
    "$JS.API.STREAM.CREATE.X", "$JS.API.STREAM.PURGE.EVIDENCE", "$JS.API.STREAM.MSG.GET.RESULTS",
    "$JS.API.STREAM.MSG.DELETE.RESULTS", "$JS.API.CONSUMER.CREATE.EVIDENCE.spy", "$JS.API.INFO",
    "$JS.API.STREAM.PURGE.KV_config", "$JS.API.STREAM.MSG.DELETE.KV_config", "$JS.API.STREAM.UPDATE.KV_config",
    "$JS.API.CONSUMER.DELETE.EVIDENCE.parse", "$SYS.REQ.SERVER.PING", f"{NEXT}.EVIDENCE.other", "attest.v1.result.a1",
    "anything",
]  # fmt: skip
"""Every subject that some user may publish, and those that none may."""

MAY_SUBSCRIBE = {
    "parse": {"verify.*.*", "challenge.*.*", "epoch.*", "changes.config.>"},
    "collateral": {"collateral.get", "changes.config.>"},
    "match": {"stage.claims", "changes.config.>"},
    "appraise": {"stage.match", "changes.config.>"},
    "sign": {"stage.appraisal", "changes.config.>"},
    "all": {"verify.*.*", "challenge.*.*", "epoch.*", "changes.config.>"},
    "webhook": {"changes.config.>"},
    "bell": {"changes.config.>"},
    "config": {"changes.config.>"},
}
LISTENED = [
    *sorted(set[str]().union(*MAY_SUBSCRIBE.values())),
    ">", "*.>", "ingest.>", "result.>", "reply.>", "_R_.>", "_INBOX.>", "$JS.ACK.>", "$KV.>", "dead.>", "$JS.API.>",
]  # fmt: skip

AGENT_SAYS = {"attest.v1.evidence.a1", "attest.v1.verify.a1", "attest.v1.challenge.a1", LAST_EPOCH}
AGENT_HEARS = {"attest.v1.result.a1", "attest.v1.epoch", "_INBOX_a1.>"}
OTHERS = [
    "attest.v1.evidence.a2", "attest.v1.verify.a2", "attest.v1.challenge.a2", "attest.v1.evidence-batch.a1",
    "attest.v1.evidence-batch.g1", "attest.v1.result.a1", "attest.v1.epoch", "_INBOX_a1.x", "_INBOX_a2.x",
    "ingest.acme.evidence.a1", "ingest.other.evidence.a1", "verify.acme.a1", "$JS.API.INFO", "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.MSG.GET.RESULTS", f"{GET}.EPOCHS.epoch.other", f"{NEXT}.EVIDENCE.parse",
    "$JS.ACK.EVIDENCE.parse.1.1.1.1.0", "$KV.config.current.acme", "stage.claims", "result.acme.a1",
    "$SYS.REQ.SERVER.PING",
]  # fmt: skip
SPIES = [
    ">", "*.>", "attest.v1.>", "attest.v1.result.>", "attest.v1.result.*", "attest.v1.result.a2",
    "attest.v1.evidence.a2", "_INBOX_a2.>", "_INBOX.>", "_INBOX_a1x.>", "ingest.>", "reply.>", "$JS.>", "_R_.>",
    "attest.v1.verify.>",
]  # fmt: skip


Act = Callable[[str], Awaitable[object]]


class Trial:
    """A user on the server, and what it was refused."""

    def __init__(self, bus: NatsBus, caplog: pytest.LogCaptureFixture) -> None:
        self._bus = bus
        self._caplog = caplog

    async def publishes(self, tried: Iterable[str]) -> set[str]:
        """The subjects that the server let the user publish."""
        return await self._allowed(tried, "publish", lambda subject: self._bus.publish(subject, b""))

    async def hears(self, tried: Iterable[str]) -> set[str]:
        """The subjects that the server let the user subscribe."""
        return await self._allowed(
            tried, "subscription", lambda subject: self._bus._link.listen(subject, "", lambda *_: None)
        )

    async def _allowed(self, tried: Iterable[str], what: str, act: Act) -> set[str]:
        self._caplog.clear()
        for subject in tried:
            await act(subject)
        await self._bus._link.flush()
        said = self._caplog.text.lower()
        return {one for one in tried if f'permissions violation for {what} to "{one.lower()}"' not in said}


async def stored(broker: Broker) -> list[str]:
    """Subjects of the Evidence in the stream, as parse gets it."""
    parse = await connected(broker, "parse")
    subjects_seen: list[str] = []
    try:
        async with asyncio.timeout(0.3):
            async for messages in parse.pull(EVIDENCE, PARSE, batch=8):
                subjects_seen += [message.subject for message in messages]
    except TimeoutError:
        pass
    await parse.drain()
    return subjects_seen


@pytest.mark.parametrize("kind", WORKERS)
async def test_a_worker_may_do_exactly_what_it_must(
    broker: Broker, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    bus = await connected(broker, kind)
    trial = Trial(bus, caplog)
    assert await trial.publishes(EVERYTHING) == MAY_PUBLISH[kind]
    assert await trial.hears([*LISTENED, f"_INBOX_{kind}.x"]) == MAY_SUBSCRIBE[kind] | {f"_INBOX_{kind}.x"}
    foreign = {f"_INBOX_{other}.>" for other in (*WORKERS, PROVISIONER) if other != kind}
    assert await trial.hears(foreign) == set()
    await bus.drain()


async def test_the_collateral_worker_answers_once_and_only_who_asked(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    parse, worker = await connected(broker, "parse"), await connected(broker, "collateral")
    refused = Trial(worker, caplog)

    async def answer(message: Message) -> None:
        await worker.publish(message.reply, b"here")
        assert await refused.publishes([message.reply]) == set()

    await worker.serve(subjects.COLLATERAL, "collateral", answer)
    assert (await parse.request(subjects.COLLATERAL, b"", timeout=2.0)).data == b"here"
    await worker.stop()
    for bus in (parse, worker):
        await bus.drain()


async def test_an_agent_speaks_and_hears_for_itself_alone(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    agent = await connected(broker, "a1", "acme")
    trial = Trial(agent, caplog)
    assert await trial.publishes([*AGENT_SAYS, *OTHERS]) == AGENT_SAYS
    assert await trial.hears([*AGENT_HEARS, *SPIES]) == AGENT_HEARS
    await agent.drain()


async def test_a_gateway_sends_batches_and_no_single_evidence_and_hears_of_itself_alone(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = await connected(broker, "g1", "acme")
    trial = Trial(gateway, caplog)
    mine = {"attest.v1.evidence-batch.g1", LAST_EPOCH}
    assert await trial.publishes({*mine, *AGENT_SAYS, *OTHERS, "attest.v1.evidence-batch.g2"}) == mine
    hears = {"attest.v1.result.g1", "attest.v1.epoch", "_INBOX_g1.>"}
    assert await trial.hears({*hears, *AGENT_HEARS, *SPIES}) == hears
    await gateway.drain()


async def test_a_relying_party_hears_all_results_of_its_tenant_and_says_nothing(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    party = await connected(broker, RELYING_PARTY, "acme")
    trial = Trial(party, caplog)
    assert await trial.publishes([*AGENT_SAYS, *OTHERS]) == set()
    assert await trial.hears(["attest.v1.result.*", "attest.v1.evidence.*", "_INBOX_a1.>", ">"]) == {
        "attest.v1.result.*"
    }
    await party.drain()


async def test_a_simulated_fleet_speaks_for_all_agents_of_its_tenant(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = await connected(broker, FLEET, "acme")
    trial = Trial(fleet, caplog)
    may = {subjects.view(lane, "a7") for lane in (Lane.EVIDENCE, Lane.BATCH, Lane.VERIFY, Lane.CHALLENGE)}
    assert await trial.publishes({*may, "ingest.acme.evidence.a7", "attest.v1.result.a7", "$JS.API.INFO"}) == may
    await fleet.drain()


@pytest.mark.parametrize("lane", ["attest.v1.evidence.a1", "attest.v1.verify.a1", LAST_EPOCH])
async def test_an_answer_cannot_be_turned_into_evidence_of_another_agent(broker: Broker, lane: str) -> None:
    bell, parse = await connected(broker, "bell"), await connected(broker, "parse")
    agent = await connected(broker, "a1", "acme")
    await bell.store([Record(subject=subjects.epoch("acme"), data=b"tick", message_id="t")])
    await parse.serve(subjects.service(Lane.VERIFY), "parse", lambda message: parse.publish(message.reply, b"answer"))
    await agent.publish(lane, b"mine", reply="attest.v1.evidence.a2")
    await asyncio.sleep(0.1)
    for bus in (agent, bell, parse):
        await bus.drain()
    assert set(await stored(broker)) <= {"ingest.acme.evidence.a1"}


async def test_the_tenant_of_evidence_is_that_of_the_account(broker: Broker) -> None:
    for tenant in ("acme", "other"):
        agent = await connected(broker, "a1", tenant)
        await agent.store([Record(subject="attest.v1.evidence.a1", data=b"x", message_id=tenant)])
        await agent.drain()
    assert await stored(broker) == ["ingest.acme.evidence.a1", "ingest.other.evidence.a1"]


async def test_a_tenant_hears_nothing_of_another(broker: Broker) -> None:
    sign, bell, heard = await connected(broker, "sign"), await connected(broker, "bell"), []
    other = await connected(broker, "a1", "other")

    async def hear(message: Message) -> None:
        heard.append(message.data)

    for subject in ("attest.v1.result.a1", "_INBOX_a1.x", subjects.EPOCH):
        await other.serve(subject, "", hear)
    for tenant in ("acme", "other"):
        data = tenant.encode()
        await sign.store([Record(subject=f"result.{tenant}.a1", data=data, message_id=tenant)])
        await sign.publish(subjects.reply(tenant, "a1", "_INBOX_a1.x"), data)
        await bell.store([Record(subject=subjects.epoch(tenant), data=data, message_id=tenant)])
    await asyncio.sleep(0.1)
    for bus in (sign, bell, other):
        await bus.drain()
    assert heard == [b"other"] * 3


async def test_a_stranger_does_not_get_in(broker: Broker, tmp_path: Path) -> None:
    user = users_of(BrokerSpec(store=""))[0]
    ensure_credentials(tmp_path, [user])
    with pytest.raises(Unavailable, match="uthorization"):
        await NatsBus.connect(
            broker.url, credentials=credentials_file(tmp_path, user.account, user.name), name="x", clock=lambda: 0.0
        )
