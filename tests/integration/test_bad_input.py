"""Whatever an agent or a gateway sends, it gets a signed Rejection or a typed refusal, and no worker ends."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import cbor2
import msgspec
import pytest
from bus_client import Client, details, over_tick
from topologies import Deployment

from attest_pipeline import subjects, wire
from attest_pipeline.ear import Status
from attest_pipeline.errors import Unavailable
from attest_pipeline.freshness import Tick
from attest_pipeline.model import EpochChallenge, Evidence, NonceChallenge, SuppliedChallenge
from attest_pipeline.simulator.device import Vendor

pytestmark = pytest.mark.asyncio(loop_scope="module")
Lane = Callable[[str, bytes], Awaitable[bytes]]
DEEP = 100_000
CBOR_DEEP = 15_000
MIB = 1024 * 1024
SAMPLE = Evidence("snp", {"report": bytes(1184)})


def _collection(evidence: Sequence[Evidence] = (SAMPLE,), **other: object) -> bytes:
    return msgspec.msgpack.encode({"evidence": evidence, **other})


def _cca(token: bytes) -> bytes:
    return _collection([Evidence("cca", {"token": token})])


def _twice(label: int) -> bytes:
    """A CBOR map that names one label twice."""
    return b"\xa2" + cbor2.dumps(label) + b"\x41\x00" + cbor2.dumps(label) + b"\x41\x01"


NO_COLLECTION = {
    "nothing": (b"", "empty"),
    "zeros": (bytes(2000), "malformed"),
    "text": (b"attest me", "malformed"),
    "nested arrays": (b"\x91" * DEEP, "malformed"),
    "nested maps": (b"\x81\xa1a" * DEEP, "malformed"),
    "an array of four billion": (b"\xdd\xff\xff\xff\xff", "malformed"),
    "half a collection": (_collection()[:-100], "malformed"),
    "a byte too many": (_collection() + b"\xc0", "malformed"),
    "an unknown field": (_collection(admin=True), "malformed"),
    "an unknown kind of challenge": (_collection(challenge={"type": "none"}), "malformed"),
    "no evidence": (_collection([]), "malformed"),
    "too much evidence": (_collection([SAMPLE] * 9), "malformed"),
    "too many items": (_collection([Evidence("snp", {str(name): b"" for name in range(9)})]), "too_large"),
    "a large item": (_collection([Evidence("snp", {"report": bytes(256 * 1024 + 1)})]), "too_large"),
    "an epoch below zero": (_collection(challenge={"type": "epoch", "epoch": -1}), "malformed"),
    "a time before all times": (_collection(as_of=-1), "malformed"),
}
NO_EVIDENCE = {
    "an unknown TEE": (_collection([Evidence("sev", {})]), "unknown_tee"),
    "a TEE of strange name": (_collection([Evidence("\u202e\x00", {})]), "unknown_tee"),
    "a TEE of hostile name": (_collection([Evidence("\u202e\x00" * 5000, {})]), "malformed"),
    "no items": (_collection([Evidence("tdx", {})]), "empty"),
    "a bad attester key": (_collection(attester_key=b"no key"), "malformed"),
    "a challenge of one byte": (_collection(challenge=SuppliedChallenge(b"\x01")), "challenge_mismatch"),
    "a nonce of one byte": (_collection(challenge=NonceChallenge(b"\x01")), "challenge_mismatch"),
    "a nonce of zeros": (_collection(challenge=NonceChallenge(bytes(56))), "challenge_mismatch"),
    "an epoch to come": (_collection(challenge=EpochChallenge(1 << 62)), "challenge_expired"),
    "CBOR nested arrays": (_cca(b"\x81" * CBOR_DEEP), "malformed"),
    "CBOR nested open arrays": (_cca(b"\x9f" * CBOR_DEEP), "malformed"),
    "CBOR nested tags": (_cca(b"\xc6" * CBOR_DEEP), "malformed"),
    "CBOR array of 2^63": (_cca(b"\x9b\x7f" + b"\xff" * 7), "malformed"),
    "CBOR bytes of 2^63": (_cca(b"\x5b\x7f" + b"\xff" * 7), "malformed"),
    "CBOR number of 15 kB": (_cca(cbor2.dumps(cbor2.CBORTag(2, bytes(15_000)))), "malformed"),
    "CBOR of 200 kB": (_cca(bytes(200_000)), "too_large"),
    "CBOR reference to itself": (_cca(b"\xd8\x1c\x81\xd8\x1d\x00"), "malformed"),
    "CBOR duplicate keys": (_cca(b"\xd9\x01\x8f" + _twice(44234)), "malformed"),
}


@pytest.mark.parametrize("name", [*NO_COLLECTION, *NO_EVIDENCE])
async def test_what_is_no_evidence_is_rejected_in_either_lane(client: Client, name: str) -> None:
    data, reason = {**NO_COLLECTION, **NO_EVIDENCE}[name]
    agent = "bad-" + "".join(letter if letter.isalnum() else "-" for letter in name)
    await client.submit(agent, data)
    for token in (await client.token(agent), await client.ask(agent, data)):
        attested = client.checked(token)
        found = details(attested)
        assert (found.outcome, found.reason) == ("rejected", reason), found.detail
        assert attested.status in {Status.NONE, Status.CONTRAINDICATED}


async def test_equal_rubbish_of_two_agents_is_two_attestations(client: Client, deployment: Deployment) -> None:
    agents = ("rubbish-1", "rubbish-2")
    for agent in agents:
        await client.submit(agent, b"rubbish")
    first, second = [client.checked(await client.token(agent)) for agent in agents]
    assert first.jti != second.jti
    counts = await deployment.settled()
    assert [counts[f"result.acme.{agent}"] for agent in agents] == [1, 1]


@pytest.mark.parametrize("content_type", ["", "text/html", "application/json", "application/msgpack; v=2", "x" * 5000])
async def test_evidence_of_another_content_type_is_rejected(client: Client, content_type: str) -> None:
    agent = f"type-{len(content_type)}"
    await client.submit(agent, _collection(), headers={wire.CONTENT_TYPE: content_type})
    found = details(client.checked(await client.token(agent)))
    assert found.reason == ("malformed" if content_type == wire.JSON else "unsupported_format")


@pytest.mark.parametrize("size", [MIB - 4096, 2 * MIB])
async def test_a_message_above_the_limit_is_refused_or_rejected(client: Client, size: int) -> None:
    agent = f"large-{size}"
    for lane in (client.submit_and_hear, client.ask):
        assert await _refusal(client, lane, agent, bytes(size)) in {"refused", "too_large"}


async def _refusal(client: Client, lane: Lane, agent: str, data: bytes) -> str:
    try:
        token = await lane(agent, data)
    except Unavailable:
        return "refused"
    return details(client.checked(token)).reason


# ── batches ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_bad_entries_of_a_batch_are_rejected_and_harm_no_other(client: Client, vendors: Sequence[Vendor]) -> None:
    snp = next(vendor for vendor in vendors if vendor.tee == "snp")
    tick = await client.tick()
    good = [wire.BatchEntry(f"beside-{number}", over_tick(f"beside-{number}", tick, (snp, 1))) for number in range(3)]
    names = ["", "a.b", "*", ">", "x" * 65, "a b", "\u00e4"]
    bad = [wire.BatchEntry(name, good[0].collection) for name in names]
    rubbish = [Tick("acme", 1, b"", 0, 0), _Text("no entry")]
    await client.submit_batch("mixed", [good[0], *bad, good[1], *rubbish, good[2]])
    for entry in good:
        assert client.checked(await client.token(entry.agent)).status == Status.AFFIRMING
    found = [details(client.checked(await client.token("mixed"))) for _ in (*bad, *rubbish)]
    assert [one.reason for one in found] == ["wrong_agent"] * len(bad) + ["malformed"] * len(rubbish)


class _Text(msgspec.Struct, array_like=True):
    text: str


@pytest.mark.parametrize(("count", "reason"), [(0, "too_large"), (wire.MAX_BATCH + 1, "too_large")])
async def test_a_batch_of_the_wrong_size_is_rejected_as_a_whole(client: Client, count: int, reason: str) -> None:
    gateway = f"batch-{count}"
    await client.submit_batch(gateway, [_Text("")] * count)
    assert details(client.checked(await client.token(gateway))).reason == reason


async def test_the_pipeline_still_works_and_owes_nobody_anything(
    client: Client, deployment: Deployment, vendors: Sequence[Vendor]
) -> None:
    tick = await client.tick()
    collections = {vendor.tee: over_tick(vendor.tee, tick, (vendor, 1)) for vendor in vendors}
    found = await asyncio.gather(*(client.attest(tee, collection) for tee, collection in collections.items()))
    assert {attested.status for attested in found} == {Status.AFFIRMING}
    await deployment.settled()
    assert not await deployment.counts(subjects.DEAD)
