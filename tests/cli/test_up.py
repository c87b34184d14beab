import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from command import COMMAND, Attest, Up, port_of_a_stack

from attest_pipeline.adapters.site import Site, ensure
from attest_pipeline.cli.simulated import write_tenant
from attest_pipeline.cli.stack import ROOT
from attest_pipeline.model import EvidenceCollection, SuppliedChallenge
from attest_pipeline.simulator.device import Vendor

CHALLENGE = bytes(range(64))
AGENT = "node-1"


@pytest.fixture
def site(vendors: Sequence[Vendor], tmp_path: Path) -> Site:
    """A state directory whose default tenant trusts the simulated vendor of `evidence`."""
    vendors[0].evidence(1, CHALLENGE)
    site = Site(tmp_path / "state")
    write_tenant(site, "default", vendors[:1])
    ensure(site)
    return site


def _evidence(vendor: Vendor, path: Path) -> Path:
    collection = EvidenceCollection(
        evidence=(vendor.evidence(1, CHALLENGE),), challenge=SuppliedChallenge(CHALLENGE), as_of=int(time.time())
    )
    path.write_bytes(msgspec.json.encode(collection))
    return path


def _submitted(site: Site, file: Path) -> subprocess.CompletedProcess[str]:
    command = [COMMAND, "submit", str(file), "--state", str(site.root), "--agent", AGENT]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.integration
def test_a_stack_comes_up_judges_drains_and_comes_up_again(
    attest: Attest, vendors: Sequence[Vendor], site: Site, tmp_path: Path
) -> None:
    first = Up(site.root, "--agent", AGENT)
    try:
        judged = _submitted(site, _evidence(vendors[0], tmp_path / "first.json"))
    finally:
        code = first.interrupt()
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert "is affirming" in judged.stdout
    assert code == 0
    assert "drained" in first.said
    listed = "".join(line.split("│")[3].strip() for line in first.said.splitlines() if line.count("│") == 4)
    assert f"{site.logs}/config-0.log" in listed, "a path was cut short"
    assert f"http://127.0.0.1:{first.port + 4000}/varz" in first.said
    keys = site.jwks.read_bytes()
    again: list[subprocess.CompletedProcess[str]] = []
    file = _evidence(vendors[0], tmp_path / "second.json")
    port = port_of_a_stack()
    visitor = threading.Thread(target=_visit, args=(site, file, port, again))
    visitor.start()
    done = attest("up", "--state", site.root, "--agent", AGENT, "--port", port, "--fused", 1, "--output", "json")
    visitor.join()
    assert done.code == 0
    assert [one.returncode for one in again] == [0]
    said = done.json()
    assert (said["broker"], said["durability"]) == (f"nats://127.0.0.1:{port}", "power loss")
    assert said["monitor"] == f"http://127.0.0.1:{port + 4000}/varz"
    assert list(said["metrics"]) == ["config-0", "bell-1", "all-2"]
    assert site.jwks.read_bytes() == keys


def _visit(site: Site, file: Path, port: int, done: list[subprocess.CompletedProcess[str]]) -> None:
    """Submit once the stack in this process listens on its new port, then press Ctrl-C."""
    listening = f'"127.0.0.1:{port}"'
    deadline = time.monotonic() + 20
    while listening not in (site.broker / "nats-server.conf").read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    done.append(_submitted(site, file))
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.integration
def test_ctrl_c_ends_a_stack_that_does_not_come_up(attest: Attest, tmp_path: Path) -> None:
    site = Site(tmp_path / "state")
    ensure(site)
    (site.config / "default" / "tenant.json").write_text("{")
    presser = threading.Thread(target=_interrupt_once, args=(site.logs / "config-0.log", "configuration refused"))
    presser.start()
    began = time.monotonic()
    done = attest("up", "--state", site.root, "--port", port_of_a_stack())
    presser.join()
    assert done.code == 0, done.err
    assert time.monotonic() - began < 20
    assert "drained" in done.err


def _interrupt_once(log: Path, word: str) -> None:
    """Ctrl-C in this process, once a log says that word."""
    deadline = time.monotonic() + 20
    while not (log.exists() and word in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_worker_becomes_its_process(attest: Attest, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[object] = []
    monkeypatch.setattr(os, "execv", lambda path, arguments: became.append((path, arguments[1:])))
    monkeypatch.setattr(os, "chdir", became.append)
    attest("worker", "sign")
    assert became == [ROOT, (sys.executable, ["-m", "workers", "sign"])]
