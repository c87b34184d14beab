"""The appraise stage with an engine of canned answers."""

from collections.abc import Mapping

import msgspec
import pytest

from attest_pipeline.appraisal import UNPROVEN, Appraiser, View, findings, overall
from attest_pipeline.ear import Claim, Status
from attest_pipeline.model import Appraisal, Claims, Match, Matched, Mismatch, Policy
from attest_pipeline.ports import PolicyFailed

GOOD = {"hardware": {"value": 2, "reason": "tcb_up_to_date"}, "executables": {"value": 3, "reason": "boot"}}
CLAIMS = Claims(
    tee="tdx",
    hardware_id="aa",
    debug=False,
    tcb_status="UpToDate",
    measurements={"mrtd": "00", "rtmr0": "01"},
    signer="pck",
    challenge_verified=True,
    endorsements={},
    fields={"migratable": False, "mrtd": "00"},
    checks=("signature",),
)
MATCHED = Matched(CLAIMS, Match(matched=True, set="web", version="1"))


class CannedEngine:
    """Gives one answer, or raises it, and keeps what it was shown."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.views: list[Mapping[str, object]] = []

    def evaluate(self, policy: Policy, view: Mapping[str, object]) -> object:
        assert policy.text
        self.views.append(view)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def policy(*reads: str, tee: str = "tdx", digest: str = "d1") -> Policy:
    return Policy(id="appraisal/tdx", tee=tee, text="package", digest=digest, reads=reads, allow_unfresh=False)


READS_DEBUG = policy("debug")


def appraise(answer: object, *, of: Matched = MATCHED, by: Policy | None = READS_DEBUG) -> Appraisal:
    return Appraiser(CannedEngine(answer)).appraise(of, by, fresh=True, replayed=False).appraisal


def view(*reads: str, of: Matched = MATCHED, fresh: bool = True, replayed: bool = False) -> object:
    return msgspec.json.decode(View(reads).encode(of, fresh=fresh, replayed=replayed))


def test_status_is_that_of_the_worst_finding_and_every_claim_has_its_reason() -> None:
    appraisal = appraise({**GOOD, "runtime-opaque": {"value": 96, "reason": "debug_enabled", "detail": "debug is on"}})

    assert appraisal.status == Status.CONTRAINDICATED
    assert appraisal.vector == {"hardware": 2, "executables": 3, "runtime-opaque": 96}
    assert [reason.claim for reason in appraisal.reasons] == list(appraisal.vector)
    assert appraisal.reasons[2].detail == "debug is on"
    assert (appraisal.policy, appraisal.policy_digest) == ("appraisal/tdx", "d1")


def test_appraised_carries_claims_and_match_unchanged() -> None:
    appraised = Appraiser(CannedEngine(GOOD)).appraise(MATCHED, policy("debug"), fresh=True, replayed=False)

    assert (appraised.claims, appraised.match) == (CLAIMS, MATCHED.match)
    assert appraised.appraisal.status == Status.AFFIRMING


def test_policy_sees_the_declared_paths_and_nothing_else() -> None:
    engine = CannedEngine(GOOD)

    Appraiser(engine).appraise(MATCHED, policy("debug", "match.set", "fields.mrtd"), fresh=True, replayed=False)

    assert engine.views == [{"debug": False, "match": {"set": "web"}, "fields": {"mrtd": "00"}}]


def test_view_has_every_head_of_the_input_document() -> None:
    heads = ("tee", "debug", "tcb_status", "hardware_id", "hardware_known", "signer", "challenge_verified")

    assert view(*heads, "fresh", "replayed", fresh=False, replayed=True) == {
        "tee": "tdx",
        "debug": False,
        "tcb_status": "UpToDate",
        "hardware_id": "aa",
        "hardware_known": True,
        "signer": "pck",
        "challenge_verified": True,
        "fresh": False,
        "replayed": True,
    }


def test_unnamed_hardware_is_not_known() -> None:
    unnamed = msgspec.structs.replace(CLAIMS, hardware_id=None)

    assert view("hardware_known", "hardware_id", of=Matched(unnamed, MATCHED.match)) == {
        "hardware_known": False,
        "hardware_id": None,
    }


def test_view_has_whole_groups_and_a_whole_group_covers_its_members() -> None:
    mismatch = Match(matched=False, set="web", version="1", mismatches=(Mismatch("mrtd", ("01",), "00"),))

    assert view("match", "match.set", "fields", "measurements.mrtd", of=Matched(CLAIMS, mismatch)) == {
        "match": {
            "matched": False,
            "set": "web",
            "version": "1",
            "mismatches": [{"field": "mrtd", "expected": ["01"], "got": "00"}],
        },
        "fields": {"migratable": False, "mrtd": "00"},
        "measurements": {"mrtd": "00"},
    }


def test_member_that_the_evidence_lacks_is_absent() -> None:
    assert view("fields.vmpl", "measurements.rim") == {"fields": {}, "measurements": {}}


def test_order_of_claims_does_not_change_the_view() -> None:
    turned = msgspec.structs.replace(CLAIMS, fields=dict(reversed(CLAIMS.fields.items())))
    encode = View(("fields",)).encode

    assert encode(MATCHED, fresh=True, replayed=False) == encode(
        Matched(turned, MATCHED.match), fresh=True, replayed=False
    )


@pytest.mark.parametrize("path", ["", "debugs", "claims.debug", "match.", "match.sets", "debug.x", "tee.x", "_match"])
def test_path_outside_the_input_document_fails_the_policy(path: str) -> None:
    appraisal = appraise(GOOD, by=policy("debug", path))

    assert appraisal.status == Status.NONE
    assert "no path of the input document" in appraisal.reasons[0].detail


def test_equal_views_are_judged_once() -> None:
    engine = CannedEngine(GOOD)
    appraiser = Appraiser(engine)
    other = Matched(msgspec.structs.replace(CLAIMS, hardware_id="bb"), MATCHED.match)

    first = appraiser.appraise(MATCHED, policy("debug"), fresh=True, replayed=False)
    second = appraiser.appraise(other, policy("debug"), fresh=False, replayed=False)

    assert len(engine.views) == 1
    assert first.appraisal is second.appraisal
    assert second.claims.hardware_id == "bb"


def test_another_value_another_policy_and_another_proof_are_judged_anew() -> None:
    engine = CannedEngine(GOOD)
    appraiser = Appraiser(engine)
    for changed in ({}, {"debug": True}, {"debug": None}, {"checks": UNPROVEN}):
        claims = msgspec.structs.replace(CLAIMS, **changed)
        appraiser.appraise(Matched(claims, MATCHED.match), policy("debug"), fresh=True, replayed=False)
    appraiser.appraise(MATCHED, policy("debug", digest="d2"), fresh=True, replayed=False)

    assert len(engine.views) == 5


def test_memory_is_bounded() -> None:
    engine = CannedEngine(GOOD)
    appraiser = Appraiser(engine, memo_size=1)
    for fresh in (True, False, True):
        appraiser.appraise(MATCHED, policy("fresh"), fresh=fresh, replayed=False)

    assert len(engine.views) == 3


def test_failure_is_not_remembered() -> None:
    engine = CannedEngine(PolicyFailed("no answer in 0.25 s"))
    appraiser = Appraiser(engine)
    failed = appraiser.appraise(MATCHED, policy("debug"), fresh=True, replayed=False).appraisal
    engine.answer = GOOD

    assert failed.status == Status.NONE
    assert failed.vector == {"configuration": -1}
    assert (failed.reasons[0].reason, failed.reasons[0].detail) == ("policy_failed", "no answer in 0.25 s")
    assert appraiser.appraise(MATCHED, policy("debug"), fresh=True, replayed=False).appraisal.status == "affirming"


@pytest.mark.parametrize("by", [None, policy("debug", tee="sgx")])
def test_without_a_policy_for_the_tee_nothing_is_affirmed(by: Policy | None) -> None:
    appraisal = appraise(GOOD, by=by)

    assert appraisal.status == Status.NONE
    assert (appraisal.reasons[0].reason, appraisal.policy) == ("policy_missing", "")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (None, "undefined"),
        ({}, "length >= 1"),
        ([], "Expected `object`"),
        ("affirming", "Expected `object`"),
        (True, "Expected `object`"),
        ({"hardware": 2}, "Expected `object`"),
        ({"hardware": {"value": 2}}, "missing required field `reason`"),
        ({"hardware": {"value": 2, "reason": ""}}, "length >= 1"),
        ({"hardware": {"value": 2, "reason": "x" * 65}}, "length <= 64"),
        ({"hardware": {"value": 2, "reason": None}}, "Expected `str`"),
        ({"hardware": {"value": 2, "reason": "x", "detail": "y" * 301}}, "length <= 300"),
        ({"hardware": {"value": 2, "reason": "x", "status": "affirming"}}, "unknown field"),
        ({"hardware": {"value": "2", "reason": "x"}}, "Expected `int`"),
        ({"hardware": {"value": True, "reason": "x"}}, "Expected `int`"),
        ({"hardware": {"value": None, "reason": "x"}}, "Expected `int`"),
        ({"hardware": {"value": 2.5, "reason": "x"}}, "Expected `int`"),
        ({"hardware": {"value": 128, "reason": "x"}}, "<= 127"),
        ({"hardware": {"value": -129, "reason": "x"}}, ">= -128"),
        ({"hardwares": {"value": 2, "reason": "x"}}, "Invalid enum value 'hardwares'"),
    ],
)
def test_answer_that_is_no_vector_is_never_affirming(answer: object, says: str) -> None:
    appraisal = appraise(answer)

    assert appraisal.status == Status.NONE
    assert appraisal.reasons[0].reason == "policy_failed"
    assert says in appraisal.reasons[0].detail


def test_vector_without_a_claim_gives_no_trust() -> None:
    assert appraise({"hardware": {"value": 0, "reason": "not_judged"}}).status == Status.NONE


def test_evidence_that_proves_nothing_is_at_best_a_warning() -> None:
    sample = Matched(msgspec.structs.replace(CLAIMS, checks=UNPROVEN), MATCHED.match)

    appraisal = appraise(GOOD, of=sample)

    assert appraisal.status == Status.WARNING
    assert {reason.claim: reason.reason for reason in appraisal.reasons}["hardware"] == "unproven"


def test_cap_on_unproven_evidence_does_not_better_a_worse_finding() -> None:
    sample = Matched(msgspec.structs.replace(CLAIMS, checks=UNPROVEN), MATCHED.match)

    appraisal = appraise({"hardware": {"value": 97, "reason": "no_hardware"}}, of=sample)

    assert (appraisal.status, appraisal.vector) == (Status.CONTRAINDICATED, {"hardware": 97})


def test_findings_are_typed() -> None:
    found = findings(GOOD)

    assert found[Claim.HARDWARE].value == 2
    assert overall(found) is Status.AFFIRMING
