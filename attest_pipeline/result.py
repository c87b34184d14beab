"""The sign stage: turn appraised items into one Attestation Result, and check such a result as a Relying Party.

The token is an EAR (draft-ietf-rats-ear-03) as JWT. It is a function of its input: `iat` is the reception time and
`jti` the attestation id, so a redelivered Evidence gives the same bytes again.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from attest_pipeline import jws
from attest_pipeline.ear import PROFILE, TOKEN_TYPE, Claim, Status, Value, status_of, tier, worst
from attest_pipeline.errors import Reason
from attest_pipeline.jws import BadToken
from attest_pipeline.model import (
    Appraised,
    Artefact,
    ClaimReason,
    Context,
    FieldValue,
    Malfunction,
    Mismatch,
    Rejection,
    TenantConfig,
    tee_of,
)
from attest_pipeline.ports import Signer

DEVELOPER: Final = "https://attest-pipeline.dev"
BUILD: Final = "attest-pipeline 0.1.0"
CLOCK_SKEW: Final = 60

_IDENTITY_VALUES: Final[Mapping[str, int]] = {
    Reason.REVOKED: 96,
    Reason.MISSING_ENDORSEMENT: 97,
    Reason.UNTRUSTED_ROOT: 97,
    Reason.TCB_NOT_FOUND: 97,
    Reason.CHALLENGE_EXPIRED: Value.UNEXPECTED_EVIDENCE,
    Reason.CHALLENGE_MISSING: Value.UNEXPECTED_EVIDENCE,
    Reason.UNSUPPORTED_FORMAT: Value.UNEXPECTED_EVIDENCE,
    Reason.UNKNOWN_TEE: Value.UNEXPECTED_EVIDENCE,
    Reason.NOT_ALLOWED: Value.UNEXPECTED_EVIDENCE,
}
"""Rejections that say who the Attester is not (AR4SI 2.3.4), rather than that cryptography failed."""


class Details(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Our extension of a submod: what was found and why, for operators and Relying Parties."""

    tee: str
    outcome: str
    reason: str
    detail: str = ""
    fresh: bool
    replayed: bool = False
    hardware_id: str | None = None
    debug: bool | None = None
    tcb_status: str | None = None
    challenge_verified: bool = False
    measurements: dict[str, str] = {}
    reasons: tuple[ClaimReason, ...] = ()
    reference_set: str | None = None
    reference_version: str | None = None
    mismatches: tuple[Mismatch, ...] = ()
    endorsements: dict[str, str] = {}
    degraded: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    claims: dict[str, FieldValue] = {}


class Submod(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The appraisal of one Evidence (EAR section 3.2)."""

    status: str = msgspec.field(name="ear_status")
    vector: dict[str, int] = msgspec.field(name="ear_trustworthiness_vector")
    policies: tuple[str, ...] = msgspec.field(name="ear_appraisal_policy_ids", default=())
    details: Details = msgspec.field(name="attest_pipeline")


class VerifierId(Struct, frozen=True):
    """Who made the verifier, and which build it is."""

    developer: str
    build: str


class AttestationResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Payload of the token (EAR section 3.1 and RFC 7519)."""

    profile: str = msgspec.field(name="eat_profile")
    iss: str
    aud: str
    sub: str
    iat: int
    nbf: int
    exp: int
    jti: str
    verifier_id: VerifierId = msgspec.field(name="ear_verifier_id")
    status: str = msgspec.field(name="ear_status")
    nonce: str | UnsetType = msgspec.field(name="eat_nonce", default=UNSET)
    cnf: dict[str, Mapping[str, str]] | UnsetType = UNSET
    submods: dict[str, Submod]


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(AttestationResult)
_VERIFIER_ID: Final = VerifierId(DEVELOPER, BUILD)


def issue(context: Context, artefacts: Sequence[Artefact], config: TenantConfig, signer: Signer) -> bytes:
    """Sign one Attestation Result for one collection: a submod for each Evidence, in order."""
    submods: dict[str, Submod] = {}
    for artefact in artefacts:
        submods[_label(tee_of(artefact), submods)] = _submod(artefact, context, config)
    result = AttestationResult(
        profile=PROFILE,
        iss=config.issuer,
        aud=config.audience,
        sub=context.agent,
        iat=context.received_at,
        nbf=context.received_at,
        exp=context.received_at + config.token_seconds,
        jti=context.attestation_id.hex(),
        verifier_id=_VERIFIER_ID,
        status=worst([Status(submod.status) for submod in submods.values()]),
        nonce=UNSET if context.nonce is None else jws.b64u(context.nonce).decode(),
        cnf=UNSET if context.attester_key is None else {"jwk": jws.jwk_of_spki(context.attester_key)},
        submods=submods,
    )
    return jws.compact(_encoder.encode(result), signer, TOKEN_TYPE)


def check(
    token: bytes | str, keys: Sequence[jws.Jwk], *, audience: str, issuer: str, now: int, nonce: bytes | None = None
) -> AttestationResult:
    """The Attestation Result inside a token, if it may be believed at `now` (seconds). Raises BadToken.

    `keys` are the JWKs of the Verifier's JWKS. With `nonce` the result must also answer that challenge. The caller
    still decides on `status`, and, where `cnf` is present, demands proof of possession of that key.
    """
    payload = jws.check(token.encode() if isinstance(token, str) else token, keys, token_type=TOKEN_TYPE)
    try:
        result = _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadToken(f"no Attestation Result: {error}") from None
    _check_claims(result, audience, issuer, now)
    if nonce is not None and result.nonce != jws.b64u(nonce).decode():
        raise BadToken("the result answers another challenge")
    return result


def _check_claims(result: AttestationResult, audience: str, issuer: str, now: int) -> None:
    if result.profile != PROFILE:
        raise BadToken(f"profile {result.profile!r}")
    if result.iss != issuer:
        raise BadToken(f"issued by {result.iss!r}, not {issuer!r}")
    if result.aud != audience:
        raise BadToken(f"meant for {result.aud!r}, not {audience!r}")
    if now >= result.exp:
        raise BadToken(f"expired {now - result.exp} s ago")
    if now + CLOCK_SKEW < max(result.nbf, result.iat):
        raise BadToken("issued in the future")
    if not result.submods or result.status != worst([_status(submod) for submod in result.submods.values()]):
        raise BadToken("the status is not the worst of its submods")


def _status(submod: Submod) -> Status:
    try:
        computed = status_of(submod.vector)
    except ValueError as error:
        raise BadToken(str(error)) from None
    if submod.status != computed:
        raise BadToken("a submod's status is not that of its vector")
    return computed


def _label(tee: str, taken: Mapping[str, object]) -> str:
    """Submod label: the TEE's name, numbered from the second of a kind."""
    label, count = tee, 1
    while label in taken:
        label, count = f"{tee}-{count}", count + 1
    return label


def _submod(artefact: Artefact, context: Context, config: TenantConfig) -> Submod:
    if isinstance(artefact, Appraised):
        return _appraised(artefact, context, annotate=config.annotate)
    if isinstance(artefact, Rejection):
        return _failed(artefact, context, "rejected", _rejection_vector(artefact.reason))
    if isinstance(artefact, Malfunction):
        return _failed(artefact, context, "malfunction", {Claim.INSTANCE_IDENTITY: Value.VERIFIER_MALFUNCTION})
    msg = f"{type(artefact).__name__} reached sign without an appraisal"
    raise TypeError(msg)


def _appraised(artefact: Appraised, context: Context, *, annotate: bool) -> Submod:
    claims, match, appraisal = artefact.claims, artefact.match, artefact.appraisal
    return Submod(
        status=appraisal.status,
        vector=appraisal.vector,
        policies=(f"{appraisal.policy}@sha256:{appraisal.policy_digest}",) if appraisal.policy else (),
        details=Details(
            tee=claims.tee,
            outcome="verified",
            reason=_worst_reason(appraisal.reasons, appraisal.status),
            fresh=context.fresh,
            replayed=context.replayed,
            hardware_id=claims.hardware_id,
            debug=claims.debug,
            tcb_status=claims.tcb_status,
            challenge_verified=claims.challenge_verified,
            measurements=claims.measurements,
            reasons=appraisal.reasons,
            reference_set=match.set,
            reference_version=match.version,
            mismatches=match.mismatches,
            endorsements=claims.endorsements,
            degraded=claims.degraded,
            checks=claims.checks,
            claims=claims.fields if annotate else {},
        ),
    )


def _worst_reason(reasons: Sequence[ClaimReason], status: str) -> str:
    """The reason of the first claim that has the overall status: why the verdict is not better."""
    return next((one.reason for one in reasons if (tier(one.value) or Status.NONE) == status), "no_claim")


def _rejection_vector(reason: str) -> dict[str, int]:
    if reason in _IDENTITY_VALUES:
        return {Claim.INSTANCE_IDENTITY: _IDENTITY_VALUES[reason]}
    return dict.fromkeys(Claim, int(Value.CRYPTO_VALIDATION_FAILED))


def _failed(artefact: Rejection | Malfunction, context: Context, outcome: str, vector: dict[str, int]) -> Submod:
    return Submod(
        status=status_of(vector),
        vector=vector,
        details=Details(
            tee=artefact.tee,
            outcome=outcome,
            reason=artefact.reason,
            detail=artefact.detail,
            fresh=context.fresh,
            replayed=context.replayed,
        ),
    )
