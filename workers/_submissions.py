"""Messages of every lane become submissions; what cannot be read becomes one too, with the reason."""

import hashlib
import logging
from typing import Final

from attest_pipeline import subjects
from attest_pipeline.errors import BadEvidence, Misconfigured, Reason
from attest_pipeline.model import EvidenceCollection
from attest_pipeline.pipeline import Submission
from attest_pipeline.ports import Message
from attest_pipeline.subjects import Lane, Origin
from attest_pipeline.wire import CONTENT_TYPE, MSGPACK, REPLY_HEADER, decode_batch, decode_collection, decode_entry

_log: Final = logging.getLogger(__name__)


def origin_of(message: Message) -> Origin | None:
    """Who sent a message; None, and a line in the log, if its subject names nobody that a result could go to."""
    try:
        return subjects.origin(message.subject)
    except BadEvidence as error:
        _log.error("undeliverable subject", extra={"why": str(error)})
        return None


def mark_of(message: Message) -> str:
    """Key under which it is noted that this stored message was touched."""
    stored = f"{message.subject} {message.received_at} ".encode() + message.data
    return f"touched-{hashlib.sha256(stored).hexdigest()}"


def stored(message: Message, origin: Origin, *, last_attempt: bool) -> list[Submission]:
    """Submissions of a message that waits for its ack, of either durable lane."""
    if origin.lane is Lane.BATCH:
        return entries(message, origin, last_attempt=last_attempt)
    return [single(message, origin, last_attempt=last_attempt)]


def asked(message: Message, origin: Origin, *, last_attempt: bool) -> Submission:
    """Submission of a message that waits for its answer."""
    evidence = _decoded(message)
    return Submission(
        origin.name, evidence, message.data, message.received_at, message.reply, ack="", last_attempt=last_attempt
    )


def single(message: Message, origin: Origin, *, last_attempt: bool = False) -> Submission:
    """Submission of one agent; the reply it wants must lie in its own inbox."""
    evidence = _decoded(message)
    reply = ""
    wanted = message.headers.get(REPLY_HEADER)
    if wanted is not None:
        try:
            reply = subjects.reply(origin.tenant, origin.name, wanted)
        except BadEvidence as error:
            evidence = error
    return Submission(
        origin.name, evidence, message.data, message.received_at, reply, message.reply, last_attempt=last_attempt
    )


def entries(message: Message, origin: Origin, *, last_attempt: bool = False) -> list[Submission]:
    """One submission for each entry; entries share the ack, so the message is done when all its results are stored."""

    def submission(agent: str, evidence: EvidenceCollection | BadEvidence, data: bytes) -> Submission:
        return Submission(agent, evidence, data, message.received_at, "", message.reply, last_attempt=last_attempt)

    try:
        encoded = decode_batch(message.data)
    except BadEvidence as error:
        return [submission(origin.name, error, message.data)]
    submissions = []
    for data in encoded:
        try:
            entry = decode_entry(data)
            submissions.append(submission(subjects.checked_name(entry.agent), entry.collection, data))
        except BadEvidence as error:
            submissions.append(submission(origin.name, error, data))
        except Misconfigured as error:
            submissions.append(submission(origin.name, BadEvidence(Reason.WRONG_AGENT, str(error)), data))
    return submissions


def _decoded(message: Message) -> EvidenceCollection | BadEvidence:
    try:
        return decode_collection(message.data, message.headers.get(CONTENT_TYPE, MSGPACK))
    except BadEvidence as error:
        return error
