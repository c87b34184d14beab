"""The appraise stage: judge proven Claims and their Match by an Appraisal Policy. Proves nothing, compares nothing.

A policy sees the paths of the input document that it declares and nothing else, so its answer is a function of them:
answers are remembered by (policy, the encoded view). A fleet has few distinct views. The status is always computed from
the vector; a policy cannot claim a better one. Whatever goes wrong is status `none` with a reason, never affirming.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from attest_pipeline.ear import Claim, Status, Value, status_of
from attest_pipeline.model import Appraisal, Appraised, ClaimReason, Claims, Match, Matched, Policy
from attest_pipeline.ports import PolicyEngine, PolicyFailed

UNPROVEN: Final = ("none",)
"""`Claims.checks` of Evidence that proves nothing (the sample TEE)."""


# ── what a policy may say ─────────────────────────────────────────────────────────────────────────────────────────────
class Finding(Struct, frozen=True, forbid_unknown_fields=True):
    """A policy's word on one trustworthiness claim: AR4SI value, reason code, and a sentence for people."""

    value: Annotated[int, Meta(ge=-128, le=127)]
    reason: Annotated[str, Meta(min_length=1, max_length=64)]
    detail: Annotated[str, Meta(max_length=300)] = ""


_Findings = Annotated[dict[Claim, Finding], Meta(min_length=1)]


def findings(document: object) -> dict[Claim, Finding]:
    """The `vector` document of a policy, checked. Raises PolicyFailed if undefined, mistyped, empty or out of range."""
    if document is None:
        raise PolicyFailed("`vector` is undefined for this input")
    try:
        return msgspec.convert(document, _Findings)
    except msgspec.ValidationError as error:
        raise PolicyFailed(f"`vector` is malformed: {error}") from None


def overall(found: Mapping[Claim, Finding]) -> Status:
    """Status of an appraisal: that of its worst finding."""
    return status_of({claim: finding.value for claim, finding in found.items()})


# ── what a policy may see ─────────────────────────────────────────────────────────────────────────────────────────────
class _Subject(Struct, frozen=True):
    """Everything that the input document is made of."""

    claims: Claims
    match: Match
    fresh: bool
    replayed: bool

    @property
    def hardware_known(self) -> bool:
        return self.claims.hardware_id is not None


_Getter = Callable[[_Subject], object]
_WHOLE: Final[Mapping[str, _Getter]] = {
    **{
        name: attrgetter(f"claims.{name}")
        for name in ("tee", "debug", "tcb_status", "hardware_id", "signer", "challenge_verified", "degraded")
    },
    **{name: attrgetter(name) for name in ("hardware_known", "fresh", "replayed", "match")},
    **{name: attrgetter(f"claims.{name}") for name in ("fields", "measurements")},
}
_MATCH_MEMBERS: Final = frozenset(Match.__struct_fields__)
BOOLEAN_PATHS: Final = frozenset(
    {"debug", "challenge_verified", "hardware_known", "fresh", "replayed", "match.matched"}
)
"""Paths of the input document that hold a truth value whatever the TEE."""


class View:
    """The declared part of the input document, ready to be taken from any number of subjects.

    Paths are `tee debug tcb_status hardware_id hardware_known signer challenge_verified degraded fresh replayed match
    fields measurements`, or one member of the last three (`match.matched`, `fields.vmpl`, `measurements.mrtd`). A
    member that the Evidence does not have is absent from the view.
    """

    def __init__(self, reads: Sequence[str]) -> None:
        """Compile the paths. Raises PolicyFailed if one does not exist."""
        members: dict[str, list[str]] = {}
        self._getters: dict[str, _Getter] = {}
        for path in reads:
            root, _, member = path.partition(".")
            if member and (root in ("fields", "measurements") or (root == "match" and member in _MATCH_MEMBERS)):
                members.setdefault(root, []).append(member)
            elif path in _WHOLE:
                self._getters[path] = _WHOLE[path]
            else:
                raise PolicyFailed(f"`reads` names {path!r}, which is no path of the input document")
        for root, names in members.items():
            self._getters.setdefault(root, _match_members(names) if root == "match" else _claim_members(root, names))
        self._encode = msgspec.json.Encoder(order="deterministic").encode

    def encode(self, matched: Matched, *, fresh: bool, replayed: bool) -> bytes:
        """The view as JSON; equal views give equal bytes."""
        subject = _Subject(matched.claims, matched.match, fresh, replayed)
        return self._encode({name: get(subject) for name, get in self._getters.items()})


def _match_members(names: Sequence[str]) -> _Getter:
    return lambda subject: {name: getattr(subject.match, name) for name in names}


def _claim_members(root: str, names: Sequence[str]) -> _Getter:
    def members(subject: _Subject) -> dict[str, object]:
        values: Mapping[str, object] = getattr(subject.claims, root)
        return {name: values[name] for name in names if name in values}

    return members


_view_of = lru_cache(maxsize=1024)(View)


# ── the judgement ─────────────────────────────────────────────────────────────────────────────────────────────────────
class Appraiser:
    """Judges Matched items by policy, remembering up to `memo_size` judgements."""

    def __init__(self, engine: PolicyEngine, memo_size: int = 65536) -> None:
        self._engine = engine
        self._remembered = lru_cache(maxsize=memo_size)(self._judge)

    def appraise(self, matched: Matched, policy: Policy | None, *, fresh: bool, replayed: bool) -> Appraised:
        """Add the Appraisal. Without a policy for that TEE, or if it fails, the status is `none`; nothing is raised."""
        return Appraised(matched.claims, matched.match, self._appraisal(matched, policy, fresh, replayed))

    def _appraisal(self, matched: Matched, policy: Policy | None, fresh: bool, replayed: bool) -> Appraisal:  # noqa: FBT001 - passed on
        if policy is None or policy.tee != matched.claims.tee:
            return _unjudged("", "", "policy_missing", f"no policy for TEE {matched.claims.tee}")
        try:
            view = _view_of(policy.reads).encode(matched, fresh=fresh, replayed=replayed)
            return self._remembered(policy, matched.claims.checks == UNPROVEN, view)
        except PolicyFailed as error:  # never remembered: the next try may succeed
            return _unjudged(policy.id, policy.digest, "policy_failed", str(error))

    def _judge(self, policy: Policy, unproven: bool, view: bytes) -> Appraisal:  # noqa: FBT001 - part of the memo's key
        found = findings(self._engine.evaluate(policy, msgspec.json.decode(view)))
        if unproven and overall(found) is Status.AFFIRMING:
            found |= {Claim.HARDWARE: Finding(32, "unproven", "no signature or chain of this Evidence was checked")}
        return Appraisal(
            status=overall(found),
            vector={claim.value: finding.value for claim, finding in found.items()},
            reasons=tuple(
                ClaimReason(claim.value, finding.value, finding.reason, finding.detail)
                for claim, finding in found.items()
            ),
            policy=policy.id,
            policy_digest=policy.digest,
        )


def _unjudged(policy: str, digest: str, reason: str, detail: str) -> Appraisal:
    """The Appraisal of what could not be judged: a malfunction of the Verifier (AR4SI -1), hence status `none`."""
    vector = {Claim.CONFIGURATION.value: int(Value.VERIFIER_MALFUNCTION)}
    return Appraisal(
        status=status_of(vector),
        vector=vector,
        reasons=(ClaimReason(Claim.CONFIGURATION.value, Value.VERIFIER_MALFUNCTION, reason, detail),),
        policy=policy,
        policy_digest=digest,
    )
