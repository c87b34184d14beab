"""Who may do what on the broker, as the text of a nats-server configuration.

One service account owns JetStream; each tenant has an account that imports its share of it (`subjects.imports`). Every
user is an nkey: the configuration holds public keys only, the seed of each user is in a file of its own.
"""

import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import nkeys
from msgspec import Struct

from attest_pipeline import subjects
from attest_pipeline.adapters import files
from attest_pipeline.errors import Misconfigured
from attest_pipeline.subjects import (
    ASKED,
    COLLATERAL,
    CONFIG,
    EPOCH,
    EPOCHS,
    EVIDENCE,
    LAST_EPOCH,
    NONCES,
    PARSE,
    RESULTS,
    STAGE_APPRAISAL,
    STAGE_CLAIMS,
    STAGE_MATCH,
    Lane,
)

SERVICE: Final = "SVC"
"""The service's own account; no tenant can have that name, because tenants' accounts are prefixed."""
_SEED_BYTES: Final = 32
MAX_PAYLOAD: Final = 4 * 1024 * 1024
"""Frames are the largest messages: the claims of a full batch are four times its Evidence (`wire.MAX_MESSAGE`)."""


class Credentials(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One user of the broker, as its 0600 file holds it; `gateway` tells a gateway from an agent over restarts."""

    account: str
    user: str
    seed: str
    inbox_prefix: str
    gateway: bool = False


class Tenant(Struct, frozen=True, kw_only=True):
    """A tenant's users: an agent each for its own subjects, gateways, and on demand two users of wider rights.

    `relying_party` reads all results of the tenant; `fleet` may speak for every agent and is meant for simulators.
    """

    name: str
    agents: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    relying_party: bool = True
    fleet: bool = False


class BrokerSpec(Struct, frozen=True, kw_only=True):
    """What the server configuration is made of.

    `sync_always` makes a stored message survive a power loss, not only the death of the server (and costs speed).
    `http_port` serves the server's own figures on loopback. `max_file_store` is in bytes.
    """

    store: str
    port: int = 4222
    http_port: int = 8222
    host: str = "127.0.0.1"
    sync_always: bool = True
    max_file_store: int = 10 * 1024**3
    tenants: tuple[Tenant, ...] = ()


class _Rights(Struct, frozen=True):
    """Subjects that one user may publish and subscribe, besides its inbox.

    Who `answers` may also publish one reply to each request that it hears, and that way to no other inbox.
    """

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    answers: bool = False


class User(Struct, frozen=True):
    """A user of an account of the broker."""

    account: str
    name: str
    inbox: str
    rights: _Rights
    gateway: bool = False


_GET: Final = "$JS.API.DIRECT.GET"
_EVIDENCE_ACK: Final = f"$JS.ACK.{EVIDENCE}.{PARSE}.>"
_REQUESTER: Final = "_R_.>"
"""Where answers to requests of other accounts go; the server makes a subject for each request."""

_WORKERS: Final[dict[str, _Rights]] = {
    "parse": _Rights(
        (
            f"$JS.API.CONSUMER.MSG.NEXT.{EVIDENCE}.{PARSE}",
            f"$JS.API.CONSUMER.INFO.{EVIDENCE}.{PARSE}",
            _EVIDENCE_ACK,
            f"{_GET}.{EPOCHS}.{subjects.epoch()}",
            f"{_GET}.KV_{NONCES}.>",
            subjects.stored_key(NONCES, "*"),
            subjects.dead(),
            STAGE_CLAIMS,
            COLLATERAL,
            _REQUESTER,
        ),
        (subjects.service(Lane.VERIFY), subjects.service(Lane.CHALLENGE), subjects.epoch()),
    ),
    "match": _Rights((STAGE_MATCH,), (STAGE_CLAIMS,)),
    "appraise": _Rights((STAGE_APPRAISAL,), (STAGE_MATCH,)),
    "sign": _Rights(
        (subjects.service(Lane.RESULT), subjects.replies("*"), _EVIDENCE_ACK, _REQUESTER), (STAGE_APPRAISAL,)
    ),
    "webhook": _Rights(
        (
            f"$JS.API.CONSUMER.MSG.NEXT.{RESULTS}.*",
            f"$JS.API.CONSUMER.INFO.{RESULTS}.*",
            f"$JS.ACK.{RESULTS}.>",
            subjects.dead(),
        )
    ),
    "collateral": _Rights((), (COLLATERAL,), answers=True),
    "bell": _Rights((subjects.epoch(), f"{_GET}.{EPOCHS}.{subjects.epoch()}")),
    "config": _Rights((subjects.stored_key(CONFIG, ">"),)),
}
_AGENT_LANES: Final = (Lane.EVIDENCE, Lane.VERIFY, Lane.CHALLENGE)
_FUSED: Final = ("parse", "match", "appraise", "sign")
_CONFIG_READER: Final = _Rights((f"{_GET}.KV_{CONFIG}", f"{_GET}.KV_{CONFIG}.>"), (subjects.changes(CONFIG),))

WORKERS: Final = (*_WORKERS, "all")
"""Worker kinds, each with a user of its own."""
PROVISIONER: Final = "provisioner"
"""The only user that may create streams and consumers."""
RELYING_PARTY: Final = "relying-party"
FLEET: Final = "fleet"


def account_of(tenant: str) -> str:
    """Account of a tenant."""
    return f"tenant-{tenant}"


def users_of(spec: BrokerSpec) -> list[User]:
    """Every user of the broker. Raises Misconfigured for a name that is no token, or given twice in a tenant."""
    users = [User(SERVICE, kind, subjects.inbox(kind), _worker_rights(kind)) for kind in WORKERS]
    users.append(User(SERVICE, PROVISIONER, subjects.inbox(PROVISIONER), _Rights(("$JS.API.>",))))
    for tenant in spec.tenants:
        users += _tenant_users(tenant)
    return users


def server_config(spec: BrokerSpec, public_keys: Mapping[tuple[str, str], str]) -> str:
    """Text of the server configuration; `public_keys` maps account and user name to the user's public nkey."""
    users = users_of(spec)
    durable = {"sync_interval": "always"} if spec.sync_always else {}
    config = {
        "server_name": "attest-pipeline",
        "listen": f"{spec.host}:{spec.port}",
        "http": f"127.0.0.1:{spec.http_port}",
        "max_payload": MAX_PAYLOAD,
        "ping_interval": "20s",
        "write_deadline": "10s",
        "jetstream": {"store_dir": spec.store, "max_file_store": spec.max_file_store, "strict": True, **durable},
        "accounts": {
            SERVICE: {
                "jetstream": "enabled",
                "exports": [export for tenant in spec.tenants for export in _exports(tenant.name)],
                "users": _entries(users, SERVICE, public_keys),
            },
            **{
                account_of(tenant.name): {
                    "imports": _imports(tenant.name),
                    "users": _entries(users, account_of(tenant.name), public_keys),
                }
                for tenant in spec.tenants
            },
        },
    }
    return msgspec.json.format(msgspec.json.encode(config), indent=2).decode() + "\n"


def credentials_file(directory: Path, account: str, user: str) -> Path:
    """Where a user's credentials are: workers in the directory itself, a tenant's users in one of its account."""
    home = directory if account == SERVICE else directory / account
    return home / f"{user}.json"


def ensure_credentials(directory: Path, users: Iterable[User]) -> dict[tuple[str, str], str]:
    """Make the credentials that are missing, readable by their owner only; returns the public key of each user."""
    keys = {}
    for user in users:
        path = credentials_file(directory, user.account, user.name)
        if not path.exists():
            _write(path, user)
        keys[user.account, user.name] = _key_pair(read_credentials(path).seed).public_key.decode()
    return keys


def read_credentials(path: Path | None) -> Credentials:
    """One user's credentials. Raises Misconfigured."""
    if path is None:
        raise Misconfigured(
            "no broker credentials: name the JSON file of this user (ATTEST_CREDENTIALS, or --credentials)"
        )
    credentials = files.decode_json(path, files.read(path), Credentials)
    try:
        _key_pair(credentials.seed)
    except (nkeys.NkeysError, ValueError) as error:
        raise Misconfigured(f"broker credentials {path}: {str(error) or 'no nkey seed'}") from None
    return credentials


def _worker_rights(kind: str) -> _Rights:
    """A kind's own rights and those to read the configuration. The fused kind hands frames on in memory."""
    kinds = [_WORKERS[one] for one in (_FUSED if kind == "all" else (kind,))]
    stages = (STAGE_CLAIMS, STAGE_MATCH, STAGE_APPRAISAL) if kind == "all" else ()

    def union(*lists: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(subject for subjects in lists for subject in subjects if subject not in stages))

    return _Rights(
        union(*(rights.publish for rights in kinds), _CONFIG_READER.publish),
        union(*(rights.subscribe for rights in kinds), _CONFIG_READER.subscribe),
        answers=any(rights.answers for rights in kinds),
    )


def _tenant_users(tenant: Tenant) -> list[User]:
    rights = {agent: _agent_rights(agent, _AGENT_LANES) for agent in tenant.agents}
    rights |= {gateway: _agent_rights(gateway, (Lane.BATCH,)) for gateway in tenant.gateways}
    if tenant.relying_party:
        rights[RELYING_PARTY] = _Rights((), (subjects.view(Lane.RESULT),))
    if tenant.fleet:
        asked = tuple(subjects.view(lane) for lane in ASKED)
        rights[FLEET] = _Rights((*asked, LAST_EPOCH), (subjects.view(Lane.RESULT), EPOCH))
    if len(rights) != len(tenant.agents) + len(tenant.gateways) + tenant.relying_party + tenant.fleet:
        raise Misconfigured(f"tenant {tenant.name}: agents and gateways need names of their own")
    return [
        User(account_of(tenant.name), name, subjects.inbox(name), right, gateway=name in tenant.gateways)
        for name, right in rights.items()
    ]


def _agent_rights(name: str, lanes: tuple[Lane, ...]) -> _Rights:
    asked = tuple(subjects.view(lane, name) for lane in lanes)
    return _Rights((*asked, LAST_EPOCH), (subjects.view(Lane.RESULT, name), EPOCH))


def _exports(tenant: str) -> list[dict[str, object]]:
    accounts = [account_of(tenant)]
    return [{_kind(one): one.subject, "accounts": accounts} for one in subjects.imports(tenant)]


def _imports(tenant: str) -> list[dict[str, object]]:
    return [
        {_kind(one): {"account": SERVICE, "subject": one.subject}, "to": one.to} for one in subjects.imports(tenant)
    ]


def _kind(one: subjects.Import) -> str:
    return "service" if one.is_service else "stream"


def _entries(users: Iterable[User], account: str, keys: Mapping[tuple[str, str], str]) -> list[dict[str, object]]:
    return [
        {
            "nkey": keys[account, user.name],
            "permissions": {
                "publish": {"allow": user.rights.publish} if user.rights.publish else {"deny": [">"]},
                "subscribe": {"allow": (f"{user.inbox}.>", *user.rights.subscribe)},
                **({"allow_responses": {"max": 1, "expires": "1m"}} if user.rights.answers else {}),
            },
        }
        for user in users
        if user.account == account
    ]


def _write(path: Path, user: User) -> None:
    seed = nkeys.encode_seed(secrets.token_bytes(_SEED_BYTES), nkeys.PREFIX_BYTE_USER).decode()
    credentials = Credentials(
        account=user.account, user=user.name, seed=seed, inbox_prefix=user.inbox, gateway=user.gateway
    )
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(credentials), indent=2))


def _key_pair(seed: str) -> nkeys.KeyPair:
    return nkeys.from_seed(bytearray(seed.encode()))
