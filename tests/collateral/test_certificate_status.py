"""What is asked of NVIDIA's OCSP responder, and what is believed of its answers."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import ocsp_lab
import pytest
from cryptography.x509 import ocsp
from cryptography.x509.ocsp import OCSPResponseStatus
from nvidia_lab import GPU, real
from ocsp_lab import DAY, REVOKED, UNKNOWN

from attest_pipeline import verifiers
from attest_pipeline.collateral.book import Book
from attest_pipeline.collateral.nvidia import OCSP_SITE
from attest_pipeline.collateral.recipes import BadCollateral, Documents, NotThere, Response
from attest_pipeline.collateral.records import Record, due_at, stale_at
from attest_pipeline.errors import Unavailable
from attest_pipeline.model import Endorsements
from attest_pipeline.ports import AsksFurther
from attest_pipeline.simulator.nvidia import NvidiaVendor

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
VENDOR = NvidiaVendor(GPU, NOW)
CHIP = VENDOR._chip(1, None)
OTHER = VENDOR._chip(2, None)
NAME = ocsp_lab.name_of(VENDOR, CHIP)
RECIPE, KEY = Book().of(NAME)


def answered(body: bytes) -> Documents:
    return RECIPE.documents(KEY, [Response({}, body)])


def record(document: bytes, name: str = NAME, at: datetime = NOW) -> Record:
    return Book().record(name, (document,), {}, source="test", now=int(at.timestamp()))


def test_a_question_is_posted_to_the_one_responder_and_names_the_certificate() -> None:
    (request,) = RECIPE.requests(KEY)
    assert (request.site, request.path, request.media_type) == (OCSP_SITE, "", "application/ocsp-request")
    asked = ocsp.load_der_ocsp_request(request.body)
    assert asked.serial_number == CHIP.chip.certificate.serial_number
    assert not list(asked.extensions), "no nonce: the answer is for everybody"
    assert RECIPE.requests(KEY) == (request,), "equal questions are one flight"
    assert RECIPE.needs(KEY) == ()


@pytest.mark.parametrize("key", ["", "41431d480fe5e87274", "a/b/c", "https://ocsp.example/"])
def test_what_is_no_key_is_asked_of_nobody(key: str) -> None:
    with pytest.raises(BadCollateral):
        RECIPE.requests(key)


def test_an_answer_is_kept_as_sent_and_holds_for_its_window() -> None:
    body = ocsp_lab.about(VENDOR, CHIP, NOW - HOUR)
    assert answered(body) == {NAME: (body,)}
    kept = record(body)
    start = int((NOW - HOUR).timestamp())
    assert (kept.valid_from, kept.valid_until, kept.sequence) == (start, start + 86_400, (start,))
    assert 5 * 3600 < due_at(kept, RECIPE.lifetime) - kept.fetched_at <= 6 * 3600
    assert stale_at(kept, RECIPE.lifetime) - kept.fetched_at == 12 * 3600


def test_that_a_certificate_is_revoked_is_an_answer_like_any_other() -> None:
    body = ocsp_lab.about(VENDOR, CHIP, NOW - HOUR, status=REVOKED)
    assert answered(body) == {NAME: (body,)}
    assert record(body).documents == (body,)


@pytest.mark.parametrize(
    "body",
    [ocsp_lab.silent(OCSPResponseStatus.UNAUTHORIZED), ocsp_lab.about(VENDOR, CHIP, NOW - HOUR, status=UNKNOWN)],
    ids=["unauthorized", "unknown"],
)
def test_a_responder_that_does_not_know_the_certificate_has_no_answer(body: bytes) -> None:
    with pytest.raises(NotThere):
        answered(body)


@pytest.mark.parametrize("status", [OCSPResponseStatus.TRY_LATER, OCSPResponseStatus.INTERNAL_ERROR])
def test_a_responder_in_trouble_is_asked_again(status: OCSPResponseStatus) -> None:
    with pytest.raises(Unavailable, match=status.name):
        answered(ocsp_lab.silent(status))


@pytest.mark.parametrize(
    "body",
    [
        ocsp_lab.silent(OCSPResponseStatus.MALFORMED_REQUEST),
        ocsp_lab.silent(OCSPResponseStatus.SIG_REQUIRED),
        b"",
        b"<html>",
        ocsp_lab.about(VENDOR, CHIP, NOW)[:-200],
    ],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(BadCollateral):
        answered(body)


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(ocsp_lab.about(VENDOR, OTHER, NOW - HOUR), id="about another chip"),
        pytest.param(ocsp_lab.about(NvidiaVendor(GPU, NOW), CHIP, NOW - HOUR), id="of another issuer"),
        pytest.param(
            ocsp_lab.about(VENDOR, CHIP, NOW - HOUR, responder=NvidiaVendor(GPU, NOW).pki.signer), id="of a forger"
        ),
        pytest.param(
            ocsp_lab.about(VENDOR, CHIP, NOW - HOUR, responder=VENDOR.pki._responders[VENDOR.pki.root]),
            id="of another issuer's responder",
        ),
        pytest.param(
            ocsp_lab.about(VENDOR, CHIP, NOW - HOUR, responder=OTHER.chip), id="of a certificate of the issuer"
        ),
        pytest.param(ocsp_lab.about(VENDOR, CHIP, NOW - 2 * DAY), id="of yesterday"),
        pytest.param(ocsp_lab.about(VENDOR, CHIP, NOW + HOUR), id="of tomorrow"),
        pytest.param(b"no answer", id="garbage"),
    ],
)
def test_an_answer_that_cannot_be_proven_is_not_kept(lie: bytes) -> None:
    with pytest.raises(BadCollateral):
        record(lie)


def test_no_flipped_byte_of_an_answer_is_kept() -> None:
    genuine = ocsp_lab.about(VENDOR, CHIP, NOW - HOUR)
    document = ocsp.load_der_ocsp_response(genuine)
    for at in range(genuine.index(document.tbs_response_bytes), len(genuine), 7):
        flipped = genuine[:at] + bytes([genuine[at] ^ 1]) + genuine[at + 1 :]
        try:
            record(flipped)
        except BadCollateral:
            continue
        again = ocsp.load_der_ocsp_response(flipped)
        assert again.tbs_response_bytes == document.tbs_response_bytes, "what is not signed says nothing"


def test_a_real_answer_is_believed_on_its_day_alone(vectors: Path) -> None:
    document = (vectors / "evidence/nvidia/ocsp/test_gpu_certificate_l4_ocsp_response.der").read_bytes()
    verifier = verifiers.load([GPU], {})[GPU]
    assert isinstance(verifier, AsksFurther)
    refs = verifier.further_endorsements(real(vectors, "hopper_550.90.07"), Endorsements({}))
    names = [f"{ref.kind}/{ref.key}" for ref in refs]
    its_day = datetime(2025, 8, 21, 12, tzinfo=UTC)
    assert record(document, names[0], its_day).documents == (document,)
    for name, at in ((names[1], its_day), (names[0], its_day + DAY), (names[0], its_day - DAY)):
        with pytest.raises(BadCollateral):
            record(document, name, at)
