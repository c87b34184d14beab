"""The collateral service against a server that serves, throttles, hangs, lies and dies."""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from collateral_lab import FakeVendors, World, dying, hanging, held, refusing, saying, serving, write_settings
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attest_pipeline.adapters import collateral_service, collateral_store
from attest_pipeline.adapters.collateral_service import ABSENT_SECONDS, CollateralService
from attest_pipeline.adapters.collateral_sources import READ_LIMIT, Vendors, read_settings
from attest_pipeline.adapters.collateral_store import CollateralStore
from attest_pipeline.adapters.guarded_http import GuardedClient
from attest_pipeline.collateral.book import Book
from attest_pipeline.collateral.budget import Rate
from attest_pipeline.collateral.exchange import Absent, Held, Later
from attest_pipeline.collateral.records import DAY, WEEK
from attest_pipeline.errors import Misconfigured
from attest_pipeline.model import TrustAnchor
from attest_pipeline.simulator.amd import AmdVendor
from attest_pipeline.simulator.device import Vendor
from attest_pipeline.simulator.intel_pki import FMSPC, IntelPki

TDX = f"intel-dcap/tdx/{FMSPC.hex()}/platform"
CRL = "amd-crl/milan"
PARTS = 4


@pytest.fixture(scope="module")
def pki() -> IntelPki:
    return IntelPki(datetime.now(UTC))


@pytest.fixture(scope="module")
def milan(vendors: tuple[Vendor, ...]) -> AmdVendor:
    (vendor,) = (one for one in vendors if isinstance(one, AmdVendor))
    return vendor


def dcap(pki: IntelPki, number: int = 20) -> bytes:
    info = {**pki.tcb_info("tdx"), "tcbEvaluationDataNumber": number}
    return json.dumps(pki.collateral(info, pki.qe_identity("tdx"))).encode()


@pytest_asyncio.fixture
async def world(tmp_path: Path, pki: IntelPki, milan: AmdVendor) -> AsyncIterator[World]:
    fake = FakeVendors()
    fake.intel("tdx", TDX.removeprefix("intel-dcap/"), dcap(pki))
    fake.amd("Milan", milan.endorsements())
    async with serving(fake):
        yield World(tmp_path, fake, (TrustAnchor("intel", pki.root_spki), *milan.trust_anchors()))


# ── fetching ──────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_what_many_ask_for_is_fetched_once(world: World) -> None:
    async with world.service() as service:
        assert isinstance(service.answer(TDX), Later)
        answers = await asyncio.gather(*(service.obtain([TDX, CRL], 5.0) for _ in range(20)))
        assert all(isinstance(one, Held) for found in answers for one in found.values())
        assert sorted(world.fake.asked).count("/vcek/v1/Milan/cert_chain") == 1
        assert len(world.fake.asked) == PARTS + 2


async def test_what_is_known_is_answered_without_a_question(world: World) -> None:
    async with world.service() as service:
        first = await held(service, TDX)
        asked = len(world.fake.asked)
        assert service.answer(TDX) == first
        assert len(world.fake.asked) == asked


async def test_a_vcek_is_proven_under_the_chain_that_is_fetched_for_it(world: World, milan: AmdVendor) -> None:
    chip = milan.chip(3)
    name = f"amd-leaf/milan/{chip.chip_id.hex()}/{chip.tcb.hex()}"
    async with world.service() as service:
        recipe, key = Book().of(name)
        world.fake.serve("/" + recipe.requests(key)[0].path, chip.leaf)
        assert (await held(service, name)).documents == (chip.leaf,)
        assert isinstance(service.answer("amd-chain/milan/ask"), Held)


async def test_names_that_are_none_are_absent_and_nobody_is_asked(world: World) -> None:
    async with world.service() as service:
        for name in ("nobody/x", "intel-dcap/tdx/../x", "amd-crl/naples", "arm-cpak/x", "amd-crl/milan?x=http://y/"):
            assert isinstance(service.answer(name), Absent)
        assert not world.fake.asked


async def test_what_the_vendor_does_not_have_is_absent_for_a_while(world: World) -> None:
    missing = TDX.replace(FMSPC.hex(), "90c06f000000")
    async with world.service() as service:
        assert isinstance((await service.obtain([missing], 5.0))[missing], Absent)
        asked = len(world.fake.asked)
        assert isinstance(service.answer(missing), Absent)
        assert len(world.fake.asked) == asked == 1
        world.now += ABSENT_SECONDS + 1
        assert isinstance(service.answer(missing), Later)


async def test_that_only_a_part_is_missing_is_no_absence(world: World) -> None:
    async def partly(request: web.Request) -> web.StreamResponse:
        return web.Response(status=404) if "pckcrl" in request.path else await world.fake.truth(request)

    world.fake.mood = partly
    async with world.service() as service:
        assert isinstance((await service.obtain([TDX], 5.0))[TDX], Later)


# ── trouble ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "mood",
    [
        pytest.param(refusing(500), id="fails"),
        pytest.param(refusing(302, {"Location": "http://127.0.0.1:1/"}), id="redirects"),
        pytest.param(dying, id="dies"),
        pytest.param(hanging, id="hangs"),
        pytest.param(saying(b"<html>garbage"), id="garbage"),
        pytest.param(saying(bytes(READ_LIMIT + 1)), id="huge"),
        pytest.param(saying(b'{"tcbInfo":{"fmspc":"90c06f000000"},"signature":"00"}'), id="unsigned"),
    ],
)
async def test_a_vendor_in_trouble_leaves_the_answer_open_and_harms_no_other(
    world: World, mood: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> None:
    async def only_intel(request: web.Request) -> web.StreamResponse:
        return await world.fake.truth(request) if request.path.startswith("/vcek") else await mood(request)

    world.fake.mood = only_intel
    async with world.service(timeout=0.3) as service:
        answers = await service.obtain([TDX, CRL], 5.0)
        assert isinstance(answers[TDX], Later)
        assert isinstance(answers[CRL], Held)
        world.fake.mood = None
        assert isinstance(service.answer(TDX), Later), "it is left alone for a while"
        world.now += 11
        await held(service, TDX)


async def test_a_reference_that_keeps_failing_is_asked_for_less_and_less(world: World) -> None:
    world.fake.mood = refusing(500)
    async with world.service() as service:
        for _ in range(200):
            await service.obtain([TDX], 1.0)
            world.now += 10
        assert 5 < len(world.fake.asked) < 20
        answer = service.answer(TDX)
        assert isinstance(answer, Later)
        assert 1 <= answer.seconds <= 600


async def test_an_answer_that_leaves_out_what_was_asked_for_is_no_success(world: World, milan: AmdVendor) -> None:
    (root,) = milan.endorsements()["amd-chain/milan/ark"]
    chain = x509.load_der_x509_certificate(root).public_bytes(Encoding.PEM)
    world.fake.serve("/vcek/v1/Milan/cert_chain", chain)
    async with world.service() as service:
        for _ in range(20):
            await service.obtain(["amd-chain/milan/ask"], 1.0)
            world.now += 1
        assert len(world.fake.asked) < 5


async def test_no_more_failures_are_remembered_than_there_is_room_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collateral_service, "_FAILURES_MOST", 3)
    async with world.service() as service:
        for number in range(8):
            await service.obtain([f"nvidia-rim/driver/580.0.{number}/gh100"], 5.0)
        assert len(world.fake.asked) == 8
        assert len(service._failures) == 3


async def test_a_vendor_that_throttles_is_left_alone_as_long_as_it_asks(world: World) -> None:
    world.fake.mood = refusing(429, {"Retry-After": "120"})
    async with world.service() as service:
        answer = (await service.obtain([CRL], 5.0))[CRL]
        assert isinstance(answer, Later)
        assert 60 < answer.seconds <= 120
        asked, until = len(world.fake.asked), world.now + 100
        while world.now < until:
            await service.obtain([CRL], 0.1)
            world.now += 10
        assert len(world.fake.asked) == asked
        world.fake.mood = None
        world.now += 30
        await held(service, CRL)


async def test_a_refusal_that_names_no_time_means_a_minute(world: World) -> None:
    world.fake.mood = refusing(503)
    async with world.service() as service:
        answer = (await service.obtain([CRL], 5.0))[CRL]
        assert isinstance(answer, Later)
        assert 50 < answer.seconds <= 60


async def test_requests_queue_for_the_budget_and_none_is_turned_away(world: World, milan: AmdVendor) -> None:
    names = []
    for serial in range(8):
        chip = milan.chip(serial)
        names.append(f"amd-leaf/milan/{chip.chip_id.hex()}/{chip.tcb.hex()}")
        recipe, key = Book().of(names[-1])
        world.fake.serve("/" + recipe.requests(key)[0].path, chip.leaf)
    began = world.now
    async with world.service(rates={"amd": Rate(interval=10.0, burst=1)}) as service:
        for name in names:
            service.answer(name)
        last = service.answer(names[-1])
        assert isinstance(last, Later)
        assert last.seconds >= 60, "whoever waits is told how long the queue is"
        answers = await service.obtain(names, 10.0)
        assert all(isinstance(one, Held) for one in answers.values())
    assert world.now - began >= 8 * 10.0 - 1


# ── age ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_due_collateral_is_served_and_fetched_anew_behind(world: World, pki: IntelPki) -> None:
    async with world.service() as service:
        first = await held(service, TDX)
        world.fake.intel("tdx", TDX.removeprefix("intel-dcap/"), dcap(pki, 21))
        world.now += DAY + 60
        assert service.answer(TDX) == first
        await _landed(service)
        assert (await held(service, TDX)).documents != first.documents


async def test_upkeep_refreshes_what_is_asked_for_and_leaves_the_rest(world: World) -> None:
    async with world.service() as service:
        await held(service, TDX)
        asked = len(world.fake.asked)
        await service.tend()
        await _landed(service)
        assert len(world.fake.asked) == asked
        world.now += DAY + 60
        await service.tend()
        await _landed(service)
        assert len(world.fake.asked) == asked + PARTS
        world.now += WEEK + DAY
        await service.tend()
        assert not service._flights


async def test_through_a_long_outage_it_is_served_stale_and_said_so_until_its_end(world: World) -> None:
    async with world.service() as service:
        first = await held(service, TDX)
        assert first.stale_at > world.now
        world.fake.mood = refusing(500)
        world.now += 8 * DAY
        stale = service.answer(TDX)
        assert isinstance(stale, Held)
        assert stale.stale_at <= world.now < stale.valid_until
        await _landed(service)
        world.now = stale.valid_until
        assert isinstance(service.answer(TDX), Later), "what has ended would condemn Evidence that only waits"


async def test_older_collateral_never_replaces_newer(world: World, pki: IntelPki) -> None:
    world.fake.intel("tdx", TDX.removeprefix("intel-dcap/"), dcap(pki, 30))
    async with world.service() as service:
        newer = await held(service, TDX)
    world.fake.intel("tdx", TDX.removeprefix("intel-dcap/"), dcap(pki, 29))
    async with world.service() as service:
        world.now += DAY + 60
        assert service.answer(TDX) == newer
        await _landed(service)
        assert service.answer(TDX) == newer
        assert len(world.fake.asked) == 2 * PARTS


async def _landed(service: CollateralService) -> None:
    async with asyncio.timeout(5):
        while service._flights:
            await asyncio.wait(service._flights.values())


# ── on disk ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_restart_asks_no_vendor_for_what_is_known(world: World) -> None:
    async with world.service() as service:
        first = await held(service, TDX)
    world.fake.mood = dying
    async with world.service() as service:
        assert service.answer(TDX) == first
    assert [record.name for record in collateral_store.read(world.state)] == [TDX]


async def test_the_store_is_as_bounded_as_the_memory(world: World) -> None:
    async with world.service(max_count=1) as service:
        await held(service, TDX)
        await service.obtain(["amd-chain/milan/ark"], 5.0)
    assert len(collateral_store.read(world.state)) == 1


async def test_a_record_that_cannot_be_read_is_fetched_anew(world: World) -> None:
    async with world.service() as service:
        await held(service, TDX)
    with closing(sqlite3.connect(world.state / "collateral.db")) as database:
        database.execute("UPDATE record SET body = x'00ff'")
        database.commit()
    assert collateral_store.read(world.state) == []
    store = await CollateralStore.open(world.state)
    try:
        assert await store.load() == []
    finally:
        await store.close()
    async with world.service() as service:
        await held(service, TDX)


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be looked at" * 50, None])
async def test_a_file_that_is_no_store_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / collateral_store.FILE
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(Misconfigured, match="may be removed"):
        await CollateralStore.open(tmp_path)
    with pytest.raises(Misconfigured):
        collateral_store.read(tmp_path)


async def test_a_store_of_another_version_is_left_alone(tmp_path: Path) -> None:
    store = await CollateralStore.open(tmp_path)
    await store._database.execute("PRAGMA user_version=7")
    await store.close()
    with pytest.raises(Misconfigured, match="version 7"):
        await CollateralStore.open(tmp_path)


def test_a_store_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert collateral_store.read(tmp_path) == []


# ── the operator's files ──────────────────────────────────────────────────────────────────────────────────────────────
def lay_down(state: Path, files: Mapping[str, bytes]) -> None:
    for name, document in files.items():
        path = state / "imported" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(document)


async def test_files_are_served_without_any_vendor(world: World, pki: IntelPki, milan: AmdVendor) -> None:
    given = milan.endorsements()
    lay_down(world.state, {TDX: dcap(pki), CRL: given[CRL][0], "amd-chain/milan/ark": given["amd-chain/milan/ark"][0]})
    lay_down(world.state, {"arm-cpak/key~0": b"one", "arm-cpak/key~1": b"two", ".hidden": b"", "nobody/x": b""})
    async with world.service(offline=True) as service:
        assert (await held(service, CRL)).documents == given[CRL]
        assert (await held(service, "arm-cpak/key")).documents == (b"one", b"two")
        await held(service, TDX)
        assert isinstance(service.answer("amd-crl/genoa"), Absent)
        assert not world.fake.asked


async def test_a_file_that_is_laid_down_later_is_taken_up_and_a_bad_one_is_not(world: World, pki: IntelPki) -> None:
    async with world.service(offline=True) as service:
        assert isinstance(service.answer(TDX), Absent)
        lay_down(
            world.state, {TDX: dcap(pki), CRL: b"garbage", "amd-chain/naples/ark": b"", "arm-cpak/k": bytes(10**6)}
        )
        await service.tend()
        await held(service, TDX)
        for name in (CRL, "arm-cpak/k"):
            assert isinstance(service.answer(name), Absent)


async def test_a_full_disk_stops_neither_the_worker_nor_the_answer(world: World, pki: IntelPki) -> None:
    async with world.service(offline=True) as service:
        database = service._store._database
        await database.execute("PRAGMA max_page_count = 3")
        lay_down(world.state, {TDX: dcap(pki)})
        await service.tend()
        await held(service, TDX)
        assert not await service._store.load()
        await database.execute("PRAGMA max_page_count = 1000")
        lay_down(world.state, {"arm-cpak/key": b"one"})
        await service.tend()
        assert [record.name for record in await service._store.load()] == ["arm-cpak/key"]


async def test_a_file_waits_for_what_it_is_proven_with(world: World, milan: AmdVendor) -> None:
    given = milan.endorsements()
    lay_down(world.state, {CRL: given[CRL][0]})
    async with world.service(offline=True) as service:
        assert isinstance(service.answer(CRL), Absent)
        lay_down(world.state, {"amd-chain/milan/ark": given["amd-chain/milan/ark"][0]})
        await service.tend()
        assert (await held(service, CRL)).documents == given[CRL]


async def test_an_older_file_replaces_nothing(world: World, pki: IntelPki) -> None:
    lay_down(world.state, {TDX: dcap(pki, 30)})
    async with world.service(offline=True) as service:
        newer = await held(service, TDX)
        lay_down(world.state, {TDX: dcap(pki, 29)})
        world.now += 5
        await service.tend()
        assert await held(service, TDX) == newer


async def test_a_restart_makes_a_file_no_younger(world: World, pki: IntelPki) -> None:
    lay_down(world.state, {TDX: dcap(pki)})
    async with world.service(offline=True) as service:
        first = await held(service, TDX)
    world.now += 8 * DAY
    async with world.service(offline=True) as service:
        assert await held(service, TDX) == first
        assert first.stale_at < world.now


async def test_a_file_that_has_ended_leaves_the_answer_open(world: World, pki: IntelPki) -> None:
    lay_down(world.state, {TDX: dcap(pki)})
    async with world.service(offline=True) as service:
        world.now = (await held(service, TDX)).valid_until
        assert isinstance(service.answer(TDX), Later)


# ── settings ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("text", [b"{", b'{"unknown":1}', b'{"timeout":0}', b'{"rates":{"amd":{}}}', b"\xff"])
def test_settings_that_cannot_be_used_are_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "settings.json").write_bytes(text)
    with pytest.raises(Misconfigured, match=r"settings\.json"):
        read_settings(tmp_path)


def test_settings_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "settings.json").mkdir()
    with pytest.raises(Misconfigured, match="Is a directory"):
        read_settings(tmp_path)


def test_without_settings_the_vendors_are_asked(tmp_path: Path) -> None:
    assert not read_settings(tmp_path).offline


@pytest.mark.parametrize(
    "address", ["http://kds.example/", "https://169.254.169.254/", "https://10.0.0.1/", "https://user:pw@kds.example/"]
)
async def test_an_address_that_must_not_be_called_stops_the_start(tmp_path: Path, address: str) -> None:
    write_settings(tmp_path, {"sites": {"amd": address}})
    async with GuardedClient() as client:
        with pytest.raises(Misconfigured, match="amd"):
            Vendors(read_settings(tmp_path), client, time.time)


async def test_a_site_without_an_address_is_not_asked(world: World) -> None:
    async with world.service(sites={"intel": "", "amd": world.fake.url}) as service:
        assert isinstance(service.answer(TDX), Absent)
        await held(service, CRL)
