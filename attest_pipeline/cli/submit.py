"""`attest submit`: send an Evidence collection to a running Verifier and show its Attestation Result."""

import asyncio
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec import Struct

from attest_pipeline import result, wire
from attest_pipeline.adapters.nats_bus import NatsBus
from attest_pipeline.adapters.nats_config import account_of, credentials_file, read_credentials
from attest_pipeline.adapters.site import DEFAULT_TENANT, Site
from attest_pipeline.attester.client import Agent, NoResult
from attest_pipeline.cli import inputs, results
from attest_pipeline.cli.output import Output, OutputOption, TimedOut
from attest_pipeline.errors import Misconfigured, Unavailable
from attest_pipeline.jws import Jwk
from attest_pipeline.model import EvidenceCollection
from attest_pipeline.owner.tenant import TenantSettings

_CONNECT_SECONDS: Final = 5.0


class LaneOption(StrEnum):
    """`--lane`."""

    DURABLE = "durable"
    INTERACTIVE = "interactive"


class Target(Struct, frozen=True):
    """Where to send, as whom, and how to check what comes back."""

    url: str
    credentials: Path
    keys: tuple[Jwk, ...]
    audience: str
    issuer: str


def submit(  # noqa: PLR0913 - options of a command
    file: Annotated[Path, typer.Argument(help="Evidence collection (JSON), or - for standard input.")],
    *,
    agent: Annotated[str, typer.Option(help="The agent to speak as.")],
    state: Annotated[Path | None, typer.Option(help="State directory of `attest up`: gives all that follows.")] = None,
    tenant: Annotated[str, typer.Option(help="The agent's tenant.")] = DEFAULT_TENANT,
    url: Annotated[str | None, typer.Option(help="The broker.")] = None,
    credentials: Annotated[Path | None, typer.Option(help="The agent's credentials file.")] = None,
    jwks: Annotated[Path | None, typer.Option(help="The Verifier's public keys.")] = None,
    audience: Annotated[str | None, typer.Option(help="Audience of the tenant's tokens.")] = None,
    issuer: Annotated[str | None, typer.Option(help="Issuer of the tenant's tokens.")] = None,
    lane: Annotated[LaneOption, typer.Option(help="durable survives a crash, interactive stores nothing.")] = (
        LaneOption.DURABLE
    ),
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the result.")] = 30.0,
    output: OutputOption = Output.TEXT,
) -> None:
    """Submit Evidence; exit 0 only if the result is affirming, 3 if none came in time, 4 if the broker is away."""
    given = (url, credentials, jwks, audience, issuer)
    target = _of_state(Site(state), tenant, agent) if state is not None else _of_options(*given)
    collection = wire.decode_collection(inputs.read(file), wire.JSON)
    token = asyncio.run(_exchange(target, tenant, agent, collection, lane, wait))
    now = int(time.time())  # noqa: TID251 - the Relying Party's clock
    found = result.check(token, target.keys, audience=target.audience, issuer=target.issuer, now=now)
    results.conclude(found, "signature, issuer, audience and times hold", output)


def _of_state(site: Site, tenant: str, agent: str) -> Target:
    settings = inputs.read_json(site.config / tenant / "tenant.json", TenantSettings)
    server = inputs.read_json(site.broker / "nats-server.conf", _Server)
    return Target(
        url=f"nats://{server.listen}",
        credentials=credentials_file(site.broker / "credentials", account_of(tenant), agent),
        keys=inputs.read_keys(site.jwks),
        audience=settings.audience,
        issuer=settings.issuer,
    )


class _Server(Struct):
    """What is read of the broker's configuration."""

    listen: str


def _of_options(
    url: str | None, credentials: Path | None, jwks: Path | None, audience: str | None, issuer: str | None
) -> Target:
    if url is None or credentials is None or jwks is None or audience is None or issuer is None:
        raise Misconfigured("say --state, or all of --url --credentials --jwks --audience --issuer")
    return Target(url, credentials, inputs.read_keys(jwks), audience, issuer)


async def _exchange(
    target: Target, tenant: str, agent: str, collection: EvidenceCollection, lane: LaneOption, wait: float
) -> bytes:
    bus = await _connected(target)
    try:
        client = Agent(bus, tenant, agent)
        if lane is LaneOption.INTERACTIVE:
            return await client.verify(collection, wait)
        return await client.result(await client.submit(collection), wait)
    except NoResult as error:
        raise TimedOut(
            f"{error}: are the workers running? Evidence that was sent before gets no second result"
        ) from None
    finally:
        await bus.drain()


async def _connected(target: Target) -> NatsBus:
    """A connection, or Unavailable soon: the adapter itself tries for ever, as a worker must."""
    read_credentials(target.credentials)
    try:
        connecting = NatsBus.connect(target.url, credentials=target.credentials, name="attest submit")
        return await asyncio.wait_for(connecting, _CONNECT_SECONDS)
    except TimeoutError:
        raise Unavailable(f"no broker at {target.url}: start it with `attest up`, or say --url") from None
