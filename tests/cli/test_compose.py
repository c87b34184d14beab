import pytest
import yaml

from attest_pipeline.adapters.nats_config import WORKERS
from attest_pipeline.cli.compose import COMPOSE, compose_document, compose_text

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
