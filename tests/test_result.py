"""Attestation Results: what is issued, and what a Relying Party must not believe."""

from typing import Any

import msgspec
import pytest
import token_lab as lab
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from token_lab import AUDIENCE, ISSUER, KEYS, NONCE, NOW, appraised, context, token

from attest_pipeline import jws, result
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.ear import PROFILE, Claim
from attest_pipeline.errors import Reason
from attest_pipeline.jws import BadToken
from attest_pipeline.model import Appraisal, Malfunction, Rejection, Verified

GOOD = token()


def check(encoded: bytes | str, **changes: Any) -> result.AttestationResult:
    how: dict[str, Any] = {"audience": AUDIENCE, "issuer": ISSUER, "now": NOW}
    return result.check(encoded, KEYS, **how | changes)


def refused(encoded: bytes | str, **changes: Any) -> str:
    with pytest.raises(BadToken) as caught:
        check(encoded, **changes)
    return str(caught.value)


def changed(**members: Any) -> bytes:
    """The good token with other members, signed with the real key; None removes one."""
    claims = {name: value for name, value in (lab.payload(GOOD) | members).items() if value is not None}
    return lab.signed(claims)


# ── what is issued ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_token_says_what_was_appraised_and_why() -> None:
    found = check(GOOD.decode())
    assert (found.status, found.sub, found.jti) == ("affirming", "node-1", "07" * 32)
    submod = found.submods["tdx"]
    assert submod.policies == ("appraisal/tdx@sha256:d1",)
    assert submod.details.reasons[0].reason == submod.details.reason == "hardware_reason"
    assert (submod.details.reference_set, submod.details.checks) == ("web", ("signature", "chain"))
    assert submod.details.claims == {}


def test_equal_input_gives_equal_bytes() -> None:
    assert token() == GOOD
    assert token(of=context(attestation_id=b"\x08" * 32)) != GOOD


@pytest.mark.parametrize("private", [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()])
def test_a_redelivered_evidence_gets_the_same_token_again(
    private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
) -> None:
    issued = {result.issue(context(), [appraised()], lab.CONFIG, FileSigner(private)) for _ in range(3)}
    assert len(issued) == 1


def test_a_result_without_a_policy_names_none() -> None:
    nameless = Appraisal(status="none", vector={"executables": -1}, reasons=(), policy="", policy_digest="")
    found = check(token(appraised(appraisal=nameless)))
    assert found.status == "none"
    assert found.submods["tdx"].policies == ()
    assert b"ear_appraisal_policy_ids" not in msgspec.json.encode(found)


def test_an_annotated_token_carries_every_claim() -> None:
    config = msgspec.structs.replace(lab.CONFIG, annotate=True)
    assert check(token(config=config)).submods["tdx"].details.claims == lab.CLAIMS.fields


def test_mismatches_travel_in_the_token() -> None:
    found = check(token(lab.MISMATCHED))
    assert found.status == "warning"
    (mismatch,) = found.submods["tdx"].details.mismatches
    assert (mismatch.field, mismatch.expected, mismatch.got) == ("mrtd", ("11",), "00")


def test_a_composite_has_a_label_for_each_item_and_the_status_of_the_worst() -> None:
    found = check(token(appraised(), lab.MISMATCHED, appraised(), Rejection("snp", Reason.BAD_SIGNATURE, "no")))
    assert list(found.submods) == ["tdx", "tdx-1", "tdx-2", "snp"]
    assert found.status == "contraindicated"


def test_a_bad_signature_says_that_cryptography_failed() -> None:
    submod = check(token(Rejection("snp", Reason.BAD_SIGNATURE, "broken"))).submods["snp"]
    assert submod.vector == dict.fromkeys(Claim, 99)
    assert (submod.details.outcome, submod.details.reason, submod.details.detail) == (
        "rejected", "bad_signature", "broken",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "value", "status"),
    [
        (Reason.REVOKED, 96, "contraindicated"), (Reason.UNTRUSTED_ROOT, 97, "contraindicated"),
        (Reason.CHALLENGE_EXPIRED, 1, "none"), (Reason.NOT_ALLOWED, 1, "none"), (Reason.UNKNOWN_TEE, 1, "none"),
    ],
)  # fmt: skip
def test_some_rejections_speak_of_identity_alone(reason: Reason, value: int, status: str) -> None:
    found = check(token(Rejection("snp", reason, "")))
    assert found.submods["snp"].vector == {"instance-identity": value}
    assert found.status == status


@pytest.mark.parametrize("reason", list(Reason))
def test_no_rejection_and_no_malfunction_is_ever_affirming(reason: Reason) -> None:
    assert check(token(Rejection("snp", reason, ""))).status in {"none", "contraindicated"}
    assert check(token(Malfunction("snp", reason, ""))).status == "none"


def test_a_malfunction_is_ours_and_says_so() -> None:
    submod = check(token(Malfunction("snp", Reason.INTERNAL, "see log"))).submods["snp"]
    assert submod.vector == {"instance-identity": -1}
    assert submod.details.outcome == "malfunction"


def test_an_artefact_that_was_never_appraised_is_not_signed() -> None:
    with pytest.raises(TypeError, match="without an appraisal"):
        token(Verified(lab.CLAIMS))


def test_an_empty_vector_is_status_none_with_a_reason() -> None:
    empty = Appraisal(status="none", vector={}, reasons=(), policy="p", policy_digest="d")
    found = check(token(appraised(appraisal=empty)))
    assert (found.status, found.submods["tdx"].details.reason) == ("none", "no_claim")


def test_the_attesters_key_is_confirmed_in_cnf() -> None:
    public = lab.SIGNER.public_jwk()
    der = _spki_of_signer()
    found = check(token(of=context(attester_key=der)))
    assert isinstance(found.cnf, dict)
    assert found.cnf["jwk"]["x"] == public["x"]


def _spki_of_signer() -> bytes:
    key = ec.derive_private_key(20261123, ec.SECP256R1()).public_key()
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


# ── what must not be believed ─────────────────────────────────────────────────────────────────────────────────────────
def test_an_unchanged_copy_is_believed_so_the_changes_below_are_the_reason() -> None:
    assert check(changed()).status == "affirming"


def test_a_token_lives_until_it_expires() -> None:
    assert check(GOOD, now=NOW + 3599).status == "affirming"
    assert "expired" in refused(GOOD, now=NOW + 3600), "RFC 7519: on or after"


def test_a_token_from_the_future_is_refused_beyond_the_skew_of_clocks() -> None:
    assert check(GOOD, now=NOW - result.CLOCK_SKEW).status == "affirming"
    assert "future" in refused(GOOD, now=NOW - result.CLOCK_SKEW - 1)
    assert "future" in refused(changed(nbf=NOW + 100))


def test_a_token_for_somebody_else_is_refused() -> None:
    assert "meant for" in refused(GOOD, audience="other")


def test_a_token_of_another_issuer_is_refused() -> None:
    assert "issued by" in refused(GOOD, issuer="urn:other")


@pytest.mark.parametrize(
    "member", ["iss", "aud", "sub", "iat", "nbf", "exp", "jti", "eat_profile", "ear_status", "submods"]
)
def test_every_member_is_required(member: str) -> None:
    refused(changed(**{member: None}))


@pytest.mark.parametrize("exp", ["9999999999", True, 1e400, [], -1])
def test_a_mistyped_expiry_is_refused(exp: object) -> None:
    refused(changed(exp=exp))


def test_another_profile_is_refused() -> None:
    assert PROFILE in lab.payload(GOOD).values()
    assert "profile" in refused(changed(eat_profile="tag:github.com,2023:veraison/ear"))


def test_an_epoch_marker_is_no_attestation_result() -> None:
    refused(lab.signed(lab.payload(GOOD), "att-epoch+jwt"))


def test_a_status_better_than_the_worst_submod_is_refused() -> None:
    worse = lab.payload(token(lab.MISMATCHED))
    assert "worst" in refused(lab.signed(worse | {"ear_status": "affirming"}))


def test_a_submod_status_better_than_its_vector_is_refused() -> None:
    claims = lab.payload(token(lab.MISMATCHED)) | {"ear_status": "affirming"}
    claims["submods"]["tdx"]["ear_status"] = "affirming"
    assert "vector" in refused(lab.signed(claims))


def test_a_vector_outside_a_byte_is_refused() -> None:
    claims = lab.payload(GOOD)
    claims["submods"]["tdx"]["ear_trustworthiness_vector"]["hardware"] = 300
    assert "byte" in refused(lab.signed(claims))


def test_a_result_about_nothing_is_refused() -> None:
    assert "worst" in refused(changed(submods={}, ear_status="affirming"))
    assert "worst" in refused(changed(submods={}, ear_status="none"))


def test_a_result_must_answer_the_challenge_that_was_asked() -> None:
    answered = token(of=context(nonce=NONCE))
    assert check(answered, nonce=NONCE).nonce == jws.b64u(NONCE).decode()
    assert "another challenge" in refused(answered, nonce=NONCE[:-1])
    assert "another challenge" in refused(answered, nonce=bytes(32))
    assert "another challenge" in refused(GOOD, nonce=NONCE)


@pytest.mark.parametrize("payload", [[], None, "text", {"a": 1}, 7])
def test_a_payload_of_another_shape_is_refused(payload: object) -> None:
    assert "no Attestation Result" in refused(lab.signed(payload))


def test_a_tampered_token_is_refused() -> None:
    head, body, signature = GOOD.split(b".")
    refused(b".".join((head, body.replace(body[10:11], b"A" if body[10:11] != b"A" else b"B", 1), signature)))


def test_a_payload_that_is_no_utf_8_is_refused() -> None:
    broken = jws.compact(b'{"iss": "\xff"}', lab.SIGNER, "eat+jwt")
    assert "no Attestation Result" in refused(broken)


def test_a_payload_nested_without_end_is_refused() -> None:
    deep = b'{"submods":' * 10_000 + b"1" + b"}" * 10_000
    assert "no Attestation Result" in refused(jws.compact(deep, lab.SIGNER, "eat+jwt"))
