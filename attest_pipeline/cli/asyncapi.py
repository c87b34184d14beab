"""The subjects of a tenant's view as an AsyncAPI 3.0.0 document.

AsyncAPI's NATS binding (0.1.0) knows queues only: that JetStream stores a subject, and that an answer comes on the
NATS reply subject, is said in `x-nats-…` members. A reply address can be a header, so the durable lane's is one.
"""

from typing import Any, Final, NamedTuple

from attest_pipeline import subjects
from attest_pipeline.subjects import Lane
from attest_pipeline.wire import JSON, MSGPACK, REPLY_HEADER, RESULT_TYPE

_AGENT: Final = "{agent}"
_MARKER_TYPE: Final = "application/jwt"


class _Channel(NamedTuple):
    """One subject. `agent_sends` tells direction; `stream` stores it; `answer` names the message that comes back."""

    address: str
    summary: str
    message: str
    agent_sends: bool
    stream: str = ""
    answer: str = ""


def _address(lane: Lane, name: str = _AGENT) -> str:
    return subjects.view(lane).replace("*", name)


_CHANNELS: Final = {
    "evidence": _Channel(
        _address(Lane.EVIDENCE),
        "Durable lane: the PubAck says that the Evidence is stored; its result follows.",
        "evidenceCollection", True, subjects.EVIDENCE, "attestationResult",
    ),
    "evidenceBatch": _Channel(
        _address(Lane.BATCH, "{gateway}"),
        "Gateway's lane: each entry gets its own result, a bad one harms no other.",
        "evidenceBatch", True, subjects.EVIDENCE,
    ),
    "verify": _Channel(
        _address(Lane.VERIFY), "Interactive lane: nothing is stored, the answer is the result.",
        "evidenceCollection", True, answer="attestationResult",
    ),
    "challenge": _Channel(
        _address(Lane.CHALLENGE), "Ask for a nonce made for this agent.", "empty", True, answer="challenge"
    ),
    "lastEpoch": _Channel(
        subjects.LAST_EPOCH, "Ask for the last epoch marker.", "empty", True, answer="epochMarker"
    ),
    "epoch": _Channel(subjects.EPOCH, "The epoch bell.", "epochMarker", False, subjects.EPOCHS),
    "result": _Channel(
        _address(Lane.RESULT), "Attestation Results of one agent.", "attestationResult", False, subjects.RESULTS
    ),
}  # fmt: skip

_MESSAGES: Final = {
    "evidenceCollection": ("Evidence of one Attester", JSON, "evidence-collection"),
    "evidenceBatch": ("Evidence of many agents", MSGPACK, "evidence-batch"),
    "challenge": ("A nonce", JSON, "challenge"),
    "epochMarker": ("Compact JWS (typ att-epoch+jwt)", _MARKER_TYPE, "epoch-ticks"),
    "attestationResult": ("Compact JWS (typ eat+jwt)", RESULT_TYPE, "attestation-result"),
}
"""Message → title, content type, schema. Of a JWS the schema describes the payload."""


def asyncapi() -> dict[str, Any]:
    """The document: one channel a subject, one operation a channel, as the agent sees them."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "attest-pipeline",
            "version": "1",
            "description": "Subjects of a tenant's account. The service's own account is no interface.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": MSGPACK,
        "channels": {name: _channel(channel) for name, channel in _CHANNELS.items()} | {"inbox": _inbox()},
        "operations": {name: _operation(name, channel) for name, channel in _CHANNELS.items()},
        "components": {"messages": {name: _message(name, *about) for name, about in _MESSAGES.items()} | _EMPTY},
    }


_EMPTY: Final = {"empty": {"title": "Nothing", "payload": {"type": "string", "maxLength": 0}}}


def _channel(channel: _Channel) -> dict[str, Any]:
    found: dict[str, Any] = {
        "address": channel.address,
        "summary": channel.summary,
        "messages": {channel.message: {"$ref": f"#/components/messages/{channel.message}"}},
    }
    names = [token.strip("{}") for token in channel.address.split(".") if token.startswith("{")]
    if names:
        found["parameters"] = {name: {"description": "1 to 64 of A-Za-z0-9_-"} for name in names}
    if channel.stream:
        found["x-nats-jetstream"] = {"stream": channel.stream}
    return found


def _inbox() -> dict[str, Any]:
    answers = dict.fromkeys(channel.answer for channel in _CHANNELS.values() if channel.answer)
    return {
        "address": None,
        "summary": f"A subject under the agent's own inbox prefix, {subjects.inbox('AGENT').replace('AGENT', _AGENT)}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in answers},
    }


def _operation(name: str, channel: _Channel) -> dict[str, Any]:
    found: dict[str, Any] = {
        "action": "send" if channel.agent_sends else "receive",
        "channel": {"$ref": f"#/channels/{name}"},
        "bindings": {"nats": {"bindingVersion": "0.1.0"}},
    }
    if channel.answer:
        reply: dict[str, Any] = {
            "channel": {"$ref": "#/channels/inbox"},
            "messages": [{"$ref": f"#/channels/inbox/messages/{channel.answer}"}],
        }
        if channel.stream:  # JetStream answers on the NATS reply subject itself, with the PubAck
            reply["address"] = {"location": f"$message.header#/{REPLY_HEADER}"}
        else:
            reply["x-nats-reply"] = True
        found["reply"] = reply
    return found


def _message(name: str, title: str, content_type: str, schema: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": name,
        "title": title,
        "contentType": content_type,
        "payload": {"$ref": f"./{schema}.schema.json"},
    }
    if name == "evidenceCollection":
        header = {"type": "string", "enum": [MSGPACK, JSON], "default": MSGPACK}
        found["headers"] = {
            "type": "object",
            "properties": {"Content-Type": header, REPLY_HEADER: {"type": "string"}},
        }
    return found
