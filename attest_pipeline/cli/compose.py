"""`attest init`, `attest provision`, `attest compose`: what a deployment without the embedded stack is made of.

compose.yaml is written from the same tables as the broker's users and the workers' settings, so that no service can
have a user, a secret or a kind that the code does not know.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from attest_pipeline.adapters import config_dir, files
from attest_pipeline.adapters.broker import Broker
from attest_pipeline.adapters.nats_config import PROVISIONER, SERVICE, BrokerSpec, Tenant, credentials_file
from attest_pipeline.adapters.provision import provision as provision_broker
from attest_pipeline.adapters.site import Site, ensure
from attest_pipeline.cli.inputs import AgentsOption, GatewaysOption
from attest_pipeline.cli.output import Output, OutputOption, emit
from attest_pipeline.cli.stack import ROOT, STAGES, agents_of, gateways_of, settings_of
from attest_pipeline.cli.yaml_text import yaml_text
from attest_pipeline.errors import Misconfigured
from attest_pipeline.subjects import BUCKETS, STREAMS
from attest_pipeline.webhook import read_endpoints

COMPOSE: Final = ROOT / "compose.yaml"
_STATE: Final = Path("/state")
_STORE: Final = "/data"
_NATS_URL: Final = "nats://nats:4222"
_TENANTS: Final = ("default",)
_SERVICES: Final = (*STAGES, "config", "bell", "webhook", "collateral")
_OWNER: Final = "${ATTEST_UID:-10001}:${ATTEST_GID:-10001}"
"""Who owns the state directory: its secrets are for nobody else, so no other user of a container could read them."""
_HEADER: Final = """\
# Written by `attest compose --write` from the tables of users and settings; a test fails if it differs.
# First `attest init --state ./state` (keys, credentials, broker configuration), then, as the user who ran that:
# ATTEST_UID=$(id -u) ATTEST_GID=$(id -g) docker compose up
"""
_DOCKERFILE: Final = """\
FROM python:3.11-slim
WORKDIR /app
COPY requirements.lock pyproject.toml README.md ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY attest_pipeline attest_pipeline
COPY workers workers
COPY policies policies
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e . && useradd --uid 10001 attest
USER attest
"""


def init(
    state: Annotated[Path, typer.Option(help="State directory to make or complete.")] = Path("state"),
    agent: AgentsOption = None,
    gateway: GatewaysOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make keys, credentials and the broker's configuration for a deployment by compose.yaml."""
    site = Site(state.resolve())
    ensure(site)
    agents, gateways = agents_of(site, agent or ()), gateways_of(site, gateway or ())
    tenants = tuple(Tenant(name=name, agents=agents, gateways=gateways) for name in config_dir.tenants(site.config))
    Broker(site.broker, BrokerSpec(store=_STORE, host="0.0.0.0", tenants=tenants)).write_config()  # noqa: S104 - in a container
    if not site.webhooks.exists():
        site.webhooks.touch(0o600)
        site.webhooks.write_bytes(msgspec.json.encode({"endpoints": []}))
    if output is Output.JSON:
        names = [tenant.name for tenant in tenants]
        emit({"state": str(site.root), "tenants": names, "agents": agents, "gateways": gateways})
        return
    typer.echo(f"{site.root} is ready: `ATTEST_UID=$(id -u) ATTEST_GID=$(id -g) docker compose up` reads it")


def provision(
    url: Annotated[str, typer.Option(help="The broker.")],
    credentials: Annotated[Path, typer.Option(help="Credentials file of the user provisioner.")],
    webhooks: Annotated[Path | None, typer.Option(help="Webhook endpoints, for their consumers.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make or update the broker's streams, consumers and buckets."""
    endpoints = [] if webhooks is None else [endpoint.id for endpoint in read_endpoints(files.read(webhooks))]
    asyncio.run(provision_broker(url, credentials, webhooks=endpoints))
    if output is Output.JSON:
        emit({"broker": url, "streams": [*STREAMS], "buckets": BUCKETS, "webhooks": endpoints})
    else:
        typer.echo(f"{url} has its streams and buckets; next come the workers")


def compose(
    write: Annotated[bool, typer.Option("--write", help="Write compose.yaml instead of comparing it.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write compose.yaml, or fail if it is not what the tables say."""
    if write:
        COMPOSE.write_text(compose_text())
    elif COMPOSE.read_text() != compose_text():
        raise Misconfigured("compose.yaml is not what the tables say: run `attest compose --write`")
    if output is Output.JSON:
        emit({"written": write, "files": [str(COMPOSE)]})


def compose_text() -> str:
    """Text of compose.yaml."""
    return _HEADER + yaml_text(compose_document())


def compose_document() -> dict[str, object]:
    """compose.yaml as data: the broker, a one-off that makes its streams, and one service for each worker kind."""
    return {
        "name": "attest-pipeline",
        "services": {"nats": _nats(), "provision": _provision()} | {kind: _worker(kind) for kind in _SERVICES},
        "volumes": {"store": {}},
    }


def _nats() -> dict[str, object]:
    return {
        "image": "nats:2.12-alpine",
        "command": ["--config", "/broker/nats-server.conf"],
        "volumes": ["./state/broker/nats-server.conf:/broker/nats-server.conf:ro", f"store:{_STORE}"],
        "healthcheck": {
            "test": ["CMD", "wget", "-q", "-O", "-", "http://127.0.0.1:8222/healthz"],
            "interval": "5s",
            "retries": 12,
        },
        "restart": "unless-stopped",
    }


def _provision() -> dict[str, object]:
    site = Site(_STATE)
    user = _credentials(PROVISIONER)
    return {
        "build": {"context": ".", "dockerfile_inline": _DOCKERFILE},
        "image": "attest-pipeline",
        "command": [
            "attest", "provision", "--url", _NATS_URL, "--credentials", user, "--webhooks", str(site.webhooks),
        ],
        "user": _OWNER,
        "volumes": [_mount(user), _mount(str(site.webhooks))],
        "depends_on": {"nats": {"condition": "service_healthy"}},
        "restart": "on-failure",
    }  # fmt: skip


def _worker(kind: str) -> dict[str, object]:
    user = _credentials(kind)
    settings = settings_of(kind, Site(_STATE), _TENANTS, 300, collateral=True)
    if "ATTEST_POLICIES" in settings:
        settings["ATTEST_POLICIES"] = "/app/policies/appraisal"
    paths = [value for value in settings.values() if value.startswith(f"{_STATE}/")]
    return {
        "image": "attest-pipeline",
        "command": ["python", "-m", "workers", kind],
        "user": _OWNER,
        "environment": {"ATTEST_NATS_URL": _NATS_URL, "ATTEST_CREDENTIALS": user, **settings},
        "volumes": [_mount(user), *(_mount(path, writable=path == str(Site(_STATE).collateral)) for path in paths)],
        "depends_on": {"provision": {"condition": "service_completed_successfully"}},
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "stop_grace_period": "20s",
        "restart": "unless-stopped",
    }


def _credentials(user: str) -> str:
    return str(credentials_file(Site(_STATE).broker / "credentials", SERVICE, user))


def _mount(path: str, *, writable: bool = False) -> str:
    return f".{path}:{path}" if writable else f".{path}:{path}:ro"
