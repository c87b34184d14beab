"""The one place that knows subject names: the service's view, the tenant's view, streams, buckets, and the way between.

An agent publishes on `attest.v1.…`; the import of its tenant's account maps that to a subject of the service account
that names the tenant. So the tenant is never what a client says (`docs/adr/0006-accounts-and-subjects.md`).
"""

import re
from enum import StrEnum
from typing import Final, NamedTuple

from attest_pipeline.errors import BadEvidence, Misconfigured, Reason


class Lane(StrEnum):
    """What an agent and the service say to one another; the value is the word in the tenant's subject."""

    EVIDENCE = "evidence"
    BATCH = "evidence-batch"
    VERIFY = "verify"
    CHALLENGE = "challenge"
    RESULT = "result"


ASKED: Final = (Lane.EVIDENCE, Lane.BATCH, Lane.VERIFY, Lane.CHALLENGE)
"""Lanes from agent to service: service exports, one import per tenant."""

_SERVICE: Final = {
    Lane.EVIDENCE: "ingest.{}.evidence.{}",
    Lane.BATCH: "ingest.{}.batch.{}",
    Lane.VERIFY: "verify.{}.{}",
    Lane.CHALLENGE: "challenge.{}.{}",
    Lane.RESULT: "result.{}.{}",
}

STAGE_CLAIMS: Final = "stage.claims"
"""Frames from parse to match."""
STAGE_MATCH: Final = "stage.match"
"""Frames from match to appraise."""
STAGE_APPRAISAL: Final = "stage.appraisal"
"""Frames from appraise to sign."""
COLLATERAL: Final = "collateral.get"
"""Requests of parse to the collateral worker."""

EVIDENCE: Final = "EVIDENCE"
RESULTS: Final = "RESULTS"
EPOCHS: Final = "EPOCHS"
DEAD: Final = "DEAD"
STREAMS: Final = {EVIDENCE: ("ingest.>",), RESULTS: ("result.>",), EPOCHS: ("epoch.*",), DEAD: ("dead.>",)}
"""Stream → the subjects it stores."""
PARSE: Final = "parse"
"""The one durable consumer of EVIDENCE: every ack of the pipeline is an ack of this consumer."""

CONFIG: Final = "config"
NONCES: Final = "nonces"
BUCKETS: Final = (CONFIG, NONCES)
"""Key-value buckets: immutable configuration versions with one current pointer per tenant; nonces already used (and
Evidence already touched, by `parse`)."""

EPOCH: Final = "attest.v1.epoch"
"""Tenant's view of the epoch bell."""
LAST_EPOCH: Final = "attest.v1.epoch.last"
"""Tenant's view: a request is answered with the last tick, for an agent that starts between two."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKENS: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_MAX_REPLY: Final = 255
_ANY: Final = "*"


class Origin(NamedTuple):
    """Who sent a message, by the subject on which the service received it. `name` is an agent or a gateway."""

    lane: Lane
    tenant: str
    name: str


def checked_name(name: str) -> str:
    """The name of a tenant, agent, gateway or endpoint, if it is one token of 1 to 64 characters `A-Za-z0-9_-`.

    Raises Misconfigured.
    """
    if not _NAME.fullmatch(name):
        raise Misconfigured(f"a name must be 1 to 64 characters of A-Z, a-z, 0-9, _ and -: {name[:80]!r}")
    return name


def service(lane: Lane, tenant: str = _ANY, name: str = _ANY) -> str:
    """Subject of a lane in the service account; `*` stands for every tenant or every name."""
    return _SERVICE[lane].format(_checked_token(tenant), _checked_token(name))


def view(lane: Lane, name: str = _ANY) -> str:
    """Subject of a lane as a tenant's agents and Relying Parties see it."""
    return f"attest.v1.{lane}.{_checked_token(name)}"


def epoch(tenant: str = _ANY) -> str:
    """Ticks of a tenant's epoch bell in the service account."""
    return f"epoch.{_checked_token(tenant)}"


def last_epoch(tenant: str) -> str:
    """The request of the service account that is answered with a tenant's last tick."""
    return f"$JS.API.DIRECT.GET.{EPOCHS}.{epoch(checked_name(tenant))}"


def dead(tenant: str = _ANY, name: str = _ANY) -> str:
    """Where Evidence goes that could not be judged in all its deliveries."""
    return f"dead.{_checked_token(tenant)}.{_checked_token(name)}"


def webhook_consumer(endpoint: str) -> str:
    """Durable consumer of RESULTS that belongs to one webhook endpoint."""
    return f"webhook-{checked_name(endpoint)}"


def stored_key(bucket: str, key: str) -> str:
    """Subject under which a bucket's stream `KV_<bucket>` holds a key, or pattern of keys."""
    return f"$KV.{bucket}.{key}"


def changes(bucket: str) -> str:
    """Where a bucket's stream says, after storing, that a key has changed."""
    return f"changes.{bucket}.>"


def inbox(agent: str) -> str:
    """Prefix of the subjects on which one agent, and nobody else, hears replies."""
    return f"_INBOX_{checked_name(agent)}"


def origin(subject: str) -> Origin:
    """Tenant and agent of a message on a lane towards the service. Raises BadEvidence(WRONG_AGENT)."""
    match subject.split("."):
        case ["ingest", tenant, "evidence", name]:
            lane = Lane.EVIDENCE
        case ["ingest", tenant, "batch", name]:
            lane = Lane.BATCH
        case ["verify", tenant, name]:
            lane = Lane.VERIFY
        case ["challenge", tenant, name]:
            lane = Lane.CHALLENGE
        case _:
            raise BadEvidence(Reason.WRONG_AGENT, "the subject names no tenant and agent")
    if not (_NAME.fullmatch(tenant) and _NAME.fullmatch(name)):
        raise BadEvidence(Reason.WRONG_AGENT, "a tenant and an agent are named by 1 to 64 of A-Za-z0-9_-")
    return Origin(lane, tenant, name)


def reply(tenant: str, agent: str, wanted: str) -> str:
    """Subject of the service account that reaches the inbox an agent asked to be answered on.

    Raises BadEvidence(WRONG_REPLY) unless `wanted` lies under that agent's own inbox prefix.
    """
    if len(wanted) > _MAX_REPLY or not wanted.startswith(f"{inbox(agent)}.") or not _TOKENS.fullmatch(wanted):
        raise BadEvidence(Reason.WRONG_REPLY, "the reply subject is not under the agent's own inbox prefix")
    return f"reply.{checked_name(tenant)}.{wanted}"


def replies(tenant: str) -> str:
    """All reply subjects of one tenant in the service account."""
    return f"reply.{_checked_token(tenant)}.>"


class Import(NamedTuple):
    """One import of a tenant's account: `to` is its subject there, `subject` what it is in the service account.

    A service import carries requests (and their answers) to the service, a stream import carries messages from it.
    """

    is_service: bool
    subject: str
    to: str


def imports(tenant: str) -> tuple[Import, ...]:
    """Everything that crosses between a tenant's account and the service; the first that fits counts."""
    checked_name(tenant)
    return (
        *(Import(is_service=True, subject=service(lane, tenant), to=view(lane)) for lane in ASKED),
        Import(is_service=True, subject=last_epoch(tenant), to=LAST_EPOCH),
        Import(is_service=False, subject=epoch(tenant), to=EPOCH),
        Import(is_service=False, subject=service(Lane.RESULT, tenant), to=view(Lane.RESULT)),
        Import(is_service=False, subject=replies(tenant), to=">"),
    )


def matches(pattern: str, subject: str) -> bool:
    """Whether a subscription to `pattern` (`*` one token, a last `>` one or more) hears `subject`."""
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(tokens) <= len(wanted):
            return False
        tokens = tokens[: len(wanted)]
    return len(wanted) == len(tokens) and all(w in (_ANY, t) for w, t in zip(wanted, tokens, strict=True))


def _checked_token(token: str) -> str:
    return token if token == _ANY else checked_name(token)
