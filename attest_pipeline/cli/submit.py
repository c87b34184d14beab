"""`attest submit`, `attest batch`: send Evidence to a running Verifier and show its Attestation Results."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from msgspec import Struct

from attest_pipeline import result, wire
from attest_pipeline.adapters.nats_bus import NatsBus
from attest_pipeline.adapters.nats_config import RELYING_PARTY, account_of, credentials_file
from attest_pipeline.adapters.site import DEFAULT_TENANT, Site
from attest_pipeline.attester.client import Agent, Gateway, NoResult, Results
from attest_pipeline.cli import inputs, results
from attest_pipeline.cli.output import Exit, Output, OutputOption, TimedOut
from attest_pipeline.ear import Status
from attest_pipeline.errors import Misconfigured, Unavailable
from attest_pipeline.jws import BadToken, Jwk
from attest_pipeline.model import EvidenceCollection
from attest_pipeline.owner.tenant import TenantSettings
from attest_pipeline.result import AttestationResult
from attest_pipeline.wire import BatchEntry

_DEFAULT_URL: Final = "nats://127.0.0.1:4222"
_TRUST: Final = "signature, issuer, audience and times hold"
_HINT: Final = "are the workers running? Evidence that was sent before gets no second result"


class LaneOption(StrEnum):
    """`--lane`."""

    DURABLE = "durable"
    INTERACTIVE = "interactive"


class Target(Struct, frozen=True):
    """Where to send, as whom, and how to check what comes back; each field has an option of its name."""

    url: str
    credentials: Path
    jwks: tuple[Jwk, ...]
    audience: str
    issuer: str


def submit(  # noqa: PLR0913 - options of a command
    file: Annotated[Path, typer.Argument(help="Evidence collection (JSON), or - for standard input.")],
    *,
    agent: Annotated[str, typer.Option(help="The agent to speak as.")],
    state: Annotated[Path | None, typer.Option(help="State directory of `attest up`: says the rest.")] = None,
    tenant: Annotated[str, typer.Option(help="The agent's tenant.")] = DEFAULT_TENANT,
    url: Annotated[str | None, typer.Option(help=f"The broker; default that of --state, or {_DEFAULT_URL}.")] = None,
    credentials: Annotated[Path | None, typer.Option(help="The agent's credentials file.")] = None,
    jwks: Annotated[Path | None, typer.Option(help="The Verifier's public keys.")] = None,
    audience: Annotated[str | None, typer.Option(help="Audience of the tenant's tokens.")] = None,
    issuer: Annotated[str | None, typer.Option(help="Issuer of the tenant's tokens.")] = None,
    lane: Annotated[LaneOption, typer.Option(help="durable survives a crash, interactive stores nothing.")] = (
        LaneOption.DURABLE
    ),
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the result.")] = 30.0,
    token_file: Annotated[Path | None, typer.Option(help="Where to write the token, for Relying Parties.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Submit Evidence; exit 0 only if the result is affirming, 3 if none came in time, 4 if the broker is away."""
    keys = None if jwks is None else inputs.read_keys(jwks)
    given = {"url": url, "credentials": credentials, "jwks": keys, "audience": audience, "issuer": issuer}
    known = {"url": _DEFAULT_URL} if state is None else _of_state(Site(state), tenant, agent)
    target = _target(known | {name: value for name, value in given.items() if value is not None})
    collection = wire.decode_collection(inputs.read(file), wire.JSON)
    if token_file is not None:
        token_file.touch()  # fails now: a token that could not be written later would be lost, there is no second
    token = asyncio.run(_exchange(target, tenant, agent, collection, lane, wait))
    found = _checked(token, target)
    if found.jti != wire.attestation_id(tenant, agent, collection).hex():
        raise BadToken("the answer is the result of another attestation")
    if token_file is not None:
        token_file.write_bytes(token)
    results.conclude(found, _TRUST, output)


def batch(
    pairs: Annotated[list[str], typer.Argument(metavar="AGENT=FILE...", help="Evidence collections (JSON).")],
    *,
    gateway: Annotated[str, typer.Option(help="The gateway to speak as.")],
    state: Annotated[Path, typer.Option(help="State directory of `attest up`.")] = Path("state"),
    tenant: Annotated[str, typer.Option(help="The gateway's tenant.")] = DEFAULT_TENANT,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the results.")] = 30.0,
    output: OutputOption = Output.TEXT,
) -> None:
    """Submit Evidence of several agents in one message of a gateway, and hear the results as the Relying Party.

    Exit 0 only if all results are affirming, 3 if one did not come in time, 4 if the broker is away.
    """
    found = inputs.named_files(pairs)
    entries = [BatchEntry(agent, wire.decode_collection(file, wire.JSON)) for agent in found for file in found[agent]]
    target = _target(_of_state(Site(state), tenant, gateway))
    party = _target(_of_state(Site(state), tenant, RELYING_PARTY))
    tokens = asyncio.run(_through_gateway(target, party, tenant, gateway, entries, wait))
    judged = [_checked(token, party) for token in tokens if token is not None]
    for one in judged:
        results.show(one, _TRUST, output)
    if len(judged) < len(tokens):
        raise TimedOut(f"{len(tokens) - len(judged)} of {len(tokens)} results did not come: {_HINT}")
    affirming = all(one.status == Status.AFFIRMING for one in judged)
    raise typer.Exit(Exit.OK if affirming else Exit.NOT_AFFIRMING)


class _Server(Struct):
    """What is read of the broker's configuration."""

    listen: str


def _of_state(site: Site, tenant: str, user: str) -> dict[str, object]:
    settings = inputs.read_json(site.config / tenant / "tenant.json", TenantSettings)
    server = inputs.read_json(site.broker / "nats-server.conf", _Server)
    return {
        "url": f"nats://{server.listen}",
        "credentials": credentials_file(site.broker / "credentials", account_of(tenant), user),
        "jwks": inputs.read_keys(site.jwks),
        "audience": settings.audience,
        "issuer": settings.issuer,
    }


def _target(known: dict[str, Any]) -> Target:
    missing = [f"--{name}" for name in Target.__struct_fields__ if name not in known]
    if missing:
        raise Misconfigured(f"say --state, or else {' '.join(missing)}")
    return Target(**known)


async def _exchange(
    target: Target, tenant: str, agent: str, collection: EvidenceCollection, lane: LaneOption, wait: float
) -> bytes:
    async with _connected(target) as bus:
        client = Agent(bus, tenant, agent)
        try:
            if lane is LaneOption.INTERACTIVE:
                return await client.verify(collection, wait)
            return await client.result(await client.submit(collection), wait)
        except NoResult as error:
            raise TimedOut(f"{error}: {_HINT}") from None


async def _through_gateway(
    target: Target, party: Target, tenant: str, gateway: str, entries: Sequence[BatchEntry], wait: float
) -> list[bytes | None]:
    """Tokens in the order of the entries, once for each attestation; None for one that did not come in time."""
    ids = (wire.attestation_id(tenant, entry.agent, entry.collection).hex() for entry in entries)
    identities = list(dict.fromkeys(ids))
    async with _connected(target) as bus, _connected(party) as hearing:
        heard = Results(hearing)
        for identity in identities:
            await heard.expect(identity)
        await Gateway(bus, tenant, gateway).submit(entries)
        return await asyncio.gather(*(_token(heard, identity, wait) for identity in identities))


async def _token(heard: Results, identity: str, wait: float) -> bytes | None:
    try:
        return await heard.token(identity, wait)
    except NoResult:
        return None


def _checked(token: bytes, target: Target) -> AttestationResult:
    now = int(time.time())  # noqa: TID251 - the Relying Party's clock
    return result.check(token, target.jwks, audience=target.audience, issuer=target.issuer, now=now)


@contextlib.asynccontextmanager
async def _connected(target: Target) -> AsyncIterator[NatsBus]:
    try:
        bus = await NatsBus.connect(target.url, credentials=target.credentials, name="attest submit")
    except Unavailable as error:
        raise Unavailable(f"{error}: start the stack with `attest up`, or say --url") from None
    try:
        yield bus
    finally:
        await bus.drain()
