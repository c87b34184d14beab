"""Streams, consumers and buckets as the pipeline needs them; making them again changes nothing, or updates them.

Run by the user `provisioner` alone: a push consumer delivers where its creator may not publish, so no other user may
create consumers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from attest_pipeline import subjects
from attest_pipeline.adapters.nats_config import read_credentials
from attest_pipeline.adapters.nats_link import Link, status
from attest_pipeline.errors import Misconfigured, Unavailable
from attest_pipeline.subjects import CONFIG, DEAD, EPOCHS, EVIDENCE, NONCES, PARSE, RESULTS

_SECONDS: Final = 10.0
_HOUR: Final = 3600.0
_DAY: Final = 24 * _HOUR
_NOT_FOUND: Final = 10059
_MIB: Final = 1024 * 1024
_EPOCHS_BYTES: Final = 64 * _MIB


class Provisioning(Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds.

    `ack_waits` says after which time unacknowledged Evidence comes again, after its first, second, … delivery. It is
    delivered until it is acked: JetStream keeps what it delivers no more without a word, and parse counts for itself
    when to answer by a dead letter. `max_deliver` is for tests.
    `max_ack_pending` bounds the Evidence inside the pipeline, and so its memory. `duplicate_window` must exceed the
    time in which one Evidence can come again. `atomic_results` stores a frame's results with one fsync: that keeps up
    with `sync_interval: always`; without it, single messages cost the server a third less. `webhook_ack_wait` must
    exceed a webhook's longest attempt. A full EVIDENCE refuses more; RESULTS and DEAD drop their oldest, lest they
    stop the pipeline.
    """

    ack_waits: tuple[float, ...] = (10.0, 20.0, 30.0, 60.0, 120.0)
    max_deliver: int = -1
    max_ack_pending: int = 2048
    duplicate_window: float = _HOUR
    max_message: int = 512 * 1024
    evidence_age: float = 3 * _DAY
    evidence_bytes: int = 4096 * _MIB
    results_age: float = 7 * _DAY
    results_bytes: int = 2048 * _MIB
    dead_age: float = 30 * _DAY
    dead_bytes: int = 512 * _MIB
    epochs_kept: int = 64
    config_bytes: int = 1024 * _MIB
    nonce_age: float = _HOUR
    nonce_bytes: int = 256 * _MIB
    atomic_results: bool = True
    webhook_ack_wait: float = 60.0
    replicas: int = 1


class _Error(Struct):
    description: str
    err_code: int = 0


class _Answer(Struct):
    error: _Error | None = None


_answer_decoder: Final = msgspec.json.Decoder(_Answer)


async def provision(
    url: str, credentials: Path, *, webhooks: Sequence[str] = (), settings: Provisioning | None = None
) -> None:
    """Make or update everything; `webhooks` are the ids of the webhook endpoints, each with a consumer of its own.

    Raises Unavailable, and Misconfigured if the server refuses a setting.
    """
    user = read_credentials(credentials)
    link = Link(user.inbox_prefix)
    await link.connect(url, user.seed, user.user)
    chosen = settings or Provisioning()
    try:
        for stream in streams(chosen):
            await _ensure_stream(link, stream)
        for stream_name, consumer in consumers(chosen, webhooks):
            request = {"stream_name": stream_name, "config": consumer}
            await _call(link, f"CONSUMER.CREATE.{stream_name}.{consumer['durable_name']}", request)
    finally:
        await link.close()


def streams(settings: Provisioning) -> list[dict[str, Any]]:
    """Stream configurations as JetStream reads them."""
    window = {"duplicate_window": _ns(settings.duplicate_window)}
    evidence = {**_stream(EVIDENCE, settings.evidence_bytes, settings.evidence_age), **window}
    results = {**_stream(RESULTS, settings.results_bytes, settings.results_age), **window}
    epochs = {**_stream(EPOCHS, _EPOCHS_BYTES, 0), "max_msgs_per_subject": settings.epochs_kept}
    dead = {**_stream(DEAD, settings.dead_bytes, settings.dead_age), **window}
    config = {**_bucket(CONFIG, settings.config_bytes, 0), "allow_msg_ttl": True}  # replaced versions have an end
    nodes = {"num_replicas": settings.replicas}
    return [
        {**evidence, **nodes, "retention": "workqueue", "discard": "new", "max_msg_size": settings.max_message},
        {**results, **nodes, "allow_atomic": settings.atomic_results},
        {**epochs, **nodes, "allow_direct": True},
        {**dead, **nodes},
        {**config, **nodes},
        {**_bucket(NONCES, settings.nonce_bytes, settings.nonce_age), **nodes},
    ]


def consumers(settings: Provisioning, webhooks: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Stream and configuration of each durable pull consumer."""
    parse = {
        **_consumer(PARSE),
        "backoff": [_ns(seconds) for seconds in settings.ack_waits],
        "max_deliver": settings.max_deliver,
        "max_ack_pending": settings.max_ack_pending,
    }
    names = [subjects.webhook_consumer(endpoint) for endpoint in webhooks]
    delivering = [{**_consumer(name), "ack_wait": _ns(settings.webhook_ack_wait)} for name in names]
    return [(EVIDENCE, parse), *((RESULTS, consumer) for consumer in delivering)]


def _stream(name: str, max_bytes: int, max_age: float) -> dict[str, Any]:
    return {
        "name": name,
        "subjects": subjects.STREAMS[name],
        "storage": "file",
        "max_bytes": max_bytes,
        "max_age": _ns(max_age),
        "deny_purge": True,
    }


def _bucket(name: str, max_bytes: int, max_age: float) -> dict[str, Any]:
    return {
        "name": f"KV_{name}",
        "subjects": [subjects.stored_key(name, ">")],
        "storage": "file",
        "max_bytes": max_bytes,
        "max_age": _ns(max_age),
        "max_msgs_per_subject": 1,
        "discard": "new",
        "allow_direct": True,
        "deny_delete": True,
        "republish": {"src": subjects.stored_key(name, ">"), "dest": subjects.changes(name), "headers_only": True},
    }


def _consumer(name: str) -> dict[str, Any]:
    return {"durable_name": name, "ack_policy": "explicit", "deliver_policy": "all"}


def _ns(seconds: float) -> int:
    return int(seconds * 1_000_000_000)


async def _ensure_stream(link: Link, config: dict[str, Any]) -> None:
    """Update first: creating a stream that exists reserves its space a second time."""
    try:
        await _call(link, f"STREAM.UPDATE.{config['name']}", config)
    except _Refusal as error:
        if error.code != _NOT_FOUND:
            raise
        await _call(link, f"STREAM.CREATE.{config['name']}", config)


async def _call(link: Link, operation: str, request: dict[str, Any]) -> None:
    subject = f"$JS.API.{operation}"
    _, _, data, headers = await link.request(subject, msgspec.json.encode(request), _SECONDS, None)
    if status(headers):
        raise Unavailable(f"JetStream does not answer {operation}")
    error = _answer_decoder.decode(data).error
    if error is not None:
        raise _Refusal(operation, error)


class _Refusal(Misconfigured):
    def __init__(self, operation: str, error: _Error) -> None:
        super().__init__(f"JetStream refuses {operation}: {error.description} (code {error.err_code})")
        self.code = error.err_code
