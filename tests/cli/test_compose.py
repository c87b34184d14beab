import asyncio
from pathlib import Path

import aiohttp
import msgspec
import pytest
import yaml
from command import Attest

from attest_pipeline.adapters.broker import Broker
from attest_pipeline.adapters.nats_config import PROVISIONER, WORKERS, BrokerSpec
from attest_pipeline.adapters.site import Site
from attest_pipeline.cli import compose as command
from attest_pipeline.cli.compose import COMPOSE, compose_document, compose_text
from attest_pipeline.cli.stack import free_ports

SECRETS = {"sign": "/keys/sign.pem", "parse": "/keys/nonce.key", "bell": "/keys/bell.pem", "webhook": "/webhooks.json"}


@pytest.fixture
def services() -> dict[str, dict[str, object]]:
    document = yaml.safe_load(COMPOSE.read_text())
    assert isinstance(document, dict)
    found: dict[str, dict[str, object]] = document["services"]
    return found


def test_the_committed_file_is_what_the_tables_say() -> None:
    assert COMPOSE.read_text() == compose_text(), "run `attest compose --write`"


def test_the_text_reads_as_the_document() -> None:
    assert yaml.safe_load(compose_text()) == compose_document()


def test_every_worker_kind_has_a_service_with_its_own_user(services: dict[str, dict[str, object]]) -> None:
    for kind in set(WORKERS) - {"all"}:
        environment = services[kind]["environment"]
        assert isinstance(environment, dict)
        assert environment["ATTEST_CREDENTIALS"].endswith(f"/{kind}.json")


def test_what_reads_the_state_directory_runs_as_its_owner(services: dict[str, dict[str, object]]) -> None:
    assert {name: service.get("user") for name, service in services.items() if name != "nats"} == dict.fromkeys(
        services.keys() - {"nats"}, "${ATTEST_UID:-10001}:${ATTEST_GID:-10001}"
    )


@pytest.mark.parametrize("owner", SECRETS)
def test_a_secret_is_mounted_where_it_is_needed_and_nowhere_else(
    services: dict[str, dict[str, object]], owner: str
) -> None:
    holders = {
        name
        for name, service in services.items()
        if any(mount.endswith(f"{SECRETS[owner]}:ro") for mount in service.get("volumes", []))  # type: ignore[attr-defined]
    }
    assert holders == ({owner, "provision"} if owner == "webhook" else {owner})


def test_workers_start_only_once_the_streams_exist(services: dict[str, dict[str, object]]) -> None:
    for kind in set(WORKERS) - {"all"}:
        assert services[kind]["depends_on"] == {"provision": {"condition": "service_completed_successfully"}}


def test_compose_compares_and_writes(attest: Attest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert attest("compose").code == 0
    path = tmp_path / "compose.yaml"
    path.write_text("services: {}\n")
    monkeypatch.setattr(command, "COMPOSE", path)
    stale = attest("compose")
    assert stale.code == 2
    assert "attest compose --write" in stale.err
    assert attest("compose", "--write").code == 0
    assert path.read_text() == compose_text()


def test_init_makes_every_file_that_compose_mounts(
    attest: Attest, tmp_path: Path, services: dict[str, dict[str, object]]
) -> None:
    state = tmp_path / "state"
    done = attest("init", "--state", state, "--agent", "node-1", "--gateway", "rack-1")
    assert done.code == 0
    mounts = [mount for service in services.values() for mount in service["volumes"] if mount.startswith("./state")]  # type: ignore[attr-defined]
    missing = [mount for mount in mounts if not (tmp_path / mount.split(":")[0]).exists()]
    assert mounts
    assert not missing
    users = {path.stem for path in (state / "broker" / "credentials" / "tenant-default").iterdir()}
    assert users == {"node-1", "rack-1", "relying-party"}
    assert (state / "webhooks.json").stat().st_mode & 0o077 == 0


def test_init_keeps_what_exists(attest: Attest, tmp_path: Path) -> None:
    attest("init", "--state", tmp_path, "--gateway", "rack-1")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    told = attest("init", "--state", tmp_path, "--output", "json").json()
    assert (told["tenants"], told["agents"], told["gateways"]) == (["default"], ["agent-1"], ["rack-1"])
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.integration
async def test_provision_makes_the_consumers_of_the_webhooks(attest: Attest, tmp_path: Path) -> None:
    site = Site(tmp_path)
    endpoint = {"id": "siem", "url": "https://siem.example/", "tenant": "default", "secrets": [f"whsec_{'A' * 44}"]}
    site.webhooks.write_bytes(msgspec.json.encode({"endpoints": [endpoint]}))
    port = free_ports(2)
    spec = BrokerSpec(store=str(tmp_path / "store"), port=port, http_port=port + 1, sync_always=False)
    broker = Broker(site.broker, spec)
    monitor = f"http://127.0.0.1:{port + 1}"
    await broker.start()
    try:
        options = ["provision", "--url", broker.url, "--credentials", broker.credentials(PROVISIONER)]
        with_webhooks = await asyncio.to_thread(attest, *options, "--webhooks", site.webhooks, "--output", "json")
        without = await asyncio.to_thread(attest, *options)
        async with aiohttp.ClientSession() as session, session.get(f"{monitor}/jsz?consumers=true") as answer:
            made = await answer.read()
    finally:
        await broker.stop()
    assert (with_webhooks.code, without.code) == (0, 0)
    assert with_webhooks.json()["webhooks"] == ["siem"]
    assert "RESULTS" in with_webhooks.json()["streams"]
    assert b"webhook-siem" in made
