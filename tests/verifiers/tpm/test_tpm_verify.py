"""The TPM verifier: whose key an AK is, and what logs may say."""

import hashlib
import json
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tpm_lab import CHALLENGE, attest, flipped, pcr_json, public_pem, sign, spki, values

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, EndorsementKind, Endorsements, Evidence
from attest_pipeline.simulator import tpm_quote
from attest_pipeline.simulator.pki import Identity, Pki
from attest_pipeline.simulator.tpm import _AIK_CERTIFICATE, _SIGNS, TpmVendor
from attest_pipeline.verifiers._shared.x509 import MAX_PATH, load_certificate, public_key
from attest_pipeline.verifiers._tpm.roots import PINNED
from attest_pipeline.verifiers.tpm import TpmVerifier

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
VENDOR = TpmVendor(NOW)
PKI = VENDOR._authority.pki
ROOT, ISSUER = VENDOR._authority.root, VENDOR._authority.intermediate
ENROLLED = ec.generate_private_key(ec.SECP256R1())
PCRS = values()
Documents = dict[str, bytes | tuple[bytes, ...]]


def der(identity: Identity) -> bytes:
    return identity.encoded(Encoding.DER)


def evidence_of(key: ec.EllipticCurvePrivateKey = ENROLLED, **extra: bytes) -> Evidence:
    message = attest(PCRS)
    items = {"attest": message, "signature": sign(key, message), "pcrs": pcr_json(PCRS), **extra}
    return Evidence("tpm", items)


def verify(evidence: Evidence, documents: Documents, *, now: datetime = NOW) -> Claims:
    given = {name: value if isinstance(value, tuple) else (value,) for name, value in documents.items()}
    verifier = TpmVerifier({"tpm": (ROOT.spki,)})
    return verifier.verify(evidence, Endorsements(given), challenge=CHALLENGE, now=now)


def refusal(evidence: Evidence, documents: Documents, *, now: datetime = NOW) -> Reason:
    with pytest.raises(BadEvidence) as refused:
        verify(evidence, documents, now=now)
    return refused.value.reason


def certified(ak: Identity) -> Documents:
    return {"ak_cert": der(ak), "ca": (der(ISSUER), der(ROOT))}


# ── the AK ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_enrolled_key_endorses_itself() -> None:
    claims = verify(evidence_of(), {"ak": public_pem(ENROLLED)})
    assert claims.hardware_id == claims.signer
    assert (claims.fields["ak_source"], claims.fields["revocation_checked"]) == ("enrolled", False)
    assert (claims.debug, claims.tcb_status, claims.challenge_verified) == (None, None, True)
    assert {"ak_enrolled", "quote_signature", "pcr_digest", "challenge"} <= set(claims.checks)
    assert set(claims.endorsements) == {"ak"}
    assert verify(evidence_of(), {"ak": spki(ENROLLED)}).signer == claims.signer


def test_a_certified_key_leads_to_a_pinned_root() -> None:
    ak = VENDOR._authority.ak("certified")
    claims = verify(evidence_of(ak.key), certified(ak))
    assert claims.fields["ak_source"] == "certificate"
    assert {"ak_chain_to_pinned_root", "ak_certificate_purpose", "ak_chain_current"} <= set(claims.checks)
    assert "ak_not_revoked" not in claims.checks
    assert set(claims.endorsements) == {"ca/0", "ca/1", "ak_cert"}


def test_a_certificate_may_come_with_the_evidence_because_it_must_lead_to_a_root_anyway() -> None:
    ak = VENDOR._authority.ak("brought")
    evidence = evidence_of(ak.key, ak_cert=der(ak))
    assert verify(evidence, {"ca": (der(ISSUER),)}).fields["ak_source"] == "certificate"
    assert refusal(evidence, {}) is Reason.BAD_CHAIN


def test_the_hosts_certificate_wins_over_the_one_in_the_evidence() -> None:
    ak, other = VENDOR._authority.ak("one"), VENDOR._authority.ak("other")
    assert refusal(evidence_of(ak.key, ak_cert=der(ak)), certified(other)) is Reason.BAD_SIGNATURE


def test_a_key_that_only_the_evidence_names_is_unendorsed() -> None:
    evidence = evidence_of(ak_public=public_pem(ENROLLED))
    assert refusal(evidence, {}) is refusal(evidence, {"ca": der(ISSUER)}) is Reason.MISSING_ENDORSEMENT


def test_the_key_that_the_evidence_names_must_be_the_endorsed_one() -> None:
    assert verify(evidence_of(ak_public=public_pem(ENROLLED)), {"ak": public_pem(ENROLLED)}).challenge_verified
    other = public_pem(ec.generate_private_key(ec.SECP256R1()))
    assert refusal(evidence_of(ak_public=other), {"ak": public_pem(ENROLLED)}) is Reason.IDENTITY_MISMATCH
    assert refusal(evidence_of(ak_public=b"none"), {"ak": public_pem(ENROLLED)}) is Reason.MALFORMED


def test_another_enrolled_key_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    assert refusal(evidence_of(), {"ak": public_pem(other)}) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"-----BEGIN PUBLIC KEY-----",
        bytes(9000),
        ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ],
)
def test_an_enrolled_key_that_is_none_is_a_bad_endorsement(document: bytes) -> None:
    assert refusal(evidence_of(), {"ak": document}) is Reason.BAD_ENDORSEMENT


def test_one_document_of_a_name_is_not_chosen_from_two() -> None:
    pem = public_pem(ENROLLED)
    assert refusal(evidence_of(), {"ak": (pem, pem)}) is Reason.BAD_ENDORSEMENT
    ak = VENDOR._authority.ak("twice")
    assert refusal(evidence_of(ak.key), {"ak_cert": (der(ak), der(ak)), "ca": der(ISSUER)}) is Reason.BAD_ENDORSEMENT


def test_more_authorities_than_a_path_may_have_are_too_large() -> None:
    ak = VENDOR._authority.ak("many")
    many = (der(ISSUER),) * (MAX_PATH + 1)
    assert refusal(evidence_of(ak.key), {"ak_cert": der(ak), "ca": many}) is Reason.TOO_LARGE


def test_a_root_that_is_not_pinned_is_refused_though_it_is_handed_over() -> None:
    foreign = TpmVendor(NOW)._authority
    ak = foreign.ak("foreign")
    chain: Documents = {"ak_cert": der(ak), "ca": (der(foreign.intermediate), der(foreign.root))}
    assert refusal(evidence_of(ak.key), chain) is Reason.UNTRUSTED_ROOT
    assert refusal(evidence_of(ak.key), certified(ak)) is Reason.BAD_SIGNATURE


def test_an_anchor_of_another_vendor_is_no_root_of_a_tpm() -> None:
    ak = VENDOR._authority.ak("anchored")
    documents = Endorsements({"ak_cert": (der(ak),), "ca": (der(ISSUER), der(ROOT))})
    with pytest.raises(BadEvidence) as refused:
        TpmVerifier({"amd": (ROOT.spki,)}).verify(evidence_of(ak.key), documents, challenge=None, now=NOW)
    assert refused.value.reason is Reason.UNTRUSTED_ROOT


@pytest.mark.parametrize("days", [-2, 31])
def test_the_chain_is_judged_at_the_given_time(days: int) -> None:
    ak = VENDOR._authority.ak("window")
    expected = Reason.NOT_YET_VALID if days < 0 else Reason.EXPIRED
    assert verify(evidence_of(ak.key), certified(ak)).challenge_verified
    assert refusal(evidence_of(ak.key), certified(ak), now=NOW + timedelta(days=days)) is expected


_ENCIPHERS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=True,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


@pytest.mark.parametrize(
    "extensions",
    [
        (_AIK_CERTIFICATE,),
        (_SIGNS,),
        (_SIGNS, x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.1")])),
        (_ENCIPHERS, x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.23.133.8.1")])),
    ],
    ids=["without key usage", "without purpose", "a web server's", "of an endorsement key"],
)
def test_a_certificate_for_anything_but_an_ak_is_a_bad_endorsement(
    extensions: tuple[x509.ExtensionType, ...],
) -> None:
    other = PKI.issue("other purpose", ISSUER, extensions=extensions)
    assert refusal(evidence_of(other.key), certified(other)) is Reason.BAD_ENDORSEMENT


def test_an_authority_is_no_ak() -> None:
    authority = PKI.issue("authority", ISSUER, authority=True, extensions=(_SIGNS, _AIK_CERTIFICATE))
    assert refusal(evidence_of(authority.key), certified(authority)) is Reason.BAD_ENDORSEMENT


def test_google_may_call_an_ak_certificate_one_of_an_ek() -> None:
    purpose = x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.23.133.8.1")])
    ak = PKI.issue("as Google", ISSUER, extensions=(_SIGNS, purpose))
    assert verify(evidence_of(ak.key), certified(ak)).challenge_verified


def test_a_revoked_ak_is_refused_and_another_is_not() -> None:
    revoked, kept = VENDOR._authority.ak("revoked"), VENDOR._authority.ak("kept")
    crl = PKI.crl(ISSUER, [revoked])
    assert refusal(evidence_of(revoked.key), certified(revoked) | {"crl": crl}) is Reason.REVOKED
    claims = verify(evidence_of(kept.key), certified(kept) | {"crl": crl})
    assert claims.fields["revocation_checked"] is True
    assert "ak_not_revoked" in claims.checks
    assert "crl" in claims.endorsements


def test_a_crl_must_be_the_issuers_current_one() -> None:
    ak = VENDOR._authority.ak("listed")
    assert refusal(evidence_of(ak.key), certified(ak) | {"crl": PKI.crl(ROOT, [])}) is Reason.BAD_ENDORSEMENT
    older = Pki(NOW - timedelta(days=40), ec.SECP256R1(), hashes.SHA256()).crl(ISSUER, [])
    assert refusal(evidence_of(ak.key), certified(ak) | {"crl": older}) is Reason.EXPIRED
    crl = PKI.crl(ISSUER, [])
    assert refusal(evidence_of(ak.key), certified(ak) | {"crl": (crl, crl)}) is Reason.BAD_ENDORSEMENT


def test_the_crl_of_an_ak_right_below_the_root_is_the_roots() -> None:
    ak = PKI.issue("right below", ROOT, extensions=(_SIGNS, _AIK_CERTIFICATE))
    documents: Documents = {"ak_cert": der(ak), "crl": PKI.crl(ROOT, [ak])}
    assert refusal(evidence_of(ak.key), documents) is Reason.REVOKED
    assert verify(evidence_of(ak.key), documents | {"crl": PKI.crl(ROOT, [])}).fields["revocation_checked"]


def test_a_key_that_is_no_ecdsa_or_rsa_key_is_malformed() -> None:
    assert refusal(evidence_of(), {"ak_cert": b"none"}) is Reason.MALFORMED


@pytest.mark.parametrize(("number", "file"), [(0, "google_tpm_ek_root_1.cer"), (1, "google_gcp_ek_ak_ca_root.crt")])
def test_the_pinned_keys_are_those_of_the_published_certificates(vectors: Path, number: int, file: str) -> None:
    certificate = load_certificate((vectors / "evidence/roots/tpm" / file).read_bytes())
    assert public_key(certificate).spki == PINNED[number]


# ── what is asked for ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_ak_goes_by_its_key_or_by_the_name_in_the_quote() -> None:
    verifier = TpmVerifier({})
    by_key = verifier.endorsements_for(evidence_of(ak_public=public_pem(ENROLLED)))
    by_name = verifier.endorsements_for(evidence_of())
    signer = verify(evidence_of(), {"ak": public_pem(ENROLLED)}).signer
    assert [(ref.item, ref.kind, ref.required) for ref in by_key] == [
        ("ak", EndorsementKind.TPM_AK, False),
        ("ak_cert", EndorsementKind.TPM_AK_CERT, False),
        ("ca", EndorsementKind.TPM_CA, False),
        ("crl", EndorsementKind.TPM_CA, False),
    ]
    assert [ref.key for ref in by_key] == [signer, signer, "authorities", "crl"]
    assert by_name[0].key == "000b" + "00" * 32


@pytest.mark.parametrize("items", [{}, {"attest": b"x"}, {"ak_public": b"x"}, {"ak_public": bytes(9000)}])
def test_asking_reads_unproven_bytes_and_raises_nothing_else(items: dict[str, bytes]) -> None:
    with pytest.raises(BadEvidence):
        TpmVerifier({}).endorsements_for(Evidence("tpm", items))


# ── logs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def simulated(**changes: bytes) -> Evidence:
    items = VENDOR.evidence(3, CHALLENGE).items
    return Evidence("tpm", {**items, **changes})


def prove(evidence: Evidence) -> Claims:
    published = VENDOR.endorsements()
    return verify(evidence, {"ca": published["tpm-ca/authorities"], "crl": published["tpm-ca/crl"]})


def test_the_pcrs_that_a_log_explains_are_named() -> None:
    claims = prove(simulated())
    assert (claims.fields["event_log_pcrs"], claims.fields["ima_log"]) == ("0,2,4,7,8,9", True)
    assert {"event_log_pcr0", "event_log_pcr9", "ima_log"} <= set(claims.checks)
    assert claims.measurements["pcr10"] == claims.fields["pcr10"]
    assert len(claims.measurements) == 24


def test_a_log_that_says_something_else_is_refused() -> None:
    items = VENDOR.evidence(3, CHALLENGE).items
    digest = hashlib.sha256(b"simulated firmware").digest()
    place = items["event_log"].index(digest)
    altered = (
        ("event_log", flipped(items["event_log"], place)),
        ("event_log", tpm_quote.event_log([*tpm_quote.BOOT, (24, b"a register that no TPM has")])),
        ("ima_log", items["ima_log"].replace(b"/usr/bin/simulated", b"/usr/bin/dissembled")),
    )
    for item, log in altered:
        with pytest.raises(BadEvidence) as refused:
            prove(simulated(**{item: log}))
        assert refused.value.reason is Reason.LOG_MISMATCH


def test_the_events_of_proven_registers_are_listed_and_summed_up() -> None:
    claims = prove(simulated())
    tcg2, ima = claims.logs
    assert [(log.name, log.registers) for log in claims.logs] == [("tcg2", (0, 2, 4, 7, 8, 9)), ("ima", (10,))]
    assert [event.text for event in ima.events] == ["/usr/lib/systemd/systemd", "/usr/bin/simulated"]
    assert {"simulated firmware", "simulated boot loader"} <= {
        one.text for one in tcg2.events if one.text_authenticated
    }
    assert (claims.fields["tcg2_events"], claims.fields["ima_events"]) == (6, 2)
    assert claims.fields["ima_digest"] == hashlib.sha256(simulated().items["ima_log"]).hexdigest()
    assert prove(simulated()).fields["tcg2_registers"] == "0,2,4,7,8,9"


def enrolled(pcrs: dict[int, bytes], log: bytes, bank: str = "sha256") -> Evidence:
    message = attest(pcrs, bank=bank)
    items = {"attest": message, "signature": sign(ENROLLED, message), "pcrs": pcr_json(pcrs), "ima_log": log}
    return Evidence("tpm", items)


def aggregated(algorithm: str, digest: bytes, bank: str = "sha256") -> tuple[bytes, bytes]:
    """An IMA log that holds a boot aggregate alone, in binary, and PCR 10 of a bank after it."""
    fields = (algorithm.encode() + b":\0" + digest, b"boot_aggregate\0")
    data = b"".join(struct.pack("<I", len(field)) + field for field in fields)
    noted = hashlib.sha1(data, usedforsecurity=False).digest()
    log = struct.pack("<I20sI6sI", 10, noted, 6, b"ima-ng", len(data)) + data
    size = hashlib.new(bank).digest_size
    return log, hashlib.new(bank, bytes(size) + hashlib.new(bank, data).digest()).digest()


def with_aggregate(bank: str, algorithm: str, aggregated_pcrs: int, quoted_pcrs: int) -> Evidence:
    """A quote of so many PCRs and PCR 10, with an IMA log that begins with an aggregate of so many PCRs."""
    pcrs = values(bank, tuple(range(10)))
    aggregate = hashlib.new(algorithm, b"".join(pcrs[number] for number in range(aggregated_pcrs))).digest()
    log, pcr10 = aggregated(algorithm, aggregate, bank)
    return enrolled({**{number: pcrs[number] for number in range(quoted_pcrs)}, 10: pcr10}, log, bank)


@pytest.mark.parametrize(
    ("bank", "aggregated_pcrs", "quoted_pcrs"),
    [("sha256", 10, 10), ("sha256", 8, 10), ("sha256", 8, 8), ("sha384", 10, 10), ("sha1", 8, 8)],
)
def test_the_boot_aggregate_is_that_of_the_quoted_pcrs(bank: str, aggregated_pcrs: int, quoted_pcrs: int) -> None:
    claims = verify(with_aggregate(bank, bank, aggregated_pcrs, quoted_pcrs), {"ak": public_pem(ENROLLED)})
    assert (claims.fields["ima_boot_aggregate"], claims.fields["ima_events"]) == (True, 0)
    assert "ima_boot_aggregate" in claims.checks


@pytest.mark.parametrize(
    ("algorithm", "aggregated_pcrs", "quoted_pcrs"), [("sha256", 10, 8), ("sha256", 10, 4), ("sha1", 8, 10)]
)
def test_a_boot_aggregate_of_pcrs_that_are_not_quoted_is_said_to_be_unchecked(
    algorithm: str, aggregated_pcrs: int, quoted_pcrs: int
) -> None:
    claims = verify(with_aggregate("sha256", algorithm, aggregated_pcrs, quoted_pcrs), {"ak": public_pem(ENROLLED)})
    assert (claims.fields["ima_log"], claims.fields["ima_boot_aggregate"]) == (True, False)
    assert [event.text for log in claims.logs for event in log.events] == ["boot_aggregate"]
    assert "ima_boot_aggregate" not in claims.checks


@pytest.mark.parametrize(
    ("bank", "aggregated_pcrs", "quoted_pcrs"), [("sha256", 7, 10), ("sha1", 10, 10), ("sha1", 7, 8)]
)
def test_a_boot_aggregate_of_another_boot_is_a_mismatch(bank: str, aggregated_pcrs: int, quoted_pcrs: int) -> None:
    evidence = with_aggregate(bank, bank, aggregated_pcrs, quoted_pcrs)
    assert refusal(evidence, {"ak": public_pem(ENROLLED)}) is Reason.LOG_MISMATCH


def test_an_ima_log_without_boot_aggregate_says_so() -> None:
    digest = hashlib.sha256(b"file").digest()
    log, _ = aggregated("sha256", digest)
    log = log.replace(b"boot_aggregate", b"/usr/bin/files")
    data = log[38:]
    log = log[:4] + hashlib.sha1(data, usedforsecurity=False).digest() + log[24:]
    pcr10 = hashlib.sha256(bytes(32) + hashlib.sha256(data).digest()).digest()
    claims = verify(enrolled({10: pcr10}, log), {"ak": public_pem(ENROLLED)})
    assert (claims.fields["ima_boot_aggregate"], claims.fields["ima_events"]) == (False, 1)


def test_a_log_that_was_cut_is_refused() -> None:
    lines = VENDOR.evidence(3, CHALLENGE).items["ima_log"].splitlines(keepends=True)
    with pytest.raises(BadEvidence, match="ima log does not replay to register 10"):
        prove(simulated(ima_log=b"".join(lines[:-1])))


def test_a_log_of_registers_that_are_not_quoted_explains_nothing() -> None:
    pcrs = {16: b"\7" * 32}
    message = attest(pcrs)
    items = {"attest": message, "signature": sign(ENROLLED, message), "pcrs": pcr_json(pcrs)}
    for item in ("event_log", "ima_log"):
        evidence = Evidence("tpm", {**items, item: simulated().items[item]})
        assert refusal(evidence, {"ak": public_pem(ENROLLED)}) is Reason.LOG_MISMATCH


def test_a_real_log_explains_the_pcrs_of_every_bank(vectors: Path) -> None:
    tpm = vectors / "evidence/tpm"
    for number, bank in enumerate(("sha1", "sha256", "sha384")):
        name = f"gce-cos-85-nonce9009_q{number}"
        items = {part: (tpm / f"{name}.{file}").read_bytes() for part, file in _FILES.items()}
        items["event_log"] = (tpm / "gce-cos-85-nonce9009.eventlog.bin").read_bytes()
        items["pcrs"] = _pcrs_of(tpm / f"{name}.expect.json")
        documents = Endorsements({"ak": ((tpm / f"{name}.ak.pem").read_bytes(),)})
        claims = TpmVerifier({}).verify(Evidence("tpm", items), documents, challenge=b"\x90\x09", now=NOW)
        assert (claims.fields["pcr_bank"], claims.fields["event_log_pcrs"]) == (bank, "0,1,2,3,4,5,6,7,8,9")


_FILES = {"attest": "attest.bin", "signature": "sig.bin"}


def _pcrs_of(path: Path) -> bytes:
    return json.dumps(json.loads(path.read_text())["pcrs"]).encode()
