"""What stage processes share: versions of a stage, frames that fail, and what is counted."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pipeline_lab as lab
import pytest
import token_lab
from msgspec.structs import replace
from prometheus_client import REGISTRY

from attest_pipeline.adapters import config_store
from attest_pipeline.adapters.config_store import ConfigStore, Loaded
from attest_pipeline.errors import Misconfigured, Unavailable
from attest_pipeline.model import Malfunction, Rejection, TenantConfig
from attest_pipeline.owner.tenant import version_of
from attest_pipeline.pipeline import Match, Sign, Transform
from attest_pipeline.testing import InMemoryBroker, InMemoryBus
from attest_pipeline.wire import Frame, Item, decode_frame, encode
from workers._stage import Outlet, Versioned, forward, serve, transform


@pytest.fixture
async def bus() -> AsyncIterator[InMemoryBus]:
    bus = InMemoryBus(InMemoryBroker(lambda: 0.0))
    yield bus
    await bus.drain()


async def _published(bus: InMemoryBus, number: int = 0) -> TenantConfig:
    config = replace(lab.CONFIG, issuer=f"urn:{number}")
    config = replace(config, version=version_of(config))
    await config_store.publish(bus, config, {})
    return config


def _frame(config: TenantConfig, *artefacts: Any) -> Frame:
    return Frame("acme", config.version, (Item(token_lab.context(), artefacts or (token_lab.appraised(),), "", ""),))


# ── versions ──────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_stage_is_built_once_for_each_version_and_the_oldest_is_let_go(bus: InMemoryBus) -> None:
    built: list[str] = []

    def build(loaded: Loaded) -> str:
        built.append(loaded.config.issuer)
        return loaded.config.issuer

    stages = Versioned(ConfigStore(bus), build)
    versions = [(await _published(bus, number)).version for number in range(9)]
    for version in (*versions[:8], *versions[:8]):
        await stages.of("acme", version)
    assert len(built) == 8
    await stages.of("acme", versions[8])
    await stages.of("acme", versions[0])
    assert built[8:] == ["urn:8", "urn:0"]


async def test_many_tenants_do_not_push_out_one_anothers_stages(bus: InMemoryBus) -> None:
    built: list[str] = []
    stages = Versioned(ConfigStore(bus), lambda loaded: built.append(loaded.config.tenant))
    for _ in range(2):
        for number in range(20):
            config = replace(token_lab.CONFIG, tenant=f"t{number}")
            config = replace(config, version=version_of(config))
            await config_store.publish(bus, config, {})
            await stages.of(config.tenant, config.version)
    assert len(built) == 20


async def test_a_version_that_this_host_cannot_run_is_unavailable_and_not_remembered(bus: InMemoryBus) -> None:
    answers = iter([Misconfigured("no plugin"), None])

    def build(loaded: Loaded) -> str:
        if failure := next(answers):
            raise failure
        return loaded.config.issuer

    stages = Versioned(ConfigStore(bus), build)
    version = (await _published(bus)).version
    with pytest.raises(Unavailable, match="no plugin"):
        await stages.of("acme", version)
    assert await stages.of("acme", version) == "urn:0"


async def test_a_tenant_without_a_configuration_has_no_current_stage(bus: InMemoryBus) -> None:
    with pytest.raises(Unavailable, match="tenant nobody has no configuration"):
        await Versioned(ConfigStore(bus), lambda loaded: loaded).current("nobody")


# ── frames ────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_frame_passes_its_stage_and_is_handed_to_the_next(bus: InMemoryBus) -> None:
    config = await _published(bus)
    heard: list[Frame] = []

    async def hear(frame: Frame) -> None:
        heard.append(frame)

    await serve(bus, "stage.next", "next", hear)
    stages = Versioned[Transform](ConfigStore(bus), lambda loaded: Match(loaded.config))
    await serve(bus, "stage.this", "this", transform("match", stages, forward(bus, "stage.next")))
    frame = _frame(config, Rejection("tdx", "r", "d"))
    await bus.publish("stage.this", encode(frame))
    await asyncio.sleep(0.01)
    assert heard == [frame]


@pytest.mark.parametrize("failure", [Unavailable("away"), ValueError("bug"), None], ids=["away", "bug", "garbage"])
async def test_a_frame_that_fails_is_told_of_and_the_next_is_handled(
    bus: InMemoryBus, caplog: pytest.LogCaptureFixture, failure: Exception | None
) -> None:
    handled: list[str] = []

    async def handle(frame: Frame) -> None:
        if failure and not handled:
            handled.append("failed")
            raise failure
        handled.append(frame.tenant)

    await serve(bus, "stage.x", "x", handle)
    first = encode(_frame(lab.CONFIG)) if failure else b"\xc1"
    with caplog.at_level(logging.WARNING):
        for data in (first, encode(_frame(lab.CONFIG))):
            await bus.publish("stage.x", data)
        await asyncio.sleep(0.01)
    assert handled[-1] == "acme"
    assert "frame left to redelivery" in caplog.text


def test_frames_survive_the_wire() -> None:
    frame = _frame(lab.CONFIG, token_lab.MISMATCHED, Rejection("tdx", "r", "d"), Malfunction("tdx", "r", "d"))
    assert decode_frame(encode(frame)) == frame


# ── what is counted ───────────────────────────────────────────────────────────────────────────────────────────────────
def _count(tee: str, verdict: str, reason: str) -> float:
    labels = {"tee": tee, "verdict": verdict, "reason": reason}
    return REGISTRY.get_sample_value("attest_verdicts_total", labels) or 0.0


@pytest.fixture
def changes() -> Callable[[str, str, str], float]:
    """How much a counter of verdicts grew since the test began."""
    before = {
        labels: _count(*labels)
        for labels in [
            ("tdx", "affirming", ""),
            ("tdx", "rejected", "expired"),
            ("tdx", "malfunction", "internal"),
            ("unknown", "rejected", "challenge_mismatch"),
            ("made-up", "rejected", "challenge_mismatch"),
        ]
    }
    return lambda *labels: _count(*labels) - before[labels]


async def test_verdicts_are_counted_and_a_senders_words_are_no_label(
    bus: InMemoryBus, changes: Callable[[str, str, str], float]
) -> None:
    config = await _published(bus)
    outlet = Outlet(bus, Versioned(ConfigStore(bus), lambda loaded: Sign(loaded.config, token_lab.SIGNER)))
    await outlet(
        _frame(
            config,
            token_lab.appraised(),
            Rejection("tdx", "expired", "d"),
            Malfunction("tdx", "internal", "d"),
            Rejection("made-up", "challenge_mismatch", "d"),
        )
    )
    await outlet.drain()
    assert changes("tdx", "affirming", "") == 1
    assert changes("tdx", "rejected", "expired") == 1
    assert changes("tdx", "malfunction", "internal") == 1
    assert changes("unknown", "rejected", "challenge_mismatch") == 1
    assert changes("made-up", "rejected", "challenge_mismatch") == 0
