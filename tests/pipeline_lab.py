"""The four stages around a verifier, an Endorsement source, a policy engine and a signer that do what a test says."""

from collections.abc import Mapping
from typing import Any

import token_lab
from msgspec.structs import replace

from attest_pipeline.endorsing import Endorsing
from attest_pipeline.model import (
    Claims,
    EndorsementKind,
    EndorsementRef,
    Endorsements,
    Evidence,
    EvidenceCollection,
    Policy,
    SuppliedChallenge,
    TenantConfig,
)
from attest_pipeline.pipeline import Parse, Pipeline, Submission
from attest_pipeline.ports import EndorsementSource, Found, PolicyEngine, Signer, Verifier

NOW = token_lab.NOW
AGENT = "node-1"
NONCE_KEY = bytes(32)
CHALLENGE = SuppliedChallenge(bytes(64))
EVIDENCE = EvidenceCollection(evidence=(Evidence("tdx", {"quote": b"quote"}),), challenge=CHALLENGE)
POLICY = Policy(id="appraisal/tdx", tee="tdx", text="", digest="d1", reads=("debug",), allow_unfresh=True)
CONFIG = replace(token_lab.CONFIG, policies=(POLICY,), allow_replay=True)
AFFIRMED = {"hardware": {"value": 2, "reason": "genuine"}}


class ScriptedVerifier(Verifier):
    """Proves, or fails, as told; `seen` is what it was called with."""

    tee = "tdx"
    media_types = frozenset[str]()
    challenge_bytes = 64

    def __init__(self, outcome: Claims | Exception = token_lab.CLAIMS) -> None:
        self.outcome = outcome
        self.seen: list[tuple[Endorsements, bytes | None, int]] = []

    def endorsements_for(self, evidence: Evidence) -> tuple[EndorsementRef, ...]:
        del evidence
        return (EndorsementRef("collateral", EndorsementKind.INTEL_DCAP, "tdx/00/platform"),)

    def verify(self, evidence: Evidence, endorsements: Endorsements, *, challenge: bytes | None, now: Any) -> Claims:
        del evidence
        self.seen.append((endorsements, challenge, int(now.timestamp())))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class ScriptedSource(EndorsementSource):
    """Finds one document for everything, or fails as told."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    def find(self, ref: EndorsementRef) -> Found:
        del ref
        if self.failure is not None:
            raise self.failure
        return Found((b"published",))


class ScriptedEngine(PolicyEngine):
    """Judges everything alike, or fails as told."""

    def __init__(self, answer: object = AFFIRMED) -> None:
        self.answer = answer

    def evaluate(self, policy: Policy, view: Mapping[str, object]) -> object:
        del policy, view
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class FailingSigner(Signer):
    """The real signer, which fails as often as told."""

    algorithm = token_lab.SIGNER.algorithm
    key_id = token_lab.SIGNER.key_id

    def __init__(self, failures: int) -> None:
        self.failures = failures

    def sign(self, message: bytes) -> bytes:
        self.failures -= 1
        if self.failures >= 0:
            raise OSError("the token is not plugged in")
        return token_lab.SIGNER.sign(message)

    def public_jwk(self) -> dict[str, str]:
        return token_lab.SIGNER.public_jwk()


def parse(verifier: Verifier, source: EndorsementSource | None = None, config: TenantConfig = CONFIG) -> Parse:
    """The parse stage with that verifier alone."""
    given = source or ScriptedSource()
    stage = Parse(config, given, NONCE_KEY)
    stage._verifiers = {verifier.tee: verifier}
    stage._endorsing = Endorsing(given, stage._verifiers)
    return stage


def pipeline(
    verifier: Verifier,
    source: EndorsementSource | None = None,
    *,
    engine: PolicyEngine | None = None,
    signer: Signer = token_lab.SIGNER,
    config: TenantConfig = CONFIG,
) -> Pipeline:
    """All stages with that verifier alone."""
    made = Pipeline(config, source or ScriptedSource(), engine or ScriptedEngine(), signer, NONCE_KEY)
    made._parse = parse(verifier, source, config)
    return made


def submission(**changes: Any) -> Submission:
    """Evidence that came in by the durable lane."""
    fixed: dict[str, Any] = {
        "agent": AGENT, "evidence": EVIDENCE, "data": b"bytes", "received_at": NOW, "reply": "", "ack": "ack-1",
    }  # fmt: skip
    return Submission(**fixed | changes)
