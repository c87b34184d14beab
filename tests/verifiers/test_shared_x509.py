import random
from datetime import datetime, timedelta
from itertools import permutations
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from x509_lab import DAY, NOW, Identity, content, ec_key, issue, name, tlv, without_next_update

from attest_pipeline.crypto import EcKey
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared import x509 as paths
from attest_pipeline.verifiers._shared.der import elements

ROOT = Identity.root("root")
MIDDLE = ROOT.issue("middle", authority=True, depth=0, may_sign=True)
LEAF = MIDDLE.issue("leaf")
STRANGER = Identity.root("stranger")
PINNED = frozenset((ROOT.spki,))
SHA_1 = ec.ECDSA(hashes.SHA1())  # noqa: S303 - no builder signs with it, so the test does


def proven(
    leaf: Identity, *pool: Identity, roots: frozenset[bytes] = PINNED, now: datetime = NOW
) -> tuple[x509.Certificate, ...]:
    """Certificates of the proven path."""
    return paths.prove_path(leaf.certificate, (link.certificate for link in pool), roots, now=now).certificates


def refusal(leaf: Identity, *pool: Identity, roots: frozenset[bytes] = PINNED, now: datetime = NOW) -> Reason | None:
    """Why there is no path; None if there is one."""
    try:
        proven(leaf, *pool, roots=roots, now=now)
    except BadEvidence as error:
        return error.reason
    return None


# ── paths ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_path_is_found_in_a_pool_of_any_order_among_strangers() -> None:
    namesake = Identity.root("middle")
    for pool in permutations((ROOT, MIDDLE, STRANGER, namesake, LEAF)):
        assert proven(LEAF, *pool) == (LEAF.certificate, MIDDLE.certificate)


def test_the_root_needs_no_certificate_because_its_key_is_pinned() -> None:
    path = paths.prove_path(LEAF.certificate, (MIDDLE.certificate,), PINNED, now=NOW)
    assert path.leaf is LEAF.certificate
    assert path.root == ROOT.spki


def test_a_pinned_key_may_be_held_by_any_certificate_of_the_path() -> None:
    assert proven(LEAF, roots=frozenset((LEAF.spki,))) == (LEAF.certificate,)
    assert proven(LEAF, MIDDLE, roots=frozenset((MIDDLE.spki,))) == (LEAF.certificate,)
    assert proven(ROOT) == (ROOT.certificate,)


def test_one_of_several_pinned_keys_is_enough_and_is_named() -> None:
    path = paths.prove_path(LEAF.certificate, (MIDDLE.certificate,), frozenset((STRANGER.spki, ROOT.spki)), now=NOW)
    assert path.root == ROOT.spki


def test_without_its_issuer_a_certificate_leads_nowhere() -> None:
    assert refusal(LEAF) is Reason.BAD_CHAIN
    assert refusal(LEAF, STRANGER, ROOT) is Reason.BAD_CHAIN
    assert refusal(LEAF, MIDDLE, roots=frozenset()) is Reason.BAD_CHAIN


def test_a_self_signed_root_is_trusted_by_its_key_and_not_by_its_name() -> None:
    impostor = Identity.root("root")
    assert refusal(impostor) is Reason.UNTRUSTED_ROOT
    theirs = impostor.issue("middle", authority=True)
    assert refusal(theirs.issue("leaf"), theirs, impostor) is Reason.UNTRUSTED_ROOT


def test_a_root_certificate_that_comes_along_must_be_the_roots() -> None:
    der = ROOT.certificate.public_bytes(serialization.Encoding.DER)
    altered = ROOT._replace(certificate=x509.load_der_x509_certificate(der[:-1] + bytes((der[-1] ^ 1,))))
    namesake = Identity.root("root")
    assert refusal(LEAF, MIDDLE, altered) is Reason.BAD_SIGNATURE
    assert refusal(LEAF, MIDDLE, namesake) is Reason.BAD_SIGNATURE
    assert refusal(LEAF, MIDDLE, namesake, ROOT) is None
    crossed = STRANGER.issue("root", key=ROOT.key, authority=True)
    assert refusal(LEAF, MIDDLE, crossed) is None


def test_an_issuer_by_name_alone_is_none() -> None:
    forged = issue(name("middle"), ec_key(), "leaf", ec_key())
    assert refusal(forged, MIDDLE) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("authority", "may_sign"), [(False, None), (None, None), (False, True), (None, True), (True, False)]
)
def test_who_may_not_issue_issues_nothing(authority: bool | None, may_sign: bool | None) -> None:  # noqa: FBT001 - table
    middle = ROOT.issue("no authority", authority=authority, may_sign=may_sign)
    assert refusal(middle.issue("leaf"), middle) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(("critical", "reason"), [(True, Reason.BAD_SIGNATURE), (False, None)])
def test_an_authority_with_limits_that_are_not_understood_issues_nothing(
    critical: bool,  # noqa: FBT001 - table
    reason: Reason | None,
) -> None:
    names = x509.NameConstraints([x509.DirectoryName(name("others"))], None)
    limits = (x509.Extension(names.oid, critical, names),)
    limited = ROOT.issue("limited", authority=True, may_sign=True, extensions=limits)
    assert refusal(limited.issue("leaf"), limited) is reason


def test_a_path_length_constraint_counts_the_authorities_below() -> None:
    low = MIDDLE.issue("low", authority=True)
    assert refusal(low.issue("leaf"), low, MIDDLE) is Reason.BAD_SIGNATURE
    wide = ROOT.issue("wide", authority=True, depth=1)
    lower = wide.issue("lower", authority=True, depth=0)
    assert len(proven(lower.issue("leaf"), lower, wide)) == 3


def test_eight_certificates_are_a_path_and_nine_are_not() -> None:
    chain = [ROOT]
    for number in range(8):
        chain.append(chain[-1].issue(f"link {number}", authority=True))
    assert len(proven(chain[8], *chain)) == 8
    assert refusal(chain[8].issue("leaf"), *chain) is Reason.BAD_CHAIN


def test_authorities_that_issue_each_other_lead_nowhere() -> None:
    one, two = ec_key(), ec_key()
    first = issue(name("second"), two, "first", one, authority=True)
    second = issue(name("first"), one, "second", two, authority=True)
    assert refusal(first.issue("leaf"), first, second) is Reason.BAD_CHAIN


@pytest.mark.parametrize("late", ["leaf", "middle"])
@pytest.mark.parametrize(
    ("window", "reason"),
    [((NOW - 9 * DAY, NOW - DAY), Reason.EXPIRED), ((NOW + DAY, NOW + 9 * DAY), Reason.NOT_YET_VALID)],
)
def test_every_certificate_must_be_valid_now(late: str, window: tuple[datetime, datetime], reason: Reason) -> None:
    always = (NOW - 90 * DAY, NOW + 90 * DAY)
    middle = ROOT.issue("middle", authority=True, window=window if late == "middle" else always)
    leaf = middle.issue("leaf", window=window if late == "leaf" else always)
    assert refusal(leaf, middle) is reason


def test_the_window_is_judged_on_every_call_to_the_second() -> None:
    path = paths.signed_path(LEAF.certificate, (MIDDLE.certificate,), PINNED)
    second = timedelta(seconds=1)
    for moment, reason in (
        (path.not_before, None),
        (path.not_after, None),
        (path.not_before - second, Reason.NOT_YET_VALID),
        (path.not_after + second, Reason.EXPIRED),
        (NOW, None),
    ):
        assert refusal(LEAF, MIDDLE, now=moment) is reason


# ── signatures ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def rsa_root() -> Identity:
    """A root with an RSA key."""
    return Identity.root("rsa root", rsa.generate_private_key(65537, 2048))


def pss(salt: int) -> padding.PSS:
    return padding.PSS(padding.MGF1(hashes.SHA384()), salt)


def test_rsa_issuers_sign_in_both_schemes(rsa_root: Identity) -> None:
    roots = frozenset((rsa_root.spki,))
    for pad in (pss(48), padding.PKCS1v15()):
        assert proven(rsa_root.issue("leaf", pad=pad, algorithm=hashes.SHA384()), roots=roots)


def test_a_salt_of_another_length_than_the_hash_is_refused(rsa_root: Identity) -> None:
    leaf = rsa_root.issue("leaf", pad=pss(20), algorithm=hashes.SHA384())
    assert refusal(leaf, rsa_root, roots=frozenset((rsa_root.spki,))) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_elliptic_issuers_sign_with_any_sha2(curve: ec.EllipticCurve) -> None:
    root = Identity.root("elliptic", ec_key(curve))
    for algorithm in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512()):
        assert proven(root.issue("leaf", algorithm=algorithm), roots=frozenset((root.spki,)))


def test_a_key_of_one_kind_does_not_verify_a_signature_of_another(rsa_root: Identity) -> None:
    forged = issue(rsa_root.certificate.subject, ec_key(), "leaf", ec_key())
    assert refusal(forged, rsa_root, roots=frozenset((rsa_root.spki,))) is Reason.BAD_SIGNATURE
    forged = issue(name("root"), rsa_root.key, "leaf", ec_key())
    assert refusal(forged, ROOT) is Reason.BAD_SIGNATURE


def test_sha_1_signs_nothing() -> None:
    weak = x509.load_der_x509_certificate(signed_with_sha_1(LEAF, MIDDLE))
    assert isinstance(MIDDLE.key, ec.EllipticCurvePrivateKey)
    MIDDLE.key.public_key().verify(weak.signature, weak.tbs_certificate_bytes, SHA_1)
    assert refusal(Identity(LEAF.key, weak), MIDDLE) is Reason.BAD_SIGNATURE


def signed_with_sha_1(subject: Identity, issuer: Identity) -> bytes:
    """The certificate signed anew by ecdsa-with-SHA1, which no builder does."""
    assert isinstance(issuer.key, ec.EllipticCurvePrivateKey)
    strong, weak = (tlv(0x30, tlv(0x06, bytes.fromhex(oid))) for oid in ("2a8648ce3d040302", "2a8648ce3d0401"))
    tbs = tlv(0x30, content(subject.certificate.tbs_certificate_bytes).replace(strong, weak, 1))
    return tlv(0x30, tbs + weak + tlv(0x03, b"\0" + issuer.key.sign(tbs, SHA_1)))


def test_a_key_that_is_not_admitted_proves_nothing() -> None:
    with pytest.raises(BadEvidence) as refused:
        paths.public_key(MIDDLE.issue("leaf", key=ec_key(ec.SECP224R1())).certificate)
    assert refused.value.reason is Reason.MALFORMED
    assert refusal(MIDDLE.issue("leaf", key=ec_key(ec.SECP256K1())), MIDDLE) is Reason.MALFORMED
    key = paths.public_key(LEAF.certificate)
    assert isinstance(key, EcKey)
    assert key.spki == LEAF.spki


# ── bytes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_certificates_are_read_from_der_and_pem() -> None:
    der = LEAF.certificate.public_bytes(serialization.Encoding.DER)
    assert paths.load_certificate(der) == paths.load_certificate(b"\n " + LEAF.pem) == LEAF.certificate


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.MALFORMED),
        (b"certificate", Reason.MALFORMED),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", Reason.MALFORMED),
        (b"-----BEGIN PUBLIC KEY-----", Reason.MALFORMED),
        (LEAF.pem[:-60], Reason.MALFORMED),
        (bytes(paths.MAX_CERTIFICATE + 1), Reason.TOO_LARGE),
    ],
)
def test_what_is_no_certificate_is_refused(data: bytes, reason: Reason) -> None:
    with pytest.raises(BadEvidence) as refused:
        paths.load_certificate(data)
    assert refused.value.reason is reason


def test_a_name_written_as_a_bit_string_is_malformed() -> None:
    der = LEAF.certificate.public_bytes(serialization.Encoding.DER).replace(b"\x0c\x04leaf", b"\x03\x04\0eaf")
    with pytest.raises(BadEvidence) as caught:
        paths.load_certificate(der)
    assert caught.value.reason is Reason.MALFORMED


def with_algorithm(signed: bytes, algorithm: str) -> bytes:
    """A certificate or CRL that names another algorithm (an OID of ECDSA) beside its signature than inside."""
    body, _, signature = (text for _, _, text in elements(content(signed)))
    return tlv(0x30, body + tlv(0x30, tlv(0x06, bytes.fromhex(algorithm))) + signature)


def test_the_algorithm_beside_the_signature_must_be_the_signed_one() -> None:
    der, crl = LEAF.certificate.public_bytes(serialization.Encoding.DER), MIDDLE.crl()
    same, other = "2a8648ce3d040302", "2a8648ce3d040303"  # ecdsa-with-SHA256, ecdsa-with-SHA384
    assert paths.load_certificate(with_algorithm(der, same)) == LEAF.certificate
    with pytest.raises(BadEvidence, match=r"malformed: .*another signature algorithm"):
        paths.load_certificate(with_algorithm(der, other))
    assert paths.prove_crl(with_algorithm(crl, same), MIDDLE.certificate).serials == frozenset()
    with pytest.raises(BadEvidence, match="bad_endorsement"):
        paths.prove_crl(with_algorithm(crl, other), MIDDLE.certificate)


@pytest.mark.parametrize("behind", [b"x", ROOT.pem[:-5], ROOT.pem.replace(b"END", b"FIN")])
def test_nothing_follows_the_last_certificate_in_pem(behind: bytes) -> None:
    for read in (paths.load_certificate, paths.load_bundle):
        with pytest.raises(BadEvidence, match="malformed: bytes behind the last certificate"):
            read(LEAF.pem + behind)


def test_a_bundle_keeps_its_order_and_ignores_what_lies_between() -> None:
    text = b"leaf\n" + LEAF.pem + b"\n# then\n" + MIDDLE.pem + ROOT.pem + b"\0"
    assert paths.load_bundle(text) == (LEAF.certificate, MIDDLE.certificate, ROOT.certificate)


@pytest.mark.parametrize("data", [b"", b"no PEM", LEAF.pem * (paths.MAX_PATH + 1), LEAF.pem + b"x" + LEAF.pem[30:]])
def test_a_bundle_of_none_too_many_or_broken_certificates_is_refused(data: bytes) -> None:
    with pytest.raises(BadEvidence) as refused:
        paths.load_bundle(data)
    assert refused.value.reason is Reason.MALFORMED


def test_a_serial_number_of_zero_is_read_as_amd_writes_it(vectors: Path) -> None:
    data = (vectors / "evidence" / "snp" / "v5_turin_vcek_ms.vcek.der").read_bytes()
    assert paths.serial_number(paths.load_certificate(data)) == 0


def test_no_altered_certificate_lets_another_error_out_than_bad_evidence(rsa_root: Identity) -> None:
    dice = random.Random(5)
    links = (rsa_root.issue("leaf", pad=pss(48), algorithm=hashes.SHA384(), may_sign=True), rsa_root, LEAF, MIDDLE)
    documents = [link.certificate.public_bytes(serialization.Encoding.DER) for link in links]
    outcomes = set()
    for _ in range(2500):
        altered = [*documents]
        which = dice.randrange(len(altered))
        data = bytearray(altered[which])
        for _ in range(dice.randint(1, 3)):
            data[dice.randrange(len(data))] = dice.choice((0, 1, 2, 5, 6, 48, 255, dice.randrange(256)))
        altered[which] = bytes(data)
        outcomes.add(outcome(altered, frozenset((rsa_root.spki, ROOT.spki))))
    assert {None, Reason.MALFORMED, Reason.BAD_SIGNATURE, Reason.BAD_CHAIN} <= outcomes


def outcome(documents: list[bytes], roots: frozenset[bytes]) -> Reason | None:
    """Reason why one of the documents leads nowhere; None if each has a path."""
    try:
        pool = [paths.load_certificate(document) for document in documents]
        for certificate in pool:
            paths.prove_path(certificate, pool, roots, now=NOW)
    except BadEvidence as error:
        return error.reason
    return None


# ── CRLs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_crl_revokes_the_serial_numbers_it_lists() -> None:
    crl = paths.prove_crl(MIDDLE.crl((7, LEAF.certificate.serial_number)), MIDDLE.certificate)
    with pytest.raises(BadEvidence) as refused:
        paths.check_not_revoked(LEAF.certificate.serial_number, crl, NOW)
    assert refused.value.reason is Reason.REVOKED
    paths.check_not_revoked(8, crl, NOW)
    assert paths.prove_crl(MIDDLE.crl(), MIDDLE.certificate).serials == frozenset()


def test_a_crl_may_be_pem() -> None:
    der = MIDDLE.crl((7,))
    pem = x509.load_der_x509_crl(der).public_bytes(serialization.Encoding.PEM)
    assert paths.prove_crl(pem, MIDDLE.certificate) == paths.prove_crl(der, MIDDLE.certificate)


def test_a_crl_of_another_authority_is_refused_by_name_and_by_key() -> None:
    namesake = Identity.root("middle")
    for crl in (ROOT.crl(), namesake.crl()):
        with pytest.raises(BadEvidence) as refused:
            paths.prove_crl(crl, MIDDLE.certificate)
        assert refused.value.reason is Reason.BAD_ENDORSEMENT


def test_the_crl_of_a_root_is_proven_with_its_certificate_and_without() -> None:
    crl = ROOT.crl((3,))
    for last in (MIDDLE.certificate, ROOT.certificate):
        assert paths.prove_root_crl(crl, last, ROOT.spki).serials == {3}
    for last, root in ((LEAF.certificate, ROOT.spki), (MIDDLE.certificate, STRANGER.spki)):
        with pytest.raises(BadEvidence) as refused:
            paths.prove_root_crl(crl, last, root)
        assert refused.value.reason is Reason.BAD_ENDORSEMENT


@pytest.mark.parametrize(("days", "reason"), [(-2, Reason.NOT_YET_VALID), (2, Reason.EXPIRED)])
def test_a_crl_counts_only_in_its_window(days: int, reason: Reason) -> None:
    crl = paths.prove_crl(MIDDLE.crl(), MIDDLE.certificate)
    paths.check_not_revoked(7, crl, NOW)
    with pytest.raises(BadEvidence) as refused:
        paths.check_not_revoked(7, crl, NOW + days * DAY)
    assert refused.value.reason is reason


@pytest.mark.parametrize(
    "part",
    [
        x509.DeltaCRLIndicator(1),
        x509.IssuingDistributionPoint(
            None, None, only_contains_user_certs=False, only_contains_ca_certs=True,
            only_some_reasons=None, indirect_crl=False, only_contains_attribute_certs=False,
        ),
    ],
)  # fmt: skip
def test_a_crl_that_is_a_part_of_one_is_refused(part: x509.ExtensionType) -> None:
    with pytest.raises(BadEvidence, match="not the whole list"):
        paths.prove_crl(MIDDLE.crl(critical=(part,)), MIDDLE.certificate)


def test_a_crl_of_an_authority_that_may_sign_none_is_refused() -> None:
    mute = ROOT.issue("mute", authority=True, may_sign=True, may_revoke=False)
    with pytest.raises(BadEvidence, match="may not sign a CRL"):
        paths.prove_crl(mute.crl(), mute.certificate)


def test_a_crl_without_an_end_is_refused() -> None:
    key = MIDDLE.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    endless = without_next_update(MIDDLE.crl(), key)
    assert x509.load_der_x509_crl(endless).next_update_utc is None
    with pytest.raises(BadEvidence, match="without nextUpdate"):
        paths.prove_crl(endless, MIDDLE.certificate)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.BAD_ENDORSEMENT),
        (b"no CRL", Reason.BAD_ENDORSEMENT),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", Reason.BAD_ENDORSEMENT),
        (LEAF.certificate.public_bytes(serialization.Encoding.DER), Reason.BAD_ENDORSEMENT),
        (bytes(paths.MAX_CRL + 1), Reason.TOO_LARGE),
    ],
)
def test_what_is_no_crl_is_refused(data: bytes, reason: Reason) -> None:
    with pytest.raises(BadEvidence) as refused:
        paths.prove_crl(data, MIDDLE.certificate)
    assert refused.value.reason is reason


def test_no_altered_crl_is_proven_and_none_lets_another_error_out() -> None:
    dice = random.Random(6)
    crl = MIDDLE.crl(range(1, 9))
    signed = x509.load_der_x509_crl(crl).tbs_certlist_bytes
    for _ in range(600):
        data = bytearray(crl)
        data[dice.randrange(4, 4 + len(signed))] ^= 1 << dice.randrange(8)
        with pytest.raises(BadEvidence):
            paths.prove_crl(bytes(data), MIDDLE.certificate)
