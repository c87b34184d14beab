"""The pipeline contains every fault in the item that has it, and never judges what it must not."""

from typing import Any

import pipeline_lab as lab
import pytest
import token_lab
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given as for_all
from hypothesis import strategies as st
from msgspec.structs import replace

from attest_pipeline import result, verifiers, wire
from attest_pipeline.ear import Status
from attest_pipeline.endorsing import Snapshot
from attest_pipeline.errors import BadEvidence, Misconfigured, Reason, Unavailable
from attest_pipeline.freshness import Tick, epoch_challenge
from attest_pipeline.jws import jwk_of_spki
from attest_pipeline.model import (
    AllowList,
    EndorsementKind,
    EndorsementRef,
    Endorsements,
    EpochChallenge,
    EventLog,
    Evidence,
    EvidenceCollection,
    LoggedEvent,
    LogName,
    Malfunction,
    Matched,
    ReferenceValueSet,
    Rejection,
    SuppliedChallenge,
    TenantConfig,
    TrustAnchor,
    Verified,
)
from attest_pipeline.pipeline import Appraise, Match, Parse, Pipeline, Sign, Submission, exhausted, rejected
from attest_pipeline.ports import NOTHING, EndorsementSource, Found, PolicyFailed
from attest_pipeline.result import AttestationResult, Details
from attest_pipeline.wire import Frame, Item

TICK = Tick("acme", 7, bytes(32), lab.NOW - 10, lab.NOW + 10)
FRESH = replace(lab.EVIDENCE, challenge=EpochChallenge(7))


def _checked(token: bytes) -> AttestationResult:
    return result.check(token, token_lab.KEYS, audience=token_lab.AUDIENCE, issuer=token_lab.ISSUER, now=lab.NOW)


def _run(made: Pipeline, evidence: EvidenceCollection = lab.EVIDENCE) -> AttestationResult:
    return _checked(made.run(evidence, agent=lab.AGENT, now=lab.NOW, ticks={7: TICK}))


def _details(attested: AttestationResult) -> Details:
    (submod,) = attested.submods.values()
    return submod.details


# ── the whole way ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_fresh_evidence_is_affirmed_and_called_fresh() -> None:
    verifier = lab.ScriptedVerifier()
    attested = _run(lab.pipeline(verifier), FRESH)
    assert attested.status == Status.AFFIRMING
    assert _details(attested).fresh
    ((endorsements, challenge, now),) = verifier.seen
    assert challenge == epoch_challenge(lab.AGENT, "tdx", TICK, "", None)
    assert endorsements.items == {"collateral": (b"published",)}
    assert now == lab.NOW


def test_equal_input_gives_equal_bytes() -> None:
    made = lab.pipeline(lab.ScriptedVerifier())
    first, second = (made.run(FRESH, agent=lab.AGENT, now=lab.NOW, ticks={7: TICK}) for _ in range(2))
    assert first == second


def test_a_supplied_challenge_is_echoed_and_never_called_fresh() -> None:
    attested = _run(lab.pipeline(lab.ScriptedVerifier()))
    assert not _details(attested).fresh
    assert attested.nonce is not None


# ── measurement logs ──────────────────────────────────────────────────────────────────────────────────────────────────
LISTED = LoggedEvent(10, "ima-ng", "aa" * 32, "/usr/bin/cat", text_authenticated=True)
LOGS = tuple(
    EventLog(name=name, digest="00", registers=(10,), events=(LISTED,)) for name in (LogName.TCG2, LogName.IMA)
)
LOGGED = replace(token_lab.CLAIMS, logs=LOGS)


def _allowing(name: LogName, digest: str = "aa" * 32) -> TenantConfig:
    allowed = AllowList(registers=(10,), digests=(digest,))
    baseline = ReferenceValueSet(
        name="files", version="1", tee="tdx", values={"mrtd": ("00",)}, logs={LogName(name): allowed}
    )
    return replace(lab.CONFIG, reference_values=(baseline,))


def _parsed(config: TenantConfig) -> Frame:
    submission = Submission(lab.AGENT, FRESH, b"", lab.NOW, "", "")
    item = lab.parse(lab.ScriptedVerifier(LOGGED), config=config)(submission, {7: TICK})
    return Frame("acme", "v1", (item,))


def _logs(frame: Frame) -> tuple[EventLog, ...]:
    (artefact,) = frame.items[0].artefacts
    assert isinstance(artefact, Verified | Matched)
    return artefact.claims.logs


def test_a_log_travels_to_match_only_if_there_is_an_allow_list_for_it_and_no_further() -> None:
    assert _logs(_parsed(lab.CONFIG)) == ()
    config = _allowing(LogName.IMA)
    parsed = _parsed(config)
    assert [log.name for log in _logs(parsed)] == [LogName.IMA]
    assert wire.decode_frame(wire.encode(parsed)) == parsed
    assert _logs(Match(config)(parsed)) == ()


@pytest.mark.parametrize(("digest", "mismatches"), [("aa" * 32, 0), ("bb" * 32, 2)])
def test_a_token_tells_which_events_were_not_allowed_and_holds_no_other(digest: str, mismatches: int) -> None:
    verifier = lab.ScriptedVerifier(LOGGED)
    details = _details(_run(lab.pipeline(verifier, config=_allowing(LogName.IMA, digest)), FRESH))
    assert (details.reference_set, len(details.mismatches)) == ("files", mismatches)
    assert ("/usr/bin/cat" in str(details)) == bool(mismatches)


# ── what must not pass ────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("challenge", [None, SuppliedChallenge(bytes(64))])
def test_evidence_that_is_not_fresh_is_refused_unless_the_policy_allows_it(challenge: SuppliedChallenge | None) -> None:
    strict = replace(lab.CONFIG, policies=(replace(lab.POLICY, allow_unfresh=False),))
    found = _details(
        _run(lab.pipeline(lab.ScriptedVerifier(), config=strict), replace(lab.EVIDENCE, challenge=challenge))
    )
    assert (found.outcome, found.reason) == ("rejected", Reason.CHALLENGE_MISSING)


def test_without_a_policy_nothing_that_is_not_fresh_passes() -> None:
    bare = replace(lab.CONFIG, policies=())
    assert _details(_run(lab.pipeline(lab.ScriptedVerifier(), config=bare))).reason == Reason.CHALLENGE_MISSING
    assert _run(lab.pipeline(lab.ScriptedVerifier(), config=bare), FRESH).status == Status.NONE


@pytest.mark.parametrize("replayed", [{"as_of": lab.NOW - 1000}, {"endorsements": {"collateral": (b"old",)}}])
def test_replay_is_refused_unless_the_tenant_allows_it(replayed: dict[str, Any]) -> None:
    verifier = lab.ScriptedVerifier()
    strict = replace(lab.CONFIG, allow_replay=False)
    attested = _run(lab.pipeline(verifier, config=strict), replace(lab.EVIDENCE, **replayed))
    assert _details(attested).reason == Reason.NOT_ALLOWED
    assert not verifier.seen


def test_replayed_evidence_is_judged_at_its_own_time_and_is_never_fresh() -> None:
    verifier = lab.ScriptedVerifier()
    past = replace(FRESH, as_of=lab.NOW - 1000, endorsements={"collateral": (b"old",)})
    found = _details(_run(lab.pipeline(verifier), past))
    ((endorsements, _, now),) = verifier.seen
    assert (endorsements.items, now) == ({"collateral": (b"old",)}, lab.NOW - 1000)
    assert (found.replayed, found.fresh) == (True, False)


def test_a_tee_that_is_not_admitted_is_rejected_under_a_short_name() -> None:
    stranger = replace(lab.EVIDENCE, evidence=(Evidence("x" * 300, {}),))
    attested = _run(lab.pipeline(lab.ScriptedVerifier()), stranger)
    assert _details(attested).reason == Reason.UNKNOWN_TEE
    assert list(attested.submods) == ["x" * 32]


def test_an_attester_key_that_is_no_key_is_rejected_before_anything_is_proven() -> None:
    verifier = lab.ScriptedVerifier()
    found = _details(_run(lab.pipeline(verifier), replace(FRESH, attester_key=b"no key")))
    assert found.reason == Reason.MALFORMED
    assert not verifier.seen


def test_the_attester_key_is_confirmed_in_the_token() -> None:
    key = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    attested = _run(lab.pipeline(lab.ScriptedVerifier()), replace(FRESH, attester_key=spki))
    assert attested.cnf == {"jwk": jwk_of_spki(spki)}


def test_what_could_not_be_decoded_is_rejected_with_its_reason() -> None:
    bad = lab.submission(evidence=BadEvidence(Reason.EMPTY, "an empty message"), data=b"")
    item = lab.parse(lab.ScriptedVerifier())(bad, {})
    assert item.artefacts == (Rejection("unknown", Reason.EMPTY, "an empty message"),)
    assert item.context.attestation_id == wire.undecodable_id("acme", lab.AGENT, b"")


# ── what goes wrong ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_bad_evidence_is_a_rejection_with_the_verifiers_reason() -> None:
    verifier = lab.ScriptedVerifier(BadEvidence(Reason.REVOKED, "the certificate is revoked"))
    found = _details(_run(lab.pipeline(verifier), FRESH))
    assert (found.outcome, found.reason, found.detail) == ("rejected", "revoked", "the certificate is revoked")


def test_bad_evidence_is_a_rejection_of_its_item_alone() -> None:
    pair = replace(FRESH, evidence=(FRESH.evidence[0], Evidence("snp", {})))
    attested = _run(lab.pipeline(lab.ScriptedVerifier()), pair)
    assert {label: one.details.outcome for label, one in attested.submods.items()} == {
        "tdx": "verified",
        "snp": "rejected",
    }


@pytest.mark.parametrize("bug", [ValueError("bug"), RecursionError(), KeyError("x"), MemoryError()])
def test_a_bug_in_a_verifier_is_a_malfunction_and_no_verdict_on_the_attester(bug: Exception) -> None:
    attested = _run(lab.pipeline(lab.ScriptedVerifier(bug)), FRESH)
    found = _details(attested)
    assert (found.outcome, found.reason) == ("malfunction", Reason.INTERNAL)
    assert attested.status == Status.NONE
    assert str(bug) not in found.detail or not str(bug)


def test_an_endorsement_that_is_not_known_yet_is_waited_for_until_the_last_attempt() -> None:
    stage = lab.parse(lab.ScriptedVerifier(), lab.ScriptedSource(Unavailable("collateral is on its way")))
    with pytest.raises(Unavailable, match="on its way"):
        stage(lab.submission(), {})
    item = stage(lab.submission(last_attempt=True), {})
    assert item.artefacts == (Malfunction("tdx", Reason.DELIVERIES_EXHAUSTED, "collateral is on its way"),)


class _Asking(lab.ScriptedVerifier):
    """Asks for a second document of the same item, and for one of another, once it has the first."""

    def further_endorsements(self, evidence: Evidence, endorsements: Endorsements) -> tuple[EndorsementRef, ...]:
        del evidence
        assert endorsements.items["collateral"]
        names = (("collateral", "milan"), ("crl", "genoa"))
        return tuple(EndorsementRef(item, EndorsementKind.AMD_CRL, key, required=False) for item, key in names)


class _Aging(EndorsementSource):
    """Documents are their keys; that of Milan is stale, and holds only from a while after the Evidence came."""

    def find(self, ref: EndorsementRef) -> Found:
        document = (ref.key.encode(),)
        return Found(document, stale=True, valid_from=lab.NOW + 30) if ref.key == "milan" else Found(document)


def test_further_endorsements_are_looked_for_and_stand_beside_the_first() -> None:
    verifier = _Asking()
    found = _details(_run(lab.pipeline(verifier, _Aging()), FRESH))
    ((endorsements, _, now),) = verifier.seen
    assert endorsements.items == {"collateral": (b"tdx/00/platform", b"milan"), "crl": (b"genoa",)}
    assert found.degraded == ("collateral",), "one of them is stale"
    assert now == lab.NOW + 30, "the youngest of them holds from here on"


def test_evidence_of_the_past_asks_for_nothing_further() -> None:
    verifier = _Asking()
    _run(lab.pipeline(verifier), replace(FRESH, as_of=lab.NOW - 1000, endorsements={"collateral": (b"old",)}))
    assert verifier.seen[0][0].items == {"collateral": (b"old",)}


def test_what_comes_with_the_evidence_is_not_mixed_with_what_is_found() -> None:
    verifier = _Asking()
    _run(lab.pipeline(verifier), replace(FRESH, endorsements={"collateral": (b"own",)}))
    assert verifier.seen[0][0].items == {"collateral": (b"own",), "crl": (b"published",)}


def test_a_policy_that_fails_is_a_status_of_none() -> None:
    attested = _run(lab.pipeline(lab.ScriptedVerifier(), engine=lab.ScriptedEngine(PolicyFailed("timeout"))), FRESH)
    assert attested.status == Status.NONE
    assert _details(attested).outcome == "verified"


def test_a_bug_in_a_stage_is_a_malfunction_of_that_item_alone() -> None:
    matched = Item(token_lab.context(), (Matched(token_lab.CLAIMS, token_lab.MISMATCHED.match),), "", "ack-1")
    other = Item(token_lab.context(), (Rejection("tdx", "r", "d"),), "", "ack-2")
    done = Appraise(lab.CONFIG, lab.ScriptedEngine(ZeroDivisionError()))(Frame("acme", "v", (matched, other)))
    failed = replace(matched, artefacts=(Malfunction("tdx", Reason.INTERNAL, "a stage failed; see its log"),))
    assert done.items == (failed, other)


def test_a_signer_that_fails_once_signs_a_malfunction() -> None:
    attested = _run(lab.pipeline(lab.ScriptedVerifier(), signer=lab.FailingSigner(1)), FRESH)
    assert _details(attested).reason == Reason.INTERNAL


def test_a_signer_that_always_fails_signs_nothing() -> None:
    with pytest.raises(OSError, match="not plugged in"):
        _run(lab.pipeline(lab.ScriptedVerifier(), signer=lab.FailingSigner(1000)), FRESH)


def test_an_artefact_that_skipped_a_stage_is_no_result() -> None:
    item = Item(token_lab.context(), (Verified(token_lab.CLAIMS),), "", "")
    ((_, token),) = Sign(lab.CONFIG, token_lab.SIGNER)(Frame("acme", "v", (item,)))
    assert _details(_checked(token)).reason == Reason.INTERNAL


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_rejections_and_malfunctions_ride_through_every_stage_unchanged() -> None:
    artefacts = (Rejection("tdx", "r", "d"), Malfunction("tdx", "r", "d"))
    frame = Frame("acme", "v", (Item(token_lab.context(), artefacts, "reply", "ack"),))
    assert Match(lab.CONFIG)(frame) == frame
    assert Appraise(lab.CONFIG, lab.ScriptedEngine())(frame) == frame


def test_exhausted_evidence_is_a_malfunction_that_keeps_its_way_back() -> None:
    item = exhausted(lab.submission(reply="inbox", ack="ack"), "acme", 5)
    assert (item.reply, item.ack) == ("inbox", "ack")
    assert not item.context.fresh
    (found,) = item.artefacts
    assert isinstance(found, Malfunction)
    assert found.reason == Reason.DELIVERIES_EXHAUSTED
    assert "5 deliveries" in found.detail


def test_an_item_rejected_afterwards_keeps_context_and_tees() -> None:
    item = Item(token_lab.context(), (Verified(token_lab.CLAIMS), Rejection("snp", "r", "d")), "reply", "ack")
    refused = rejected(item, Reason.CHALLENGE_REUSED, "used")
    assert refused.context == item.context
    assert refused.artefacts == tuple(Rejection(tee, Reason.CHALLENGE_REUSED, "used") for tee in ("tdx", "snp"))


def test_a_snapshot_finds_what_was_published_for_a_reference() -> None:
    (ref,) = lab.ScriptedVerifier().endorsements_for(lab.EVIDENCE.evidence[0])
    snapshot = Snapshot({"intel-dcap/tdx/00/platform": ("d1", "d2")}, {"d1": b"one", "d2": b"two"})
    assert snapshot.find(ref) == Found((b"one", b"two"))
    assert Snapshot({}, {}).find(ref) == NOTHING


def test_trust_anchors_reach_the_verifiers_by_vendor(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def load(*arguments: object) -> dict[str, object]:
        given.append(arguments)
        return {}

    monkeypatch.setattr(verifiers, "load", load)
    anchors = (TrustAnchor("amd", b"1"), TrustAnchor("intel", b"2"), TrustAnchor("amd", b"3"))
    Parse(replace(lab.CONFIG, trust_anchors=anchors), lab.ScriptedSource(), lab.NONCE_KEY)
    assert given == [(("tdx",), {"amd": (b"1", b"3"), "intel": (b"2",)})]


def test_a_configuration_with_an_unknown_tee_is_misconfigured() -> None:
    with pytest.raises(Misconfigured, match="no verifier is installed"):
        Parse(replace(lab.CONFIG, tees=("abacus",)), lab.ScriptedSource(), lab.NONCE_KEY)


@for_all(st.binary(max_size=200), st.integers(0, 1 << 33), st.text(max_size=20))
def test_whatever_is_submitted_ends_in_one_token(data: bytes, as_of: int, tee: str) -> None:
    collection = EvidenceCollection(
        evidence=(Evidence(tee, {"quote": data}),), challenge=SuppliedChallenge(data), as_of=as_of
    )
    token = Pipeline(lab.CONFIG, Snapshot({}, {}), lab.ScriptedEngine(), token_lab.SIGNER, lab.NONCE_KEY).run(
        collection, agent=lab.AGENT, now=lab.NOW
    )
    assert _checked(token).status in {Status.NONE, Status.CONTRAINDICATED}
