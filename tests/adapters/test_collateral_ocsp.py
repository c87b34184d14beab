"""OCSP by the collateral service against a responder that answers, throttles, hangs, lies and dies."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import ocsp_lab
import pytest
import pytest_asyncio
from collateral_lab import Answer, FakeVendors, World, cert_id, dying, hanging, held, refusing, saying, serving
from cryptography.x509 import ocsp
from cryptography.x509.ocsp import OCSPResponseStatus
from nvidia_lab import GPU
from ocsp_lab import DAY

from attest_pipeline.adapters.collateral_service import ABSENT_SECONDS
from attest_pipeline.collateral.exchange import Absent, Held, Later
from attest_pipeline.simulator.nvidia import NvidiaVendor

START = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
VENDOR = NvidiaVendor(GPU, START)
CHIP = VENDOR._chip(1, None)
NAME = ocsp_lab.name_of(VENDOR, CHIP)
STRANGER = ocsp_lab.name_of(VENDOR, VENDOR._chip(2, None))


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    fake = FakeVendors()
    async with serving(fake):
        world = World(tmp_path, fake, VENDOR.trust_anchors())
        answer(world, ocsp_lab.about(VENDOR, CHIP, START - HOUR))
        yield world


def answer(world: World, response: bytes) -> bytes:
    """What the responder says from now on."""
    world.fake.statuses[cert_id(ocsp.load_der_ocsp_response(response))] = response
    return response


async def test_what_many_ask_for_is_asked_once_and_kept_over_a_restart(world: World) -> None:
    async with world.service() as service:
        await asyncio.gather(*(held(service, NAME) for _ in range(20)))
    async with world.service() as service:
        assert isinstance(service.answer(NAME), Held)
    assert world.fake.questions == [CHIP.chip.certificate.serial_number]
    assert world.fake.asked == ["/ocsp/"]


async def test_an_answer_is_asked_for_anew_within_six_hours_and_replaced(world: World) -> None:
    async with world.service() as service:
        first = await held(service, NAME)
        world.now += 6 * 3600
        second = answer(world, ocsp_lab.about(VENDOR, CHIP, START + 5 * HOUR, status=ocsp_lab.REVOKED))
        assert service.answer(NAME) == first, "the old one is served meanwhile"
        await asyncio.gather(*service._flights.values())
        assert (await held(service, NAME)).documents == (second,)


async def test_older_news_never_replace_newer(world: World) -> None:
    async with world.service() as service:
        first = await held(service, NAME)
        answer(world, ocsp_lab.about(VENDOR, CHIP, START - 2 * HOUR))
        world.now += 6 * 3600
        service.answer(NAME)
        await asyncio.gather(*service._flights.values())
        assert len(world.fake.questions) == 2
        assert service.answer(NAME) == first


async def test_through_an_outage_it_is_called_stale_and_not_served_beyond_its_end(world: World) -> None:
    async with world.service() as service:
        found = await held(service, NAME)
        world.fake.mood = dying
        assert found.stale_at - world.now == pytest.approx(12 * 3600, abs=5)
        assert found.valid_until == int((START - HOUR + DAY).timestamp())
        world.now = found.valid_until - 1
        assert isinstance(service.answer(NAME), Held)
        world.now = found.valid_until + 1
        assert isinstance(service.answer(NAME), Later)
        world.fake.mood = None
        fresh = answer(world, ocsp_lab.about(VENDOR, CHIP, START + DAY - HOUR))
        world.now += 700
        assert (await held(service, NAME)).documents == (fresh,)


async def test_a_certificate_that_the_responder_does_not_know_is_absent_for_a_while(world: World) -> None:
    async with world.service() as service:
        assert isinstance((await service.obtain([STRANGER], 5.0))[STRANGER], Absent)
        assert isinstance(service.answer(STRANGER), Absent)
        assert len(world.fake.questions) == 1
        answer(world, ocsp_lab.about(VENDOR, VENDOR._chip(2, None), START - HOUR))
        world.now += ABSENT_SECONDS + 1
        await held(service, STRANGER)


@pytest.mark.parametrize(
    "mood",
    [
        pytest.param(refusing(500), id="fails"),
        pytest.param(refusing(404), id="is somewhere else"),
        pytest.param(refusing(307, {"Location": "http://127.0.0.1:1/"}), id="redirects"),
        pytest.param(dying, id="dies"),
        pytest.param(hanging, id="hangs"),
        pytest.param(saying(b"<html>"), id="garbage"),
        pytest.param(saying(ocsp_lab.silent(OCSPResponseStatus.TRY_LATER)), id="later"),
        pytest.param(saying(ocsp_lab.silent(OCSPResponseStatus.MALFORMED_REQUEST)), id="complains"),
        pytest.param(saying(ocsp_lab.about(VENDOR, VENDOR._chip(2, None), START)), id="about another"),
        pytest.param(saying(ocsp_lab.about(NvidiaVendor(GPU, START), CHIP, START)), id="forged"),
        pytest.param(saying(ocsp_lab.about(VENDOR, CHIP, START - 9 * DAY)), id="of last week"),
    ],
)
async def test_a_responder_in_trouble_leaves_the_answer_open(world: World, mood: Answer) -> None:
    world.fake.mood = mood
    async with world.service(timeout=0.3) as service:
        assert isinstance((await service.obtain([NAME], 5.0))[NAME], Later)
        world.fake.mood = None
        world.now += 11
        await held(service, NAME)


async def test_a_responder_that_throttles_is_left_alone_as_long_as_it_asks(world: World) -> None:
    world.fake.mood = refusing(429, {"Retry-After": "120"})
    async with world.service() as service:
        await service.obtain([NAME], 5.0)
        for _ in range(10):
            await service.obtain([NAME], 0.05)
            world.now += 10
        assert len(world.fake.asked) == 1
        world.fake.mood = None
        world.now += 30
        await held(service, NAME)


async def test_without_an_address_nobody_is_asked(world: World) -> None:
    async with world.service(sites={"nvidia-ocsp": ""}) as service:
        assert isinstance((await service.obtain([NAME], 1.0))[NAME], Absent)
    assert world.fake.asked == []
