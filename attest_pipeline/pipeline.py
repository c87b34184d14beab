"""The pipeline: parse proves, match compares, appraise judges, sign vouches. Four pure calls, and `run` for all four.

Each stage is built once for a configuration version and then maps frames to frames. Whatever happens to one item
stays with it: bad Evidence becomes a Rejection, a fault of ours a Malfunction, and both ride on to be signed.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol

from msgspec.structs import replace

from attest_pipeline import crypto, freshness, gm, result, verifiers
from attest_pipeline.appraisal import Appraiser
from attest_pipeline.endorsing import Endorsing, longest
from attest_pipeline.errors import BadEvidence, Reason, Unavailable
from attest_pipeline.freshness import Expectation, Ticks
from attest_pipeline.matching import ReferenceValues, listed_logs
from attest_pipeline.model import (
    Artefact,
    Claims,
    Context,
    Evidence,
    EvidenceCollection,
    Malfunction,
    Matched,
    Rejection,
    TenantConfig,
    Verified,
    tee_of,
)
from attest_pipeline.ports import EndorsementSource, PolicyEngine, Signer
from attest_pipeline.wire import Frame, Item, attestation_id, undecodable_id

UNKNOWN_TEE: Final = "unknown"
_log: Final = logging.getLogger(__name__)


class Submission(NamedTuple):
    """Evidence as it came in by any lane: decoded, or the reason why it could not be."""

    agent: str
    evidence: EvidenceCollection | BadEvidence
    data: bytes
    received_at: int
    reply: str
    ack: str
    last_attempt: bool = False


class Parse:
    """Proves Evidence of one tenant under one configuration version."""

    def __init__(self, config: TenantConfig, source: EndorsementSource, nonce_key: bytes) -> None:
        """Load the tenant's verifiers. Raises Misconfigured."""
        anchors: dict[str, tuple[bytes, ...]] = {}
        for anchor in config.trust_anchors:
            anchors[anchor.vendor] = (*anchors.get(anchor.vendor, ()), anchor.spki)
        self._config = config
        self._nonce_key = nonce_key
        self._verifiers = verifiers.load(config.tees, anchors)
        self._endorsing = Endorsing(source, self._verifiers)
        self._listed_logs = listed_logs(config.reference_values)
        self._challenge_sizes = {tee: verifier.challenge_bytes for tee, verifier in self._verifiers.items()}

    def __call__(self, submission: Submission, ticks: Ticks) -> Item:
        """Prove one submission. Raises Unavailable if an Endorsement is not known yet and there is time to wait."""
        evidence = submission.evidence
        identity = _identity(submission, self._config.tenant)
        if isinstance(evidence, BadEvidence):
            context = self._context(submission, identity, _UNBOUND)
            return _item(submission, context, (Rejection(UNKNOWN_TEE, evidence.reason, evidence.detail),))
        return self._prove(submission, identity, evidence, ticks)

    def _prove(self, submission: Submission, identity: bytes, collection: EvidenceCollection, ticks: Ticks) -> Item:
        replayed = collection.as_of is not None or bool(collection.endorsements)
        try:
            expected = self._expected(submission, collection, ticks, replayed=replayed)
        except BadEvidence as error:
            context = self._context(submission, identity, _UNBOUND, replayed=replayed)
            rejected = tuple(Rejection(one.tee, error.reason, error.detail) for one in collection.evidence)
            return _item(submission, context, rejected)
        context = self._context(submission, identity, expected, collection.attester_key, replayed=replayed)
        now = datetime.fromtimestamp(submission.received_at if collection.as_of is None else collection.as_of, UTC)
        artefacts: list[Artefact] = []
        waits: list[Unavailable] = []
        for one in collection.evidence:  # all of it, so that whatever is missing is asked for together
            try:
                artefacts.append(self._artefact(one, collection, expected, now, last_attempt=submission.last_attempt))
            except Unavailable as error:
                waits.append(error)
        if waits:
            raise longest(waits)
        return _item(submission, context, tuple(artefacts))

    def _expected(
        self, submission: Submission, collection: EvidenceCollection, ticks: Ticks, *, replayed: bool
    ) -> Expectation:
        if replayed and not self._config.allow_replay:
            raise BadEvidence(Reason.NOT_ALLOWED, "this tenant does not replay Evidence")
        _check_attester_key(collection.attester_key)
        return freshness.expect(
            collection,
            self._config.tenant,
            submission.agent,
            received_at=submission.received_at,
            nonce_key=self._nonce_key,
            ticks=ticks,
            sizes=self._challenge_sizes,
        )

    def _context(
        self,
        submission: Submission,
        identity: bytes,
        expected: Expectation,
        key: bytes | None = None,
        *,
        replayed: bool = False,
    ) -> Context:
        return Context(
            attestation_id=identity,
            tenant=self._config.tenant,
            agent=submission.agent,
            received_at=submission.received_at,
            fresh=expected.fresh and not replayed,
            replayed=replayed,
            nonce=expected.nonce,
            attester_key=key,
        )

    def _artefact(
        self,
        evidence: Evidence,
        collection: EvidenceCollection,
        expected: Expectation,
        now: datetime,
        *,
        last_attempt: bool,
    ) -> Artefact:
        verifier = self._verifiers.get(evidence.tee)
        if verifier is None:
            return Rejection(evidence.tee[:32], Reason.UNKNOWN_TEE, "this tenant admits no such TEE")
        try:
            gathered = self._endorsing(evidence, collection, now)
            claims = verifier.verify(
                evidence, gathered.endorsements, challenge=expected.values[evidence.tee], now=gathered.now
            )
        except BadEvidence as error:
            return Rejection(evidence.tee, error.reason, error.detail)
        except Unavailable as error:
            if not last_attempt:
                raise
            return Malfunction(evidence.tee, Reason.DELIVERIES_EXHAUSTED, str(error))
        except Exception:  # noqa: BLE001 - contained in one item, logged, and signed as a Malfunction
            _log.exception("verifier failed", extra={"tee": evidence.tee})
            return Malfunction(evidence.tee, Reason.INTERNAL, "the verifier failed; see its log")
        if gathered.degraded:
            claims = replace(claims, degraded=gathered.degraded)
        return Verified(self._with_listed_logs(claims) if claims.logs else claims)

    def _with_listed_logs(self, claims: Claims) -> Claims:
        """The Claims with those logs alone that an allow-list speaks of: a frame carries no event in vain."""
        return replace(claims, logs=tuple(log for log in claims.logs if (claims.tee, log.name) in self._listed_logs))


class Match:
    """Compares Claims with the tenant's Reference Value Sets."""

    def __init__(self, config: TenantConfig) -> None:
        """Index the Reference Value Sets."""
        self._references = ReferenceValues(config.reference_values)

    def __call__(self, frame: Frame) -> Frame:
        """Add to every Verified how it compares."""
        return _mapped(frame, self._compare)

    def _compare(self, _context: Context, artefact: Artefact) -> Artefact:
        if not isinstance(artefact, Verified):
            return artefact
        claims, match = artefact.claims, self._references.match(artefact.claims)
        return Matched(replace(claims, logs=()) if claims.logs else claims, match)


class Appraise:
    """Judges Claims and Match by the tenant's policies."""

    def __init__(self, config: TenantConfig, engine: PolicyEngine) -> None:
        """Take the tenant's policy for each TEE."""
        self._policies = {policy.tee: policy for policy in config.policies}
        self._appraiser = Appraiser(engine)

    def __call__(self, frame: Frame) -> Frame:
        """Add to every Matched its appraisal."""
        return _mapped(frame, self._judge)

    def _judge(self, context: Context, artefact: Artefact) -> Artefact:
        if not isinstance(artefact, Matched):
            return artefact
        policy = self._policies.get(artefact.claims.tee)
        if not (context.fresh or context.replayed or (policy and policy.allow_unfresh)):
            detail = "no challenge of this Verifier, and the policy does not allow that"
            return Rejection(artefact.claims.tee, Reason.CHALLENGE_MISSING, detail)
        return self._appraiser.appraise(artefact, policy, fresh=context.fresh, replayed=context.replayed)


class Vouched(NamedTuple):
    """An item and its signed Attestation Result."""

    item: Item
    token: bytes


class Sign:
    """Vouches for appraised items: the only stage that holds the key."""

    def __init__(self, config: TenantConfig, signer: Signer) -> None:
        """Sign as the tenant's issuer."""
        self._config = config
        self._signer = signer

    def __call__(self, frame: Frame) -> list[Vouched]:
        """Sign a result for every item."""
        return [Vouched(item, self._issue(item)) for item in frame.items]

    def _issue(self, item: Item) -> bytes:
        try:
            return result.issue(item.context, item.artefacts, self._config, self._signer)
        except Exception:  # noqa: BLE001 - contained in one item, logged, and signed as a Malfunction
            _log.exception("sign failed", extra={"attestation": item.context.attestation_id.hex()})
            failed = Malfunction(UNKNOWN_TEE, Reason.INTERNAL, "sign failed; see its log")
            return result.issue(item.context, (failed,), self._config, self._signer)


class Transform(Protocol):
    """A stage between parse and sign."""

    def __call__(self, frame: Frame) -> Frame:
        """Map a frame to the next stage's."""
        ...


class Pipeline:
    """All four stages of one configuration version in one object: for embedding and for `attest verify`."""

    def __init__(
        self,
        config: TenantConfig,
        source: EndorsementSource,
        engine: PolicyEngine,
        signer: Signer,
        nonce_key: bytes,
    ) -> None:
        """Build the stages. Raises Misconfigured."""
        self._config = config
        self._parse = Parse(config, source, nonce_key)
        self._transforms: tuple[Transform, ...] = (Match(config), Appraise(config, engine))
        self._sign = Sign(config, signer)

    def run(self, evidence: EvidenceCollection, *, agent: str, now: int, ticks: Ticks | None = None) -> bytes:
        """Signed Attestation Result for one collection received at `now` (seconds)."""
        submission = Submission(agent, evidence, b"", now, reply="", ack="", last_attempt=True)
        frame = Frame(self._config.tenant, self._config.version, (self._parse(submission, ticks or {}),))
        for transform in self._transforms:
            frame = transform(frame)
        return self._sign(frame)[0].token


_UNBOUND: Final = Expectation(fresh=False, nonce=None, values={})


def exhausted(submission: Submission, tenant: str, attempts: int) -> Item:
    """A Malfunction for Evidence that was delivered again and again without a result: it is not touched any more."""
    context = Context(
        attestation_id=_identity(submission, tenant),
        tenant=tenant,
        agent=submission.agent,
        received_at=submission.received_at,
        fresh=False,
    )
    detail = f"no result after {attempts} deliveries; a copy is on the dead-letter stream"
    return _item(submission, context, (Malfunction(UNKNOWN_TEE, Reason.DELIVERIES_EXHAUSTED, detail),))


def rejected(item: Item, reason: Reason, detail: str) -> Item:
    """The same item with every artefact replaced by a Rejection."""
    artefacts = tuple(Rejection(tee_of(artefact), reason, detail) for artefact in item.artefacts)
    return Item(item.context, artefacts, item.reply, item.ack)


def _identity(submission: Submission, tenant: str) -> bytes:
    if isinstance(submission.evidence, BadEvidence):
        return undecodable_id(tenant, submission.agent, submission.data)
    return attestation_id(tenant, submission.agent, submission.evidence)


def _item(submission: Submission, context: Context, artefacts: tuple[Artefact, ...]) -> Item:
    return Item(context, artefacts, submission.reply, submission.ack)


def _mapped(frame: Frame, step: Callable[[Context, Artefact], Artefact]) -> Frame:
    return Frame(frame.tenant, frame.config, tuple(_stepped(item, step) for item in frame.items))


def _stepped(item: Item, step: Callable[[Context, Artefact], Artefact]) -> Item:
    artefacts = tuple(_contained(item.context, artefact, step) for artefact in item.artefacts)
    return Item(item.context, artefacts, item.reply, item.ack)


def _contained(context: Context, artefact: Artefact, step: Callable[[Context, Artefact], Artefact]) -> Artefact:
    """Step, or a Malfunction of this one artefact: a fault never takes its frame along."""
    try:
        return step(context, artefact)
    except Exception:  # noqa: BLE001 - contained in one item, logged, and signed as a Malfunction
        _log.exception("stage failed", extra={"attestation": context.attestation_id.hex()})
        return Malfunction(tee_of(artefact), Reason.INTERNAL, "a stage failed; see its log")


def _check_attester_key(spki: bytes | None) -> None:
    if spki is None:
        return
    load = gm.load_spki if gm.is_sm2(spki) else crypto.load_spki
    try:
        load(spki)
    except crypto.UnusableKey as error:
        raise BadEvidence(Reason.MALFORMED, f"attester key: {str(error)[:80]}") from None
