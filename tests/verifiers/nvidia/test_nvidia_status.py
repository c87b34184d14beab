"""Which statuses of certificates a report of NVIDIA needs, and what their references hold."""

from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from nvidia_lab import GPU, SWITCH, Documents, Lab, real, real_rims

from attest_pipeline import verifiers
from attest_pipeline.collateral.nvidia import _question
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import EndorsementKind, EndorsementRef, Endorsements, Evidence
from attest_pipeline.ports import AsksFurther
from attest_pipeline.simulator.device import Fault
from attest_pipeline.verifiers._nvidia.status import link_of, references
from attest_pipeline.verifiers._shared.ocsp import Link, prove_response

lab = cache(Lab)


def further(tee: str, evidence: Evidence, documents: Documents) -> tuple[EndorsementRef, ...]:
    verifier = lab(tee).verifier
    assert isinstance(verifier, AsksFurther)
    return verifier.further_endorsements(evidence, Endorsements(dict(documents)))


def healthy(tee: str) -> Evidence:
    return lab(tee).evidence(lab(tee).signed(lab(tee).body()))


def without_ocsp(tee: str) -> Documents:
    return {item: documents for item, documents in lab(tee).found().items() if item != "ocsp"}


@pytest.mark.parametrize("tee", [GPU, SWITCH])
def test_every_certificate_that_may_be_revoked_is_asked_about_once(tee: str) -> None:
    refs = further(tee, healthy(tee), without_ocsp(tee))
    assert len({ref.key for ref in refs}) == len(refs) == 5, "three of the device, two that all RIMs share"
    assert {(ref.item, ref.kind, ref.required) for ref in refs} == {
        ("ocsp", EndorsementKind.NVIDIA_CERTIFICATE_STATUS, False)
    }
    answers = lab(tee).found()["ocsp"]
    links = tuple(link_of(ref.key) for ref in refs)
    proven = {answer.link for one in answers if (answer := prove_response(one, links)) is not None}
    assert proven == set(links), "what the simulated NVIDIA answers is about them"


def test_without_rims_only_the_device_is_asked_about() -> None:
    assert len(further(GPU, healthy(GPU), {})) == 3


def test_what_the_operator_brought_along_is_not_asked_for_again() -> None:
    found = lab(GPU).found()
    assert further(GPU, healthy(GPU), found) == ()
    assert len(further(GPU, healthy(GPU), {**found, "ocsp": found["ocsp"][1:]})) == 1


def test_nobody_is_asked_about_certificates_of_a_stranger() -> None:
    evidence = lab(GPU).vendor.evidence(1, bytes(64), Fault.FOREIGN_CHAIN)
    with pytest.raises(BadEvidence) as caught:
        further(GPU, evidence, {})
    assert caught.value.reason is Reason.UNTRUSTED_ROOT


def test_a_real_question_names_what_the_real_responder_answered(vectors: Path) -> None:
    verifier = verifiers.load([GPU], {})[GPU]
    assert isinstance(verifier, AsksFurther)
    refs = verifier.further_endorsements(real(vectors, "hopper_550.90.07"), Endorsements(real_rims(vectors)))
    questions = [ocsp.load_der_ocsp_request(_question(link_of(ref.key))) for ref in refs]
    asked = {(one.issuer_name_hash, one.issuer_key_hash, one.serial_number) for one in questions}
    files = sorted((vectors / "evidence/nvidia/ocsp").glob("*.der"))
    answers = [ocsp.load_der_ocsp_response(file.read_bytes()) for file in files]
    answered = {(one.issuer_name_hash, one.issuer_key_hash, one.serial_number) for one in answers}
    assert len(asked & answered) == len(files) == 7
    assert {one.hash_algorithm.name for one in questions} == {"sha384"}


def test_a_key_is_its_link_and_back() -> None:
    for ref in further(GPU, healthy(GPU), {}):
        assert references((link_of(ref.key),), "ocsp") == (ref,)


def test_issuers_on_another_curve_are_not_asked_about() -> None:
    others = (ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048))
    spkis = [one.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for one in others]
    assert references(tuple(Link(1, spki, bytes(48)) for spki in spkis), "ocsp") == ()


@pytest.mark.parametrize(
    "key",
    [
        "", "41431d480fe5e87274", "a/b/c", f"{'0' * 96}/02{'f' * 96}/1", f"{'0' * 96}/04{'0' * 96}/1",
        f"{'0' * 95}/02{'0' * 96}/1", f"{'0' * 96}/02{'0' * 96}/", f"{'0' * 96}/02{'0' * 96}/{'1' * 41}",
        f"{'0' * 96}/02{'0' * 96}/../1", f"{'A' * 96}/02{'0' * 96}/1",
    ],
)  # fmt: skip
def test_what_is_no_key_names_no_certificate(key: str) -> None:
    with pytest.raises(ValueError, match=r"no key|[Ii]nvalid|point"):
        link_of(key)
