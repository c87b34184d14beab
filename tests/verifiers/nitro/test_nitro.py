"""AWS Nitro Enclaves: real documents, and documents of a simulated AWS with any field changed and signed anew."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cbor2
import pytest
from arm_tokens import reason_of
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fuzz.memory import memories
from verifiers_conformance import run_cases

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.simulator.aws import sign_document
from attest_pipeline.simulator.pki import Identity, Pki
from attest_pipeline.verifiers._shared import cbor
from attest_pipeline.verifiers._shared.x509 import load_certificate
from attest_pipeline.verifiers.nitro import NitroVerifier
from attest_pipeline.verifiers.nitro.roots import AWS_NITRO_ENCLAVES_ROOT_G1

NOW = datetime(2026, 11, 23, tzinfo=UTC)
REAL = "dstack_2025"
REAL_NOW = datetime(2025, 12, 25, 16, 4, 20, tzinfo=UTC)
CHALLENGE = bytes(range(64))
PKI = Pki(NOW, ec.SECP384R1(), hashes.SHA384())
ROOT = PKI.issue("root", None, authority=True)
PARENT = PKI.issue("instance", ROOT, authority=True)
ENCLAVE = PKI.issue("enclave", PARENT)
VERIFIER = NitroVerifier({"aws": (ROOT.spki,)})
PCR = hashlib.sha384(b"image").digest()
ABSENT = object()
Changes = Mapping[str, object]
NOTHING: Changes = {}


def fields(changes: Changes = NOTHING) -> dict[str, object]:
    healthy = {
        "module_id": "i-0123-enc4567",
        "digest": "SHA384",
        "timestamp": 1_790_000_000_000,
        "pcrs": {0: PCR, 1: bytes(48)},
        "certificate": ENCLAVE.encoded(Encoding.DER),
        "cabundle": [ROOT.encoded(Encoding.DER), PARENT.encoded(Encoding.DER)],
        "public_key": b"key",
        "user_data": None,
        "nonce": CHALLENGE,
    }
    return {name: value for name, value in {**healthy, **changes}.items() if value is not ABSENT}


def document(changes: Changes = NOTHING, signer: Identity = ENCLAVE) -> bytes:
    return sign_document(signer, fields(changes))


def verify(
    data: bytes,
    *,
    challenge: bytes | None = CHALLENGE,
    now: datetime = NOW,
    verifier: NitroVerifier = VERIFIER,
) -> Claims:
    return verifier.verify(Evidence("nitro", {"document": data}), Endorsements({}), challenge=challenge, now=now)


def real(vectors: Path, name: str = REAL) -> bytes:
    return (vectors / f"evidence/nitro/{name}.cbor").read_bytes()


def signed(
    payload: bytes, protected: bytes = b"\xa1\x01\x38\x22", unprotected: Mapping[int, object] | None = None
) -> bytes:
    message = cbor2.dumps(["Signature1", protected, b"", payload])
    return cbor2.dumps([protected, unprotected or {}, payload, ENCLAVE.sign_raw(message, hashes.SHA384())])


def test_all_conformance_cases_pass(conformance: Path) -> None:
    assert run_cases(conformance, "nitro", lambda: NitroVerifier({})) == []


def test_the_pinned_key_is_the_one_of_the_published_root(vectors: Path) -> None:
    root = load_certificate((vectors / "evidence/roots/aws/AWS_NitroEnclaves_Root-G1.pem").read_bytes())
    spki = root.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert spki == AWS_NITRO_ENCLAVES_ROOT_G1
    assert root.fingerprint(hashes.SHA256()).hex().startswith("641a0321a3e244ef")


def test_claims_name_hardware_signer_measurements_and_every_check() -> None:
    claims = verify(document())
    assert (claims.tee, claims.hardware_id, claims.debug, claims.tcb_status) == ("nitro", "i-0123", False, None)
    assert claims.signer == hashlib.sha256(ENCLAVE.spki).hexdigest()
    assert claims.measurements == {"pcr0": PCR.hex(), "pcr1": bytes(48).hex()}
    assert claims.fields["public_key"] == b"key".hex()
    assert claims.fields["nonce"] == CHALLENGE.hex()
    assert "user_data" not in claims.fields
    assert claims.checks == (
        "document_format",
        "chain_to_pinned_root",
        "chain_current",
        "document_signature",
        "challenge",
    )


def test_nothing_has_to_be_endorsed() -> None:
    assert VERIFIER.endorsements_for(Evidence("nitro", {})) == ()


def test_without_a_challenge_the_claims_say_that_none_was_verified() -> None:
    claims = verify(document(), challenge=None)
    assert not claims.challenge_verified
    assert "challenge" not in claims.checks


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        CHALLENGE[:63],
        CHALLENGE + b"\0",
        bytes(64),
        *(CHALLENGE[:i] + b"\xff" + CHALLENGE[i + 1 :] for i in range(0, 64, 9)),
    ],
)
def test_the_nonce_is_compared_as_a_whole(challenge: bytes) -> None:
    assert reason_of(lambda: verify(document(), challenge=challenge)) is Reason.CHALLENGE_MISMATCH


@pytest.mark.parametrize("nonce", [None, ABSENT])
def test_a_document_without_nonce_answers_no_challenge(nonce: object) -> None:
    assert reason_of(lambda: verify(document({"nonce": nonce}))) is Reason.CHALLENGE_MISMATCH


def test_a_user_data_or_public_key_that_holds_the_challenge_answers_nothing() -> None:
    other = {"nonce": None, "user_data": CHALLENGE, "public_key": CHALLENGE}
    assert reason_of(lambda: verify(document(other))) is Reason.CHALLENGE_MISMATCH


# ── age ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("challenge", [CHALLENGE, None])
@pytest.mark.parametrize(
    ("age_ms", "current"),
    [(0, True), (600_000, True), (600_001, False), (10_000_000, False), (-60_000, True), (-60_001, False)],
)
def test_a_document_is_current_from_a_minute_before_it_was_made_to_ten_minutes_after(
    age_ms: int,
    current: bool,  # noqa: FBT001 - a column of the table
    challenge: bytes | None,
) -> None:
    made = document({"timestamp": int(NOW.timestamp()) * 1000 - age_ms})
    assert verify(made, challenge=challenge).fields["document_current"] is current


def test_a_document_grows_old_by_the_time_of_judgement_though_it_was_seen_before() -> None:
    made = document({"timestamp": int(NOW.timestamp()) * 1000})
    ages = (0, 600, 601, 600)
    judged = [verify(made, now=NOW + timedelta(seconds=age)).fields["document_current"] for age in ages]
    assert judged == [True, True, False, True]


# ── debug ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("pcr0", "debug"), [(bytes(48), True), (PCR, False), (bytes(47) + b"\x01", False)])
def test_an_enclave_without_a_measured_image_is_in_debug_mode(pcr0: bytes, debug: bool) -> None:  # noqa: FBT001 - a column of the table
    assert verify(document({"pcrs": {0: pcr0}})).debug is debug


# ── the chain ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_root_of_ones_own_is_not_trusted() -> None:
    assert reason_of(lambda: verify(document(), verifier=NitroVerifier({}))) is Reason.UNTRUSTED_ROOT


def test_development_anchors_of_another_vendor_are_not_trusted() -> None:
    verifier = NitroVerifier({"amd": (ROOT.spki,)})
    assert reason_of(lambda: verify(document(), verifier=verifier)) is Reason.UNTRUSTED_ROOT


@pytest.mark.parametrize("bundle", [[ROOT], [ROOT, ROOT]])
def test_a_chain_with_a_gap_is_no_chain(bundle: list[Identity]) -> None:
    cabundle = [identity.encoded(Encoding.DER) for identity in bundle]
    assert reason_of(lambda: verify(document({"cabundle": cabundle}))) is Reason.BAD_CHAIN


def test_a_document_signed_by_another_enclave_than_it_names_is_refused() -> None:
    assert reason_of(lambda: verify(document(signer=PKI.issue("enclave", PARENT)))) is Reason.BAD_SIGNATURE


def test_an_enclave_is_no_authority_for_another() -> None:
    child = PKI.issue("child", ENCLAVE)
    cabundle = [identity.encoded(Encoding.DER) for identity in (ROOT, PARENT, ENCLAVE)]
    forged = document({"certificate": child.encoded(Encoding.DER), "cabundle": cabundle}, child)
    assert reason_of(lambda: verify(forged)) is Reason.BAD_SIGNATURE


def test_a_signer_on_another_curve_is_refused_even_if_aws_vouches_for_it() -> None:
    other = Pki(NOW, ec.SECP256R1(), hashes.SHA384()).issue("enclave", PARENT)
    forged = document({"certificate": other.encoded(Encoding.DER)}, other)
    assert reason_of(lambda: verify(forged)) is Reason.BAD_CHAIN


@pytest.mark.parametrize(
    ("moment", "reason"),
    [(NOW - timedelta(days=1, seconds=1), Reason.NOT_YET_VALID), (NOW + timedelta(days=31), Reason.EXPIRED)],
)
def test_the_chain_is_judged_at_the_given_time_even_if_its_proof_is_remembered(
    moment: datetime, reason: Reason
) -> None:
    genuine = document()
    assert verify(genuine).challenge_verified
    assert reason_of(lambda: verify(genuine, now=moment)) is reason
    assert verify(genuine).challenge_verified


# ── the format ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("items", [{}, {"document": b""}])
def test_evidence_without_document_is_empty(items: dict[str, bytes]) -> None:
    evidence = Evidence("nitro", items)
    assert reason_of(lambda: VERIFIER.verify(evidence, Endorsements({}), challenge=None, now=NOW)) is Reason.EMPTY


def test_a_document_beyond_the_limit_is_too_large() -> None:
    assert reason_of(lambda: verify(bytes(16 * 1024 + 1))) is Reason.TOO_LARGE


@pytest.mark.parametrize(
    "changes",
    [
        {"module_id": ABSENT},
        {"module_id": ""},
        {"module_id": b"i-0123"},
        {"digest": ABSENT},
        {"digest": "SHA256"},
        {"timestamp": 0},
        {"timestamp": -1},
        {"timestamp": 1 << 53},
        {"timestamp": "1790000000000"},
        {"pcrs": ABSENT},
        {"pcrs": {}},
        {"pcrs": [PCR]},
        {"pcrs": {1: PCR}},
        {"pcrs": {0: None}},
        {"pcrs": {0: PCR.hex()}},
        {"pcrs": {0: PCR[:32]}},
        {"pcrs": {0: PCR, 32: PCR}},
        {"pcrs": {0: PCR, -1: PCR}},
        {"pcrs": {0: PCR, "1": PCR}},
        {"certificate": ABSENT},
        {"certificate": b""},
        {"certificate": bytes(1025)},
        {"certificate": b"no certificate"},
        {"cabundle": ABSENT},
        {"cabundle": []},
        {"cabundle": [b""]},
        {"cabundle": ["root"]},
        {"cabundle": [bytes(100)] * 8},
        {"public_key": b""},
        {"public_key": bytes(1025)},
        {"user_data": "text"},
        {"nonce": bytes(1025)},
    ],
)
def test_a_field_of_the_wrong_type_or_size_is_malformed(changes: Changes) -> None:
    assert reason_of(lambda: verify(document(changes))) is Reason.MALFORMED


@pytest.mark.parametrize("payload", [b"", b"\x80", b"\xa0\x00", b"\xa1\x01", b"\xbf\x61a\x01\x61a\x02\xff"])
def test_a_payload_that_is_no_map_is_malformed(payload: bytes) -> None:
    assert reason_of(lambda: verify(signed(payload))) is Reason.MALFORMED


def test_tagged_and_bare_messages_are_the_same_document() -> None:
    assert verify(tagged()).fields == verify(document()).fields
    assert reason_of(lambda: verify(cbor2.dumps(cbor2.CBORTag(17, cbor2.loads(document()))))) is Reason.MALFORMED


def test_maps_of_definite_and_indefinite_length_are_the_same_document() -> None:
    payload = cbor2.dumps(fields())
    assert payload[:1] == b"\xa9"
    assert verify(signed(b"\xbf" + payload[1:] + b"\xff")).fields == verify(signed(payload)).fields


def test_bytes_behind_a_document_are_malformed() -> None:
    assert reason_of(lambda: verify(document() + b"\0")) is Reason.MALFORMED


# ── the algorithm ─────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("protected", [{1: -7}, {1: -36}, {1: -37}, {1: "ES384"}, {}])
def test_es384_alone_signs_a_document(protected: Mapping[int, object]) -> None:
    forged = signed(cbor2.dumps(fields()), cbor2.dumps(protected))
    assert reason_of(lambda: verify(forged)) is Reason.BAD_SIGNATURE


def test_an_algorithm_that_nobody_signed_is_malformed() -> None:
    forged = signed(cbor2.dumps(fields()), cbor2.dumps({}), {1: -35})
    assert reason_of(lambda: verify(forged)) is Reason.MALFORMED


# ── what is remembered ────────────────────────────────────────────────────────────────────────────────────────────────
STAMP = fields()["timestamp"]
MEMBER = b"\x69timestamp" + cbor2.dumps(STAMP)
LATER = b"\x69timestamp" + cbor2.dumps(1_790_000_060_000)


def indefinite(changes: Changes = NOTHING) -> bytes:
    return signed(b"\xbf" + cbor2.dumps(fields(changes))[1:] + b"\xff")


def tagged(changes: Changes = NOTHING) -> bytes:
    return b"\xd2" + document(changes)


def outcome(data: bytes, verifier: NitroVerifier = VERIFIER) -> Claims | tuple[Reason, str]:
    """Claims, or how the document was refused."""
    try:
        return verify(data, challenge=None, verifier=verifier)
    except BadEvidence as error:
        return error.reason, error.detail


def warm_and_cold(known: bytes, data: bytes) -> list[Claims | tuple[Reason, str]]:
    """What is said of the document by who has just proven the known one, and by who remembers nothing."""
    forget = memories()

    def forgotten() -> None:
        for one in forget:
            one()

    forgotten()
    verify(known, challenge=None)
    warm = outcome(data)
    forgotten()
    return [warm, outcome(data)]


def rewritten(old: bytes, new: bytes, changes: Changes = NOTHING) -> bytes:
    """The document with a part of its payload written in another way."""
    payload = cbor2.dumps(fields(changes))
    assert payload.count(old) == 1
    return signed(payload.replace(old, new))


@pytest.mark.parametrize("made", [document, indefinite, tagged])
def test_a_document_that_differs_in_time_and_nonce_alone_is_not_read_anew(
    made: Callable[[Changes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, other = verify(made(NOTHING)), bytes(64)
    later = made({"nonce": other, "timestamp": 1_790_000_060_000})
    monkeypatch.setattr(cbor, "decode", pytest.fail)
    claims = verify(later, challenge=other)
    assert claims.fields == {**known.fields, "nonce": other.hex(), "timestamp": 1_790_000_060_000}
    assert reason_of(lambda: verify(later)) is Reason.CHALLENGE_MISMATCH


def test_a_document_without_nonce_is_known_by_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    verify(document({"nonce": None}), challenge=None)
    later = document({"nonce": None, "timestamp": 1_790_000_060_000})
    monkeypatch.setattr(cbor, "decode", pytest.fail)
    assert verify(later, challenge=None).fields["timestamp"] == 1_790_000_060_000
    assert reason_of(lambda: verify(later)) is Reason.CHALLENGE_MISMATCH


@pytest.mark.parametrize(
    "changes",
    [
        {"module_id": "i-0124-enc4567"},
        {"digest": "SHA256"},
        {"pcrs": {0: bytes(48), 1: bytes(48)}},
        {"pcrs": {0: PCR, 2: bytes(48)}},
        {"certificate": PKI.issue("enclave", PARENT).encoded(Encoding.DER)},
        {"cabundle": [PARENT.encoded(Encoding.DER), ROOT.encoded(Encoding.DER)]},
        {"cabundle": [PARENT.encoded(Encoding.DER)]},
        {"public_key": b"kex"},
        {"public_key": None, "user_data": b"key"},
        {"nonce": None, "user_data": CHALLENGE},
        {"nonce": None},
        {"nonce": ABSENT},
        {"nonce": CHALLENGE[:11]},
        {"nonce": MEMBER * 3 + bytes(7)},
        {"user_data": CHALLENGE},
        {"user_data": MEMBER},
        {"timestamp": 1},
        {"timestamp": 1 << 53},
        {"timestamp": -(1 << 40)},
        {"other": 1},
    ],
)
def test_what_is_known_of_an_enclave_is_said_of_no_other(changes: Changes) -> None:
    warm, cold = warm_and_cold(document(), document(changes))
    assert warm == cold
    warm, cold = warm_and_cold(document(), document({"nonce": bytes(64), **changes}))
    assert warm == cold


@pytest.mark.parametrize("stamp", [0, 1, (1 << 32) - 1, 1 << 32, (1 << 53) - 1, 1 << 53, (1 << 64) - 1])
def test_a_known_enclaves_time_is_admitted_if_a_strangers_is(stamp: int) -> None:
    long = rewritten(MEMBER, MEMBER[:-8] + stamp.to_bytes(8))
    warm, cold = warm_and_cold(document(), long)
    assert warm == cold
    assert isinstance(warm, Claims) is (0 < stamp < 1 << 53)


@pytest.mark.parametrize(
    "head", [b"\x69timestamq\x1b", b"\x49timestamp\x1b", b"\x69timestamp\x3b", b"\x69timestamp\xfb"]
)
def test_a_known_enclaves_time_is_no_time_under_another_name_or_type(head: bytes) -> None:
    warm, cold = warm_and_cold(document(), rewritten(MEMBER, head + MEMBER[-8:]))
    assert warm == cold
    assert isinstance(warm, tuple)


@pytest.mark.parametrize("name", [b"\x78\x09timestamp", b"\x7f\x64time\x65stamp\xff"])
def test_what_looks_like_the_time_is_not_the_time_of_a_document_that_has_it_otherwise(name: bytes) -> None:
    def made(looks: bytes) -> bytes:
        payload = cbor2.dumps(fields({"user_data": looks, "timestamp": ABSENT, "TIMESTAMP": STAMP}))
        return signed(payload.replace(b"\x69TIMESTAMP", name))

    warm, cold = warm_and_cold(made(MEMBER), made(LATER))
    assert warm == cold
    assert isinstance(warm, Claims)
    assert (warm.fields["timestamp"], warm.fields["user_data"]) == (STAMP, LATER.hex())


def test_what_looks_like_a_time_of_eight_bytes_is_not_the_time_of_a_document_with_a_shorter_one() -> None:
    short: Changes = {"timestamp": 7}
    looks = MEMBER[:-8] + (7).to_bytes(8)
    warm, cold = warm_and_cold(document({**short, "user_data": looks}), document({**short, "user_data": LATER}))
    assert warm == cold
    assert isinstance(warm, Claims)
    assert warm.fields["timestamp"] == 7


def test_what_looks_like_the_nonce_is_not_the_nonce_of_a_document_that_has_it_in_chunks() -> None:
    chunked = b"\x5f\x58\x20" + CHALLENGE[:32] + b"\x58\x20" + CHALLENGE[32:] + b"\xff"

    def made(looks: bytes) -> bytes:
        payload = cbor2.dumps(fields({"user_data": looks, "nonce": bytes(64)}))
        return signed(payload.replace(b"\x58\x40" + bytes(64), chunked))

    warm, cold = warm_and_cold(made(CHALLENGE), made(CHALLENGE[::-1]))
    assert warm == cold
    assert isinstance(warm, Claims)
    assert (warm.fields["nonce"], warm.fields["user_data"]) == (CHALLENGE.hex(), CHALLENGE[::-1].hex())


def test_a_known_enclave_is_nobody_to_who_trusts_another_root() -> None:
    genuine = document()
    assert isinstance(outcome(genuine), Claims)
    refused = outcome(genuine, NitroVerifier({}))
    assert isinstance(refused, tuple)
    assert refused[0] is Reason.UNTRUSTED_ROOT
    assert isinstance(outcome(genuine), Claims)


def test_a_challenge_is_not_said_to_hold_because_it_once_did() -> None:
    genuine = document()
    assert [verify(genuine, challenge=one).challenge_verified for one in (CHALLENGE, None, CHALLENGE)] == [
        True,
        False,
        True,
    ]


# ── mutation ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_no_flipped_byte_of_a_real_document_verifies(vectors: Path) -> None:
    genuine = real(vectors)
    verifier = NitroVerifier({})
    assert verify(genuine, challenge=None, now=REAL_NOW, verifier=verifier).debug is False
    survivors = []
    for offset in range(len(genuine)):
        mutant = genuine[:offset] + bytes([genuine[offset] ^ (1 << offset % 8)]) + genuine[offset + 1 :]
        try:
            verify(mutant, challenge=None, now=REAL_NOW, verifier=verifier)
        except BadEvidence:
            continue
        survivors.append(offset)
    assert survivors == []


def test_no_prefix_of_a_real_document_verifies(vectors: Path) -> None:
    genuine = real(vectors)
    for size in range(1, len(genuine), 64):
        with pytest.raises(BadEvidence) as caught:
            verify(genuine[:size], challenge=None, now=REAL_NOW, verifier=NitroVerifier({}))
        assert caught.value.reason is Reason.MALFORMED
