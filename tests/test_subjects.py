"""Subject names: what is said, what is understood, and what is refused."""

from collections.abc import Callable

import pytest

from attest_pipeline import subjects
from attest_pipeline.errors import BadEvidence, Misconfigured, Reason
from attest_pipeline.subjects import Lane, Origin


@pytest.mark.parametrize(
    ("lane", "service", "view"),
    [
        (Lane.EVIDENCE, "ingest.acme.evidence.a-1", "attest.v1.evidence.a-1"),
        (Lane.BATCH, "ingest.acme.batch.a-1", "attest.v1.evidence-batch.a-1"),
        (Lane.VERIFY, "verify.acme.a-1", "attest.v1.verify.a-1"),
        (Lane.CHALLENGE, "challenge.acme.a-1", "attest.v1.challenge.a-1"),
        (Lane.RESULT, "result.acme.a-1", "attest.v1.result.a-1"),
    ],
)
def test_a_lane_has_one_subject_per_view(lane: Lane, service: str, view: str) -> None:
    assert subjects.service(lane, "acme", "a-1") == service
    assert subjects.view(lane, "a-1") == view


@pytest.mark.parametrize("lane", subjects.ASKED)
def test_the_service_reads_tenant_and_agent_from_its_own_subjects(lane: Lane) -> None:
    assert subjects.origin(subjects.service(lane, "acme", "a_1")) == Origin(lane, "acme", "a_1")


@pytest.mark.parametrize(
    "subject",
    [
        "", "ingest", "ingest.acme.evidence", "ingest.acme.evidence.a.b", "ingest.acme.other.a", "result.acme.a",
        "ingest..evidence.a", "ingest.acme.evidence.", "verify.acme.a b", "verify.acme.*", "challenge.>.a",
        "verify.acme." + "a" * 65, "verify.acme.ä", "verify.acme.a\n",
    ],
)  # fmt: skip
def test_a_subject_without_tenant_and_agent_is_refused(subject: str) -> None:
    with pytest.raises(BadEvidence) as caught:
        subjects.origin(subject)
    assert caught.value.reason == Reason.WRONG_AGENT


@pytest.mark.parametrize("name", ["", "a.b", "a b", ">", "a*", "ä", "a" * 65, "a\r\nPUB x", "a\n"])
@pytest.mark.parametrize(
    "make",
    [
        lambda name: subjects.service(Lane.RESULT, name, "a"),
        lambda name: subjects.service(Lane.RESULT, "acme", name),
        lambda name: subjects.view(Lane.EVIDENCE, name),
        subjects.epoch,
        subjects.last_epoch,
        lambda name: subjects.dead("acme", name),
        subjects.inbox,
        subjects.replies,
        subjects.webhook_consumer,
        lambda name: subjects.reply(name, "a", "_INBOX_a.x"),
    ],
)
def test_no_subject_is_made_of_a_bad_name(make: Callable[[str], str], name: str) -> None:
    with pytest.raises(Misconfigured):
        make(name)


def test_a_reply_goes_to_the_agents_own_inbox() -> None:
    assert subjects.reply("acme", "a1", "_INBOX_a1.x.7") == "reply.acme._INBOX_a1.x.7"


@pytest.mark.parametrize(
    "wanted",
    [
        "", "_INBOX_a1", "_INBOX_a1.", "_INBOX_a1x.y", "_INBOX_a.x", "_INBOX.x", "attest.v1.result.a1", "_INBOX_a1.*",
        "_INBOX_a1.>", "_INBOX_a1..x", "_INBOX_a1.x\r\nPUB y", "_INBOX_a1.x y", "_INBOX_a1." + "x" * 256,
    ],
)  # fmt: skip
def test_a_reply_elsewhere_is_refused(wanted: str) -> None:
    with pytest.raises(BadEvidence) as caught:
        subjects.reply("acme", "a1", wanted)
    assert caught.value.reason == Reason.WRONG_REPLY


def test_names_of_streams_and_consumers_are_fixed() -> None:
    assert subjects.epoch("acme") == "epoch.acme"
    assert subjects.last_epoch("acme") == "$JS.API.DIRECT.GET.EPOCHS.epoch.acme"
    assert subjects.dead("acme", "a") == "dead.acme.a"
    assert subjects.replies("acme") == "reply.acme.>"
    assert subjects.webhook_consumer("siem") == "webhook-siem"


@pytest.mark.parametrize(
    ("pattern", "subject", "hears"),
    [
        ("a.b", "a.b", True), ("a.b", "a.c", False), ("a.*", "a.b", True), ("a.*", "a.b.c", False),
        ("a.>", "a.b", True), ("a.>", "a.b.c", True), ("a.>", "a", False), (">", "a", True), ("a.*.c", "a.b.c", True),
        ("a.*", "a", False), ("a", "a.b", False), ("a.>", "b.a", False),
    ],
)  # fmt: skip
def test_wildcards_mean_what_the_broker_says(pattern: str, subject: str, hears: bool) -> None:  # noqa: FBT001 - a table
    assert subjects.matches(pattern, subject) is hears
