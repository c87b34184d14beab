"""NVIDIA RIMs: real and forged, well signed and hostile."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
from arm_tokens import reason_of
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from lxml import etree
from nvidia_lab import GPU, NOW, REAL_NOW, SWITCH, Documents, Lab, real, real_rims
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod
from signxml.signer import XMLSigner

from attest_pipeline import verifiers
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, Endorsements
from attest_pipeline.simulator.nvidia_rim import sign_rim
from attest_pipeline.simulator.pki import Pki
from attest_pipeline.verifiers._nvidia.rim import prove_rim
from attest_pipeline.verifiers._nvidia.roots import trusted_roots

lab = cache(Lab)
NS = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"


def refusal(documents: Documents) -> Reason:
    return reason_of(lambda: lab(GPU).verify(documents=documents))


def altered(change: Callable[[str], str]) -> Documents:
    """A RIM of the simulated NVIDIA, changed before it is signed."""
    tag = lab(GPU).tag()
    changed = change(tag)
    assert changed != tag
    return lab(GPU).rim(changed)


def replaced(old: str, new: str) -> Documents:
    return altered(lambda tag: tag.replace(old, new, 1))


def resigned(**changes: object) -> Documents:
    """The RIM signed by NVIDIA's signer in another way."""
    pki = lab(GPU).vendor.pki
    options = {
        "signature_algorithm": SignatureMethod.ECDSA_SHA384,
        "digest_algorithm": DigestAlgorithm.SHA384,
        "c14n_algorithm": CanonicalizationMethod.CANONICAL_XML_1_1,
        **changes,
    }
    signer = XMLSigner(**options)  # type: ignore[arg-type]
    tree = signer.sign(etree.fromstring(lab(GPU).tag()), key=pki.signer.key, cert=pki.rim_chain())
    return {"rim_driver": (etree.tostring(tree),)}


def test_a_rim_that_the_report_equals_is_named_among_the_checks() -> None:
    claims = lab(GPU).verify(documents=lab(GPU).rim(lab(GPU).tag()))
    assert claims.fields["rim_driver"] is True
    assert claims.fields["rim_vbios"] is False
    assert set(claims.endorsements) == {"rim_driver"}


# ── what it says ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_any_of_several_allowed_values_is_enough() -> None:
    golden = {index: (b"\1" * 48, *allowed, b"\2" * 48) for index, allowed in lab(GPU).golden().items()}
    assert lab(GPU).verify(documents=lab(GPU).rim(lab(GPU).tag(golden))).fields["rim_driver"] is True


@pytest.mark.parametrize("place", [0, 10, 20])
def test_one_other_measurement_is_a_mismatch_whichever_it_is(place: int) -> None:
    golden = lab(GPU).golden()
    index = list(golden)[place]
    documents = lab(GPU).rim(lab(GPU).tag(golden | {index: (b"\1" * 48, b"\2" * 48)}))
    assert refusal(documents) is Reason.MEASUREMENT_MISMATCH


def test_an_active_entry_beyond_the_report_is_a_mismatch() -> None:
    golden = {**lab(SWITCH).golden()}
    body = lab(SWITCH).body(measurements=lab(SWITCH).measurements[:30])
    documents = lab(SWITCH).rim(lab(SWITCH).tag(golden))
    assert reason_of(lambda: lab(SWITCH).verify(lab(SWITCH).signed(body), documents)) is Reason.MEASUREMENT_MISMATCH


@pytest.mark.parametrize("version", ["580.95.5", "580.95", "580.95.050", "", "96.00.74.00.01"])
def test_a_rim_of_another_version_is_refused_even_if_its_measurements_are_equal(version: str) -> None:
    documents = replaced('colloquialVersion="580.95.05"', f'colloquialVersion="{version}"')
    assert refusal(documents) is Reason.IDENTITY_MISMATCH


def test_a_rim_in_the_place_of_another_is_refused() -> None:
    (document,) = lab(GPU).found()["rim_vbios"]
    assert refusal({"rim_driver": (document,)}) is Reason.IDENTITY_MISMATCH


def test_a_rim_without_an_active_entry_would_equal_everything_and_is_refused() -> None:
    assert refusal(altered(lambda tag: tag.replace('"True"', '"False"'))) is Reason.BAD_ENDORSEMENT


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f'xmlns="{NS}"', 'xmlns="urn:other"'),
        ("SoftwareIdentity", "SoftwareMeta"),
        (' colloquialVersion="580.95.05"', ""),
        ("<Meta ", "<Mata "),
        ("<Payload>", "<Payload/><Payload>"),
        ('index="21"', 'index="22"'),
        ('index="21"', 'index="abc"'),
        ('index="21"', 'index="-1"'),
        ('index="21"', 'index="255"'),
        ('index="21" ', ""),
        ('active="True"', 'active="true"'),
        ('active="True" ', ""),
        ('alternatives="1"', 'alternatives="0"'),
        ('alternatives="1"', 'alternatives="65"'),
        ('active="True" alternatives="1"', 'active="True" alternatives="2"'),
        ('active="True" alternatives="1" ns2:', 'active="True" alternatives="1" '),
        ('type="Measurement"', 'type="Other"'),
        ('size="48"', 'size="32"'),
        (' size="48"', ""),
    ],
)  # fmt: skip
def test_a_rim_of_another_form_is_refused_though_it_is_signed(old: str, new: str) -> None:
    if old == "SoftwareIdentity":
        assert refusal(altered(lambda tag: tag.replace(old, new))) is Reason.BAD_ENDORSEMENT
    else:
        assert refusal(replaced(old, new)) is Reason.BAD_ENDORSEMENT


def test_a_hash_of_another_size_is_refused() -> None:
    value = lab(GPU).vendor.measurement(21).hex()
    assert refusal(replaced(value, value[:-2])) is Reason.BAD_ENDORSEMENT
    assert refusal(replaced(value, "zz" + value[2:])) is Reason.BAD_ENDORSEMENT


# ── who signed it ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_root_of_devices_vouches_for_no_rim() -> None:
    pki = lab(GPU).vendor.pki
    anchors = {"nvidia": (pki.root.spki,), "nvidia-rim": (pki.root.spki,)}
    evidence = lab(GPU).evidence(lab(GPU).signed(lab(GPU).body()))
    verifier = verifiers.load([GPU], anchors)[GPU]
    endorsements = Endorsements(dict(lab(GPU).rim(lab(GPU).tag())))
    refused = reason_of(lambda: verifier.verify(evidence, endorsements, challenge=None, now=NOW))
    assert refused is Reason.UNTRUSTED_ROOT


def test_a_signer_of_ones_own_is_not_trusted() -> None:
    pki = Pki(NOW, ec.SECP384R1(), hashes.SHA384())
    root = pki.issue("NVIDIA CoRIM signing Root CA", None, authority=True)
    signer = pki.issue("signer", root)
    document = sign_rim(lab(GPU).tag(), signer.key, [signer.certificate, root.certificate])
    assert refusal({"rim_driver": (document,)}) is Reason.UNTRUSTED_ROOT


def test_certificates_of_nvidia_around_the_signature_of_another_prove_nothing() -> None:
    stranger = Pki(NOW, ec.SECP384R1(), hashes.SHA384()).issue("signer", None)
    document = sign_rim(lab(GPU).tag(), stranger.key, lab(GPU).vendor.pki.rim_chain())
    assert refusal({"rim_driver": (document,)}) is Reason.BAD_ENDORSEMENT


@pytest.mark.parametrize(("days", "reason"), [(40, Reason.NOT_YET_VALID), (-40, Reason.EXPIRED)])
def test_a_rim_is_judged_at_the_given_time_even_if_its_proof_is_remembered(days: int, reason: Reason) -> None:
    pki = Pki(NOW + timedelta(days=days), ec.SECP384R1(), hashes.SHA384())
    root = pki.issue("root", None, authority=True)
    signer = pki.issue("signer", root)
    document = sign_rim(lab(GPU).tag(), signer.key, [signer.certificate])
    anchors = {"nvidia": (lab(GPU).vendor.pki.root.spki,), "nvidia-rim": (root.spki,)}
    verifier = verifiers.load([GPU], anchors)[GPU]
    evidence = lab(GPU).evidence(lab(GPU).signed(lab(GPU).body()))
    endorsements = Endorsements({"rim_driver": (document,)})
    prove_rim(document, trusted_roots(anchors).rim)
    assert reason_of(lambda: verifier.verify(evidence, endorsements, challenge=None, now=NOW)) is reason


def test_who_signed_a_rim_must_not_be_revoked_either() -> None:
    found, pki = lab(GPU).found(), lab(GPU).vendor.pki
    *authorities, _, chip = found["ocsp"]
    unanswered = {"ocsp": (*authorities, chip)}
    assert "chain_not_revoked" in lab(GPU).verify(documents=unanswered).checks
    assert "chain_not_revoked" not in lab(GPU).verify(documents=found | unanswered).checks
    assert "chain_not_revoked" in lab(GPU).verify(documents=found).checks
    revoked = pki._pki.ocsp(pki.signer, pki._reference, pki._responders[pki._reference], revoked=True)
    answers = {"ocsp": (*authorities, revoked, chip)}
    assert reason_of(lambda: lab(GPU).verify(documents=found | answers)) is Reason.REVOKED
    assert reason_of(lambda: lab(GPU).verify(documents=found | {"ocsp": (*found["ocsp"], revoked)})) is Reason.REVOKED


@pytest.mark.parametrize(
    "changes",
    [
        {"signature_algorithm": SignatureMethod.ECDSA_SHA256},
        {"signature_algorithm": SignatureMethod.ECDSA_SHA512},
        {"digest_algorithm": DigestAlgorithm.SHA256},
        {"digest_algorithm": DigestAlgorithm.SHA512},
    ],
)
def test_ecdsa_with_sha_384_alone_signs_a_rim(changes: Mapping[str, object]) -> None:
    assert refusal(resigned(**changes)) is Reason.BAD_ENDORSEMENT


def test_an_unsigned_rim_is_refused() -> None:
    assert refusal({"rim_driver": (lab(GPU).tag().encode(),)}) is Reason.BAD_ENDORSEMENT


def test_two_documents_for_one_item_are_refused_and_not_chosen_from() -> None:
    (document,) = lab(GPU).rim(lab(GPU).tag())["rim_driver"]
    assert refusal({"rim_driver": (document, document)}) is Reason.BAD_ENDORSEMENT


# ── hostile documents ─────────────────────────────────────────────────────────────────────────────────────────────────
def _signed() -> bytes:
    (document,) = lab(GPU).rim(lab(GPU).tag())["rim_driver"]
    return document


def _wrapped(document: bytes) -> bytes:
    """A signed RIM inside another that allows everything: signature wrapping."""
    inner = document.replace(b'colloquialVersion="580.95.05"', b'colloquialVersion="1"', 1)
    return inner.replace(b"</SoftwareIdentity>", document + b"</SoftwareIdentity>", 1)


def _twice(document: bytes) -> bytes:
    start, end = document.index(b"<ds:Signature "), document.index(b"</ds:Signature>") + len(b"</ds:Signature>")
    return document[:end] + document[start:end] + document[end:]


def _without_certificates(document: bytes) -> bytes:
    start, end = document.index(b"<ds:X509Certificate>"), document.rindex(b"</ds:X509Certificate>")
    return document[:start] + document[end + len(b"</ds:X509Certificate>") :]


@pytest.mark.parametrize(
    "hostile",
    [
        lambda _: b"",
        lambda _: b"<",
        lambda _: b"<a/>",
        lambda _: b"\xff\xfe<",
        lambda _: b"<a>" * 5000,
        lambda document: b'<!DOCTYPE a [<!ENTITY x "y">]>' + document,
        lambda document: b'<!DOCTYPE a SYSTEM "file:///etc/passwd">' + document,
        lambda document: b'<!DOCTYPE a [<!ENTITY e "580.95.05">]>' + document.replace(b"580.95.05", b"&e;"),
        lambda document: document.replace(b"\n", b"<!-- -->\n", 1).replace(b'48"/>', b'32"/>', 1),
        _wrapped,
        _twice,
        _without_certificates,
        lambda document: document.replace(b"<ds:X509Certificate>", b"<ds:X509Certificate>!!!!", 1),
        lambda document: document.replace(b"<ds:SignatureValue>", b"<ds:SignatureValue/><ds:X>", 1),
        lambda document: document.replace(b'URI=""', b'URI="http://127.0.0.1/"', 1),
        lambda document: document.replace(b'URI=""', b'URI="#x"', 1),
        lambda document: document.replace(b"xml-c14n11", b"unknown", 1),
        lambda document: document.replace(b'sha384"/><ds:DigestValue>', b'unknown"/><ds:DigestValue>', 1),
    ],
)
def test_hostile_xml_is_refused(hostile: Callable[[bytes], bytes]) -> None:
    assert refusal({"rim_driver": (hostile(_signed()),)}) in {Reason.BAD_ENDORSEMENT, Reason.MALFORMED}


def test_a_rim_beyond_the_limit_is_too_large() -> None:
    assert refusal({"rim_driver": (bytes(256 * 1024 + 1),)}) is Reason.TOO_LARGE


def test_comments_are_no_part_of_what_is_signed_and_change_nothing() -> None:
    commented = _signed().replace(b"<Payload>", b"<!-- a comment --><Payload>", 1)
    assert lab(GPU).verify(documents={"rim_driver": (commented,)}).fields["rim_driver"] is True


# ── real ones ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _verify_real(vectors: Path, documents: Documents) -> Claims:
    verifier = verifiers.load([GPU], {})[GPU]
    evidence = real(vectors, "hopper_550.90.07")
    return verifier.verify(evidence, Endorsements(dict(documents)), challenge=None, now=REAL_NOW)


def test_no_flipped_byte_of_a_real_rim_says_anything_else(vectors: Path) -> None:
    rims = real_rims(vectors)
    genuine = _verify_real(vectors, rims)
    (document,) = rims["rim_driver"]
    for offset in range(0, len(document), 97):
        mutant = document[:offset] + bytes([document[offset] ^ (1 << offset % 8)]) + document[offset + 1 :]
        try:
            found = _verify_real(vectors, rims | {"rim_driver": (mutant,)})
        except BadEvidence:
            continue
        assert found.fields == genuine.fields  # around the certificates, which are proven by their chain


def test_no_real_negative_is_a_rim_of_this_device(vectors: Path) -> None:
    documents = sorted((vectors / "evidence/negative/nvidia/rim").iterdir())
    assert len(documents) > 10
    for path in documents:
        with pytest.raises(BadEvidence):
            _verify_real(vectors, {"rim_driver": (path.read_bytes(),)})
