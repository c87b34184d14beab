import asyncio
import time
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from command import Attest
from rich.console import Console
from token_lab import CONFIG, appraised

from attest_pipeline import result
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.adapters.site import Site, issuer
from attest_pipeline.cli import demo as command
from attest_pipeline.cli.demo import Progress
from attest_pipeline.cli.demo_report import FLEET_TENANT, REPLAY_TENANT, Findings, Report, build, show
from attest_pipeline.cli.load import Load
from attest_pipeline.cli.real_evidence import REAL
from attest_pipeline.errors import Reason
from attest_pipeline.model import Artefact, Context, Rejection
from attest_pipeline.simulator.device import Fault, Vendor
from attest_pipeline.simulator.fleet import Member
from attest_pipeline.testing import InMemoryBroker, InMemoryBus

WEBHOOK = {"webhook-id": "1", "type": "t", "agent": "a", "status": "contraindicated"}
REJECTED = Rejection("snp", Reason.BAD_SIGNATURE, "")


@pytest.mark.integration
def test_a_fleet_gets_the_verdicts_it_must(attest: Attest) -> None:
    done = attest("demo", "--agents", 100, "--output", "json")
    report = done.json()
    assert done.code == 0, done.err
    assert report["unexpected"] == []
    assert sum(row["agents"] for row in report["rows"]) == report["agents"] == 100
    assert {row["tee"] for row in report["rows"]} == {"tdx", "sgx", "snp", "cca", "virtcca"}
    assert {row["status"] for row in report["rows"]} >= {"affirming", "contraindicated"}
    assert report["webhook"]["status"] == "contraindicated"
    assert all(row["expected"] for row in report["real"])


def test_a_directory_of_real_evidence_that_is_not_there_is_said_before_anything_starts(attest: Attest) -> None:
    done = attest("demo", "--vectors", "/absent")
    assert (done.code, done.err) == (2, "attest: /absent is no directory of real Evidence\n")


def test_a_fleet_that_is_too_small_to_show_every_fault_is_a_usage_error(attest: Attest) -> None:
    assert attest("demo", "--agents", 5).code == 2


# ── the report ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.jwks.write_bytes(msgspec.json.encode({"keys": [_signer(site).public_jwk()]}))
    return site


def _signer(site: Site) -> FileSigner:
    return FileSigner.ensure(site.signing_key)


def _token(site: Site, agent: str, artefact: Artefact, tenant: str = FLEET_TENANT) -> bytes:
    context = Context(attestation_id=bytes(32), tenant=tenant, agent=agent, received_at=int(time.time()), fresh=True)
    config = msgspec.structs.replace(CONFIG, issuer=issuer(tenant), audience=tenant)
    return result.issue(context, [artefact], config, _signer(site))


def _fleet(vendors: Sequence[Vendor]) -> list[Member]:
    return [
        Member("good", vendors[0], 1, None, None),
        Member("bad", vendors[0], 2, Fault.BAD_SIGNATURE, Reason.BAD_SIGNATURE),
    ]


def _report(
    site: Site,
    vendors: Sequence[Vendor],
    *,
    bad: Artefact = REJECTED,
    real: Artefact | None = None,
    webhook: dict[str, str] | None = WEBHOOK,
) -> Report:
    load = Load(InMemoryBus(InMemoryBroker(lambda: 0.0)))
    load.tokens = {"good": _token(site, "good", appraised()), "bad": _token(site, "bad", bad)}
    load.seconds = [0.001, 0.002]
    replayed = [] if real is None else [(REAL[0], _token(site, "real-0", real, REPLAY_TENANT))]
    return build(site, _fleet(vendors), Findings(load, 0.5, replayed, webhook, "power loss"))


def _shown(report: Report) -> str:
    console = Console(file=StringIO(), width=200)
    show(report, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_report_counts_verdicts_by_tee_and_reason(site: Site, vendors: Sequence[Vendor]) -> None:
    report = _report(site, vendors, real=appraised())
    assert report.ok
    assert [(row.tee, row.status, row.reason, row.agents) for row in report.rows] == [
        ("tdx", "affirming", "hardware_reason", 1),
        ("tdx", "contraindicated", "bad_signature", 1),
    ]
    assert (report.agents, report.attestations_per_s) == (2, 4.0)
    text = _shown(report)
    for word in (
        "every verdict was the expected one",
        "contraindicated",
        REAL[0].name,
        "power loss",
        "standardwebhooks",
    ):
        assert word in text


def test_an_unexpected_verdict_fails_the_demo_and_is_named(site: Site, vendors: Sequence[Vendor]) -> None:
    report = _report(site, vendors, bad=appraised())
    assert not report.ok
    assert report.unexpected == ("bad: bad signature got affirming (hardware_reason)",)
    assert "something was not as expected" in _shown(report)
    assert "bad: bad signature got affirming" in _shown(report)


def test_real_evidence_with_another_outcome_fails_the_demo(site: Site, vendors: Sequence[Vendor]) -> None:
    assert not _report(site, vendors, real=REJECTED).ok


def test_a_webhook_that_does_not_come_fails_the_demo(site: Site, vendors: Sequence[Vendor]) -> None:
    report = _report(site, vendors, webhook=None)
    assert not report.ok
    assert "no webhook came" in _shown(report)


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("webhook", "code"), [(WEBHOOK, 0), (None, 1)])
def test_the_exit_code_says_whether_all_was_as_expected(
    attest: Attest,
    site: Site,
    vendors: Sequence[Vendor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    webhook: dict[str, str] | None,
    code: int,
) -> None:
    async def run(size: int, directory: Path | None, progress: Progress) -> Report:
        assert (size, directory) == (500, None)
        progress.phase("a phase")
        progress.results(1, 2)
        progress.results(2, 2)
        return report

    report = _report(site, vendors, webhook=webhook)
    monkeypatch.setattr(command, "run", run)
    monkeypatch.setattr(command, "_BESIDE", tmp_path / "absent")
    monkeypatch.delenv("VECTORS", raising=False)
    done = attest("demo")
    assert done.code == code
    assert "no real Evidence beside the checkout" in done.out
    assert "a phase" in done.err


async def test_without_a_webhook_in_time_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_WEBHOOK_SECONDS", 0.01)
    assert await command._verified_webhook(asyncio.Queue(), b"") is None
