"""OCSP responses: real ones of NVIDIA, and ones made to measure."""

from datetime import UTC, datetime, timedelta
from pathlib import Path as Directory

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.simulator.pki import Identity, Pki
from attest_pipeline.verifiers._nvidia.rim import prove_rim
from attest_pipeline.verifiers._nvidia.roots import trusted_roots
from attest_pipeline.verifiers._shared.ocsp import MAX_RESPONSE, MAX_RESPONSES, Link, check_responses, links_of
from attest_pipeline.verifiers._shared.x509 import load_bundle, signed_path

NOW = datetime(2026, 11, 23, tzinfo=UTC)
DAY = timedelta(days=1)
PKI = Pki(NOW, ec.SECP384R1(), hashes.SHA384())
USAGE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
ROOT = PKI.issue("root", None, authority=True)
MIDDLE = PKI.issue("middle", ROOT, authority=True)
LEAF = PKI.issue("leaf", MIDDLE)
ROOT_RESPONDER = PKI.issue("responder", ROOT, extensions=[USAGE])
RESPONDER = PKI.issue("responder", MIDDLE, extensions=[USAGE])
LINKS = links_of(signed_path(LEAF.certificate, (MIDDLE.certificate,), frozenset((ROOT.spki,))))
GOOD = (PKI.ocsp(LEAF, MIDDLE, RESPONDER), PKI.ocsp(MIDDLE, ROOT, ROOT_RESPONDER))


def refusal(*documents: bytes, links: tuple[Link, ...] = LINKS, now: datetime = NOW) -> Reason:
    with pytest.raises(BadEvidence) as caught:
        check_responses(documents, links, now)
    return caught.value.reason


def respond(
    signer: Identity = RESPONDER,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    *,
    end: datetime | None = NOW + DAY,
    certificates: tuple[x509.Certificate, ...] | None = None,
    issuer: x509.Certificate = MIDDLE.certificate,
    digest: hashes.HashAlgorithm | None = None,
    id_digest: hashes.SHA1 | hashes.SHA224 | hashes.SHA256 | None = None,
) -> bytes:
    """A response about the leaf."""
    revoked = NOW - DAY if status is ocsp.OCSPCertStatus.REVOKED else None
    builder = ocsp.OCSPResponseBuilder().add_response(
        LEAF.certificate, issuer, id_digest or hashes.SHA256(), status, NOW - DAY, end, revoked, None
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
    given = (signer.certificate,) if certificates is None else certificates
    if given:
        builder = builder.certificates(given)
    response = builder.sign(signer.key, digest or hashes.SHA384())
    return response.public_bytes(serialization.Encoding.DER)


def test_answers_about_every_link_are_a_checked_chain() -> None:
    assert check_responses(GOOD, LINKS, NOW)
    assert check_responses(tuple(reversed(GOOD)), LINKS, NOW)


def test_a_link_without_an_answer_is_not_checked() -> None:
    assert not check_responses(GOOD[:1], LINKS, NOW)
    assert not check_responses((), LINKS, NOW)


@pytest.mark.parametrize("digest", [hashes.SHA1(), hashes.SHA256()])  # noqa: S303 - names a key, signs nothing
def test_an_issuer_may_be_named_by_any_common_hash(digest: hashes.SHA1 | hashes.SHA256) -> None:
    assert check_responses((respond(id_digest=digest), GOOD[1]), LINKS, NOW)


def test_an_issuer_named_by_an_unknown_hash_is_a_stranger() -> None:
    assert not check_responses((respond(id_digest=hashes.SHA224()), GOOD[1]), LINKS, NOW)


def test_answers_about_strangers_are_left_out() -> None:
    other = PKI.issue("other", MIDDLE)
    stranger = PKI.ocsp(other, MIDDLE, RESPONDER, revoked=True)
    assert check_responses((*GOOD, stranger), LINKS, NOW)
    assert not check_responses((stranger,), LINKS, NOW)


def test_an_answer_that_names_another_issuer_for_the_same_number_is_no_answer() -> None:
    assert not check_responses((respond(issuer=ROOT.certificate), GOOD[1]), LINKS, NOW)


def test_two_links_of_one_number_are_told_apart_by_their_issuer() -> None:
    namesake = Link(LEAF.certificate.serial_number, ROOT.spki, bytes(48))
    assert refusal(respond(status=ocsp.OCSPCertStatus.REVOKED), links=(namesake, *LINKS)) is Reason.REVOKED


def test_an_rsa_issuer_is_none_of_ours() -> None:
    key = rsa.generate_private_key(65537, 2048).public_key()
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert not check_responses(GOOD[:1], (Link(LEAF.certificate.serial_number, spki, bytes(48)),), NOW)


# ── what it says ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_one_revoked_link_is_enough_even_beside_a_good_answer() -> None:
    revoked = PKI.ocsp(MIDDLE, ROOT, ROOT_RESPONDER, revoked=True)
    assert refusal(GOOD[0], revoked) is Reason.REVOKED
    assert refusal(*GOOD, revoked) is Reason.REVOKED


def test_a_responder_that_does_not_know_is_no_help() -> None:
    assert refusal(respond(status=ocsp.OCSPCertStatus.UNKNOWN)) is Reason.BAD_ENDORSEMENT


@pytest.mark.parametrize(("days", "reason"), [(-2, Reason.NOT_YET_VALID), (2, Reason.EXPIRED)])
def test_an_answer_counts_in_its_window_even_if_its_proof_is_remembered(days: int, reason: Reason) -> None:
    document = respond()
    assert not check_responses((document,), LINKS, NOW)
    assert refusal(document, now=NOW + days * DAY) is reason


def test_an_answer_counts_no_longer_than_the_certificate_of_its_responder() -> None:
    document = respond(end=NOW + 300 * DAY)
    assert refusal(document, now=NOW + 100 * DAY) is Reason.EXPIRED


def test_an_answer_without_an_end_is_refused() -> None:
    assert refusal(respond(end=None)) is Reason.BAD_ENDORSEMENT


# ── who says it ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_certificate_that_is_not_for_responding_responds_to_nothing() -> None:
    other_use = PKI.issue("server", MIDDLE, extensions=[x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])])
    for nobody in (PKI.issue("nobody", MIDDLE), other_use):
        assert refusal(respond(nobody)) is Reason.BAD_ENDORSEMENT


def test_the_responder_of_another_issuer_is_refused() -> None:
    assert refusal(respond(ROOT_RESPONDER)) is Reason.BAD_ENDORSEMENT
    stranger = Pki(NOW, ec.SECP384R1(), hashes.SHA384()).issue("responder", None, extensions=[USAGE])
    assert refusal(respond(stranger)) is Reason.BAD_ENDORSEMENT


def test_an_answer_needs_the_certificate_of_its_responder() -> None:
    assert refusal(respond(certificates=())) is Reason.BAD_ENDORSEMENT


def test_an_algorithm_of_old_signs_nothing() -> None:
    assert refusal(respond(digest=hashes.SHA224())) is Reason.BAD_ENDORSEMENT


# ── the bytes ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_is_no_answer_is_refused() -> None:
    asleep = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    for document in (b"", b"\x30", asleep.public_bytes(serialization.Encoding.DER)):
        assert refusal(document) is Reason.BAD_ENDORSEMENT


def test_too_many_or_too_large_answers_are_refused() -> None:
    assert refusal(bytes(MAX_RESPONSE + 1)) is Reason.TOO_LARGE
    assert refusal(*GOOD[:1] * (MAX_RESPONSES + 1)) is Reason.TOO_LARGE


def test_no_altered_answer_says_anything_else_and_none_lets_another_error_out() -> None:
    genuine = respond()
    for offset in range(len(genuine)):
        mutant = genuine[:offset] + bytes([genuine[offset] ^ (1 << offset % 8)]) + genuine[offset + 1 :]
        try:
            found = check_responses((mutant,), LINKS[:1], NOW)
        except BadEvidence:
            continue
        assert not found or _signed(mutant) == _signed(genuine)  # the padding of a signature is not signed


def _signed(document: bytes) -> tuple[bytes, ...]:
    response = ocsp.load_der_ocsp_response(document)
    assert response.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    return response.tbs_response_bytes, *(one.tbs_certificate_bytes for one in response.certificates)


def test_an_answer_with_the_status_of_none_is_refused() -> None:
    genuine = respond()
    at = genuine.index(b"\x0a\x01\x00") + 2
    assert refusal(genuine[:at] + b"\x01" + genuine[at + 1 :]) is Reason.BAD_ENDORSEMENT


# ── real ones ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _real(vectors: Directory, *names: str) -> tuple[bytes, ...]:
    directory = vectors / "evidence/nvidia/ocsp"
    return tuple((directory / f"test_{name}_ocsp_response.der").read_bytes() for name in names)


def test_a_real_device_chain_is_good_on_the_day_of_its_answers(vectors: Directory) -> None:
    leaf, *pool = load_bundle((vectors / "evidence/nvidia/hopper_550.90.07.chain.pem").read_bytes())
    links = links_of(signed_path(leaf, tuple(pool), trusted_roots({}).device))[1:]
    answers = _real(vectors, "gpu_certificate_l2", "gpu_certificate_l3", "gpu_certificate_l4")
    assert check_responses(answers, links, datetime(2025, 8, 21, 12, tzinfo=UTC))
    assert refusal(*answers, links=links, now=datetime(2025, 8, 23, tzinfo=UTC)) is Reason.EXPIRED


def test_the_chain_of_a_real_rim_is_good_on_the_day_of_its_answers(vectors: Directory) -> None:
    document = (vectors / "evidence/nvidia/rim/NV_GPU_DRIVER_GH100_550.90.07.xml").read_bytes()
    links = prove_rim(document, trusted_roots({}).rim).links
    answers = _real(vectors, "gpu_rim_l2", "gpu_driver_rim_l3", "gpu_driver_rim_l4")
    assert check_responses(answers, links, datetime(2025, 10, 24, 12, tzinfo=UTC))
