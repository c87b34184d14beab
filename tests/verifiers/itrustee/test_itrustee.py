"""iTrustee reports, real and simulated: what is proven, and what must not be."""

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import x509_lab as lab
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from verifiers_conformance import run_cases

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.simulator.huawei import Authority
from attest_pipeline.simulator.itrustee import (
    ak_certificate,
    b64u,
    cjson,
    drk_certificate,
    encode_report,
    report_payload,
    sign,
)
from attest_pipeline.verifiers._huawei import report as abi
from attest_pipeline.verifiers._huawei.cjson import render
from attest_pipeline.verifiers._shared.recurring import Recurring
from attest_pipeline.verifiers.itrustee import ItrusteeVerifier

NOW = datetime(2026, 11, 23, tzinfo=UTC)
REAL_NOW = datetime(2025, 6, 1, tzinfo=UTC)
CHALLENGE = bytes(range(32))
AUTHORITY = Authority(NOW)
MACHINE = AUTHORITY.machine("machine")
DRK, AK = (rsa.generate_private_key(65537, 2048) for _ in range(2))
DRK_CERT = drk_certificate(DRK, MACHINE, AUTHORITY)
AK_CERT = ak_certificate(DRK, DRK_CERT, AK)
PAYLOAD = report_payload(CHALLENGE)
CA = tuple(identity.encoded(Encoding.DER) for identity in (AUTHORITY.product, AUTHORITY.root))
VERIFIER = ItrusteeVerifier({"huawei": (AUTHORITY.root.spki,)})
LOG = b"10 0000 ima-ng sha256:00 boot_aggregate\n"
SERVICE = lab.Identity.root("attestation key service")
CERTIFIED = SERVICE.issue("AK", key=AK)


def report(payload: dict[str, object] = PAYLOAD, certificate: object = AK_CERT, key: rsa.RSAPrivateKey = AK) -> bytes:
    return encode_report(payload, sign(key, payload), certificate)


def verify(
    data: bytes,
    *,
    challenge: bytes | None = CHALLENGE,
    now: datetime = NOW,
    log: bytes | None = None,
    verifier: ItrusteeVerifier = VERIFIER,
    **endorsements: tuple[bytes, ...],
) -> Claims:
    items = {"report": data} if log is None else {"report": data, "ima_log": log}
    given = Endorsements(endorsements or {"ca": CA})
    return verifier.verify(Evidence("itrustee", items), given, challenge=challenge, now=now)


def reason_of(call: Callable[[], object]) -> Reason:
    with pytest.raises(BadEvidence) as caught:
        call()
    return caught.value.reason


def with_log(log: bytes) -> bytes:
    return report(report_payload(CHALLENGE + hashlib.sha256(log).digest()))


def changed(document: bytes, *path: str, value: object) -> bytes:
    """The report with one member replaced, signatures as they were."""
    loaded: dict[str, Any] = json.loads(document)
    place = loaded
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return cjson(loaded).encode()


@pytest.fixture(name="real_ca")
def real_authorities(vectors: Path) -> tuple[bytes, ...]:
    directory = vectors / "evidence/roots/huawei"
    return tuple(
        (directory / name).read_bytes() for name in ("Huawei_IT_Product_CA.pem", "Huawei_Equipment_Root_CA.pem")
    )


@pytest.fixture(name="real")
def real_report(vectors: Path) -> bytes:
    return (vectors / "secgear/itrustee/report.json").read_bytes()


# ── real evidence ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_all_conformance_cases_pass(conformance: Path) -> None:
    assert run_cases(conformance, "itrustee", lambda: ItrusteeVerifier({})) == []


@pytest.mark.parametrize("name", ["evidence/itrustee/report_no_as.json", "secgear/itrustee/report.json"])
def test_a_real_report_is_printed_byte_for_byte(vectors: Path, name: str) -> None:
    text = (vectors / name).read_text()
    assert render(json.loads(text)) == text == cjson(json.loads(text))


def test_a_real_report_in_the_envelope_of_secgear_is_the_same_report(real: bytes, real_ca: tuple[bytes, ...]) -> None:
    strict = ItrusteeVerifier({})
    envelope = json.dumps({"report": real.decode(), "ima_log": None}).encode()
    bare = verify(real, challenge=None, now=REAL_NOW, verifier=strict, ca=real_ca)
    assert verify(envelope, challenge=None, now=REAL_NOW, verifier=strict, ca=real_ca) == bare
    assert bare.debug is None
    assert bare.checks == ("device-certificate", "ak-certificate", "report-signature")


def test_a_real_report_without_its_authorities_or_under_another_root_is_refused(
    real: bytes, real_ca: tuple[bytes, ...]
) -> None:
    strict = ItrusteeVerifier({})
    assert reason_of(lambda: verify(real, now=REAL_NOW, verifier=strict, ca=())) is Reason.BAD_CHAIN
    assert reason_of(lambda: verify(real, now=REAL_NOW, verifier=strict, ca=real_ca[1:])) is Reason.BAD_CHAIN
    assert reason_of(lambda: verify(report(), verifier=strict)) is Reason.UNTRUSTED_ROOT


def test_a_report_signed_by_direct_anonymous_attestation_is_unsupported(vectors: Path) -> None:
    daa = (vectors / "evidence/itrustee/report_daa.json").read_bytes()
    assert reason_of(lambda: verify(daa, challenge=None)) is Reason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("name", ["legacy_report_noas.bin", "legacy_report_daa.bin", "provision_no_daa.json"])
def test_binary_reports_and_other_documents_of_the_quoter_are_malformed(vectors: Path, name: str) -> None:
    assert reason_of(lambda: verify((vectors / "evidence/itrustee" / name).read_bytes())) is Reason.MALFORMED


def _texts(document: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _texts(value, (*path, name))
        elif value:
            yield (*path, name)


def test_no_changed_character_of_a_real_report_verifies(real: bytes, real_ca: tuple[bytes, ...]) -> None:
    """Every character of short texts, and every 29th of long ones: keys, certificates and signatures."""
    strict, survivors = ItrusteeVerifier({}), []
    document = json.loads(real)
    for path in _texts(document):
        place = copy.deepcopy(document)
        holder = place
        for name in path[:-1]:
            holder = holder[name]
        text = holder[path[-1]]
        for at in range(0, len(text), 1 if len(text) < 100 else 29):
            holder[path[-1]] = text[:at] + ("B" if text[at] == "A" else "A") + text[at + 1 :]
            try:
                verify(cjson(place).encode(), challenge=None, now=REAL_NOW, verifier=strict, ca=real_ca)
            except BadEvidence:
                continue
            survivors.append((*path, at))
    assert survivors == []


# ── the report ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_report_is_proven_and_described() -> None:
    claims = verify(report())
    assert claims.challenge_verified
    assert claims.checks == ("device-certificate", "ak-certificate", "report-signature", "challenge")
    assert set(claims.measurements) == {"ta_img", "ta_mem", "qta_img", "qta_mem"}
    assert {name: claims.fields[name] for name in claims.measurements} == claims.measurements
    assert (claims.fields["version"], claims.fields["scenario"]) == ("TEE.RA.1.0", "sce_no_as")
    assert set(claims.endorsements) == {"ca/0", "ca/1"}
    assert claims.hardware_id != claims.signer


def test_the_order_of_members_is_part_of_what_is_signed_and_white_space_around_them_is_not() -> None:
    loaded = json.loads(report())
    assert verify(json.dumps(loaded).encode()) == verify(report())
    loaded["payload"] = dict(reversed(loaded["payload"].items()))
    assert reason_of(lambda: verify(json.dumps(loaded).encode())) is Reason.BAD_SIGNATURE


def test_a_member_that_nobody_knows_may_stand_in_a_signed_payload() -> None:
    payload = {**PAYLOAD, "key": {"pub_key": {"kty": "RSA"}, "enc_key": 'quoted " \\ \b\f\n\r\t\x01 é / \x7f'}}
    text = render(payload)
    assert '"quoted \\" \\\\ \\b\\f\\n\\r\\t\\u0001 é / \x7f"' in text
    assert text == cjson(payload)
    assert verify(report(payload)).fields["uuid"] == PAYLOAD["uuid"]


def test_an_empty_object_is_printed_as_cjson_does() -> None:
    assert render({"a": {}}) == '{\n\t"a":\t{\n\t}\n}'


@pytest.mark.parametrize("value", [1, 1.5, True, None, ["text"], {"a": 1}])
def test_a_payload_of_anything_but_texts_and_objects_is_malformed(value: object) -> None:
    assert reason_of(lambda: verify(changed(report(), "payload", "extra", value=value))) is Reason.MALFORMED


def test_deep_nesting_is_malformed() -> None:
    deep: object = "bottom"
    for _ in range(9):
        deep = {"down": deep}
    assert reason_of(lambda: verify(changed(report(), "payload", "extra", value=deep))) is Reason.MALFORMED
    far = b'{"payload":' * 5000 + b"}" * 5000
    assert reason_of(lambda: verify(far)) is Reason.MALFORMED


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("payload", "version"), "TEE.RA.2.0", Reason.MALFORMED),
        (("payload", "sign_alg"), "RS256", Reason.MALFORMED),
        (("payload", "hash_alg"), "SHA1", Reason.MALFORMED),
        (("payload", "scenario"), "sce_other", Reason.MALFORMED),
        (("payload", "scenario"), "sce_as_no_daa", Reason.MALFORMED),
        (("payload", "scenario"), None, Reason.MALFORMED),
        (("payload", "uuid"), "u" * 257, Reason.MALFORMED),
        (("payload", "uuid"), "\ud800", Reason.MALFORMED),
        (("payload", "nonce"), "", Reason.MALFORMED),
        (("payload", "nonce"), b64u(bytes(65)), Reason.MALFORMED),
        (("payload", "ta_img"), b64u(bytes(31)), Reason.MALFORMED),
        (("payload", "ta_mem"), "not base64url", Reason.MALFORMED),
        (("payload", "ta_mem"), "é" * 43, Reason.MALFORMED),
        (("payload",), "text", Reason.MALFORMED),
        (("handler",), "provisioning-output", Reason.MALFORMED),
        (("report_sign",), {}, Reason.MALFORMED),
        (("report_sign", "sce_other"), "AA", Reason.MALFORMED),
        (("report_sign", "sce_no_as"), {}, Reason.MALFORMED),
        (("report_sign", "sce_no_as"), b64u(bytes(256)), Reason.BAD_SIGNATURE),
        (("akcert", "sce_no_as"), "text", Reason.MALFORMED),
        (("akcert", "sce_no_as"), {"extra": "\ud800"}, Reason.MALFORMED),
        (("akcert", "sce_no_as", "handler"), "report-output", Reason.MALFORMED),
        (("akcert", "sce_no_as", "payload", "scenario"), "sce_as_no_daa", Reason.MALFORMED),
        (("akcert", "sce_no_as", "payload", "sign_alg"), "RS256", Reason.MALFORMED),
        (("akcert", "sce_no_as", "payload", "ak_pub", "e"), "Aw", Reason.MALFORMED),
        (("akcert", "sce_no_as", "payload", "ak_pub", "kty"), "EC", Reason.MALFORMED),
        (("akcert", "sce_no_as", "payload", "qta_img"), b64u(bytes(32)), Reason.BAD_SIGNATURE),
        (("akcert", "sce_no_as", "signature", "drk_cert"), b64u(b"!!!!"), Reason.MALFORMED),
        (("akcert", "sce_no_as", "signature", "drk_cert"), b64u(b"AAAA"), Reason.MALFORMED),
        (("akcert", "sce_no_as", "signature", "drk_sign"), b64u(bytes(256)), Reason.BAD_SIGNATURE),
        (("extra",), "text", Reason.MALFORMED),
    ],
)
def test_a_changed_member_is_refused(path: tuple[str, ...], value: object, reason: Reason) -> None:
    loaded = json.loads(report())
    place = loaded
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    assert reason_of(lambda: verify(json.dumps(loaded).encode())) is reason


def test_a_member_that_stands_twice_is_malformed() -> None:
    twice = report().replace(b'"uuid":', b'"uuid":"00000000-0000-0000-0000-000000000000","uuid":', 1)
    assert reason_of(lambda: verify(twice)) is Reason.MALFORMED


def test_base64url_with_padding_or_stray_bits_is_malformed() -> None:
    signature = json.loads(report())["report_sign"]["sce_no_as"]
    for text in (signature + "==", signature[:-1] + chr(ord(signature[-1]) + 1), signature.replace("_", "/")):
        if text != signature:
            spoiled = changed(report(), "report_sign", "sce_no_as", value=text)
            assert reason_of(lambda: verify(spoiled)) is Reason.MALFORMED  # noqa: B023 - called at once


def test_a_report_beyond_64_kib_is_too_large() -> None:
    huge = changed(report(), "payload", "extra", value="x" * 65536)
    assert reason_of(lambda: verify(huge)) is Reason.TOO_LARGE


@pytest.mark.parametrize("data", [b"", b"[]", b'"text"', b"null", b"{}", b"\xff", b"NaN"])
def test_other_bytes_are_malformed(data: bytes) -> None:
    assert reason_of(lambda: verify(data)) is Reason.MALFORMED
    assert reason_of(lambda: VERIFIER.endorsements_for(Evidence("itrustee", {"report": data}))) is Reason.MALFORMED


# ── challenge and IMA log ─────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("challenge", [b"", CHALLENGE[:31], CHALLENGE + b"\0", CHALLENGE + bytes(32), bytes(32)])
def test_the_challenge_is_compared_as_a_whole_and_never_padded(challenge: bytes) -> None:
    assert reason_of(lambda: verify(report(), challenge=challenge)) is Reason.CHALLENGE_MISMATCH


def test_without_a_challenge_the_claims_say_that_none_was_verified() -> None:
    claims = verify(report(), challenge=None)
    assert not claims.challenge_verified
    assert "challenge" not in claims.checks


@pytest.mark.parametrize("log", [LOG, b""])
def test_a_log_is_bound_by_the_end_of_the_nonce(log: bytes) -> None:
    claims = verify(with_log(log), log=log)
    assert claims.checks[-2:] == ("ima-log", "challenge")
    assert claims.fields["ima-log"] is True


def test_the_envelope_may_bring_the_log() -> None:
    envelope = json.dumps({"report": with_log(LOG).decode(), "ima_log": list(LOG)}).encode()
    assert verify(envelope) == verify(with_log(LOG), log=LOG)
    assert reason_of(lambda: verify(envelope, log=LOG)) is Reason.MALFORMED


@pytest.mark.parametrize("log", [[256], [-1], "text", [1.5]])
def test_a_log_in_the_envelope_that_is_no_bytes_is_malformed(log: object) -> None:
    envelope = json.dumps({"report": report().decode(), "ima_log": log}).encode()
    assert reason_of(lambda: verify(envelope)) is Reason.MALFORMED


@pytest.mark.parametrize("log", [LOG + b"\n", LOG[:-1], b""])
def test_another_log_is_a_mismatch(log: bytes) -> None:
    assert reason_of(lambda: verify(with_log(LOG), log=log)) is Reason.LOG_MISMATCH


def test_a_log_cannot_be_taken_away_or_added() -> None:
    assert reason_of(lambda: verify(with_log(LOG))) is Reason.CHALLENGE_MISMATCH
    assert reason_of(lambda: verify(report(), log=LOG)) is Reason.LOG_MISMATCH
    assert verify(report()).fields["ima-log"] is False


# ── who vouches: Huawei ───────────────────────────────────────────────────────────────────────────────────────────────
def test_huaweis_authorities_are_asked_for() -> None:
    asked = VERIFIER.endorsements_for(Evidence("itrustee", {"report": report()}))
    assert [(ref.item, f"{ref.kind}/{ref.key}", ref.required) for ref in asked] == [
        ("ca", "huawei-ca/itrustee", True),
        ("crl", "huawei-ca/itrustee/crl", False),
    ]


def test_the_chain_is_mandatory() -> None:
    assert reason_of(lambda: verify(report(), other=())) is Reason.MISSING_ENDORSEMENT


def test_a_device_key_of_ones_own_vouches_for_nothing() -> None:
    forger = Authority(NOW)
    forged = ak_certificate(DRK, drk_certificate(DRK, forger.machine("machine"), forger), AK)
    assert reason_of(lambda: verify(report(certificate=forged))) is Reason.BAD_SIGNATURE
    other = rsa.generate_private_key(65537, 2048)
    assert reason_of(lambda: verify(report(certificate=ak_certificate(other, DRK_CERT, AK)))) is Reason.BAD_SIGNATURE


def test_a_report_by_another_ak_is_refused() -> None:
    assert reason_of(lambda: verify(report(key=DRK))) is Reason.BAD_SIGNATURE


def test_an_elliptic_device_key_signs_no_ak() -> None:
    certificate = ak_certificate(DRK, MACHINE.encoded(Encoding.DER), AK)
    assert reason_of(lambda: verify(report(certificate=certificate))) is Reason.BAD_SIGNATURE


def test_a_small_ak_is_malformed() -> None:
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505 - what must be refused
    certificate = ak_certificate(DRK, DRK_CERT, small)
    assert reason_of(lambda: verify(report(certificate=certificate, key=small))) is Reason.MALFORMED


def test_the_chain_is_judged_at_the_given_time_even_when_its_proof_is_remembered() -> None:
    verify(report())
    assert reason_of(lambda: verify(report(), now=NOW - timedelta(days=2))) is Reason.NOT_YET_VALID
    assert reason_of(lambda: verify(report(), now=NOW + timedelta(days=31))) is Reason.EXPIRED


def test_a_crl_that_is_given_must_hold() -> None:
    empty = AUTHORITY.pki.crl(AUTHORITY.product, [])
    assert "revocation" in verify(report(), ca=CA, crl=(empty,)).checks
    revoking = AUTHORITY.pki.crl(AUTHORITY.product, [MACHINE])
    assert reason_of(lambda: verify(report(), ca=CA, crl=(revoking,))) is Reason.REVOKED


# ── who vouches: an attestation key service ───────────────────────────────────────────────────────────────────────────
def certified(certificate: bytes, key: rsa.RSAPrivateKey = AK) -> bytes:
    return report({**PAYLOAD, "scenario": "sce_as_no_daa"}, b64u(certificate + b"\0"), key)


def test_an_ak_that_an_endorsed_service_certified_is_proven() -> None:
    claims = verify(certified(CERTIFIED.pem), ak_issuer=(SERVICE.pem,), now=lab.NOW)
    assert claims.checks == ("ak-certificate", "report-signature", "challenge")
    assert set(claims.measurements) == {"ta_img", "ta_mem"}
    assert set(claims.endorsements) == {"ak_issuer/0"}
    assert claims.fields["scenario"] == "sce_as_no_daa"
    assert claims.hardware_id == claims.signer


def test_the_service_is_asked_for() -> None:
    (ref,) = VERIFIER.endorsements_for(Evidence("itrustee", {"report": certified(CERTIFIED.pem)}))
    assert (ref.item, ref.kind, ref.key, ref.required) == ("ak_issuer", "huawei-ak-issuer", "itrustee", True)


def test_nobodys_word_for_an_ak_is_no_proof() -> None:
    data = certified(CERTIFIED.pem)
    stranger = lab.Identity.root("attestation key service")
    assert reason_of(lambda: verify(data, now=lab.NOW)) is Reason.MISSING_ENDORSEMENT
    assert reason_of(lambda: verify(data, ak_issuer=(stranger.pem,), now=lab.NOW)) is Reason.BAD_CHAIN
    assert reason_of(lambda: verify(data, ak_issuer=(SERVICE.pem,) * 9, now=lab.NOW)) is Reason.TOO_LARGE


def test_certificate_and_service_are_judged_at_the_given_time() -> None:
    data = certified(CERTIFIED.pem)
    late = lab.NOW + 31 * lab.DAY
    assert reason_of(lambda: verify(data, ak_issuer=(SERVICE.pem,), now=late)) is Reason.EXPIRED
    old = lab.issue(
        lab.name("attestation key service"), SERVICE.key, "attestation key service", SERVICE.key, authority=True,
        window=(lab.NOW - 9 * lab.DAY, lab.NOW - lab.DAY),
    )  # fmt: skip
    assert reason_of(lambda: verify(data, ak_issuer=(old.pem,), now=lab.NOW)) is Reason.EXPIRED


def test_a_certified_ak_must_be_rsa_and_have_signed_the_report() -> None:
    elliptic = certified(SERVICE.issue("AK").pem)
    assert reason_of(lambda: verify(elliptic, ak_issuer=(SERVICE.pem,), now=lab.NOW)) is Reason.MALFORMED
    stolen = certified(CERTIFIED.pem, key=DRK)
    assert reason_of(lambda: verify(stolen, ak_issuer=(SERVICE.pem,), now=lab.NOW)) is Reason.BAD_SIGNATURE


# ── reports that differ in nonce, time and signature alone ────────────────────────────────────────────────────────────
Recur = Callable[[bytes], abi.Report]


@pytest.fixture(name="recurring")
def new_reader() -> Recur:
    return Recurring(abi._read_report, abi._changing, abi._renewed)


def lasting(report: abi.Report) -> tuple[object, ...]:
    return msgspec.structs.astuple(report.application)


def check_read_as_anew(found: abi.Report, data: bytes) -> None:
    """Require what a reader says that has seen no such report."""
    anew = abi._read_report(data)
    assert found._replace(application=anew.application) == anew
    assert lasting(found) == lasting(anew)


@pytest.mark.parametrize("write", [cjson, json.dumps, partial(json.dumps, ensure_ascii=False, indent=3)])
@pytest.mark.parametrize(
    "extra", [{}, {"key": {"enc_key": "/ ~", "inner": {"n": "AQAB"}}}], ids=["plain", "more members"]
)
@pytest.mark.parametrize("size", [9, 16, 31, 32, 33, 64])
def test_what_is_signed_is_known_for_every_other_nonce(
    recurring: Recur, size: int, extra: dict[str, object], write: Callable[[object], str]
) -> None:
    known = set()
    for number in range(100):
        new = hashlib.shake_128(number.to_bytes(2)).digest(size + 512 + 6)
        payload = {**report_payload(new[:size]), "timestamp": str(10**14 + int.from_bytes(new[-6:])), **extra}
        data = write(json.loads(encode_report(payload, new[size:-6], AK_CERT))).encode()
        found = recurring(data)
        check_read_as_anew(found, data)
        assert found.message == b64u(cjson(payload).encode()).encode()
        known.add(found.application)
    assert len(known) == 1


@pytest.mark.parametrize("name", ["report_no_as.json", "report_as_no_daa.json"])
def test_a_real_report_is_known_again(recurring: Recur, vectors: Path, name: str) -> None:
    data = (vectors / "evidence/itrustee" / name).read_bytes()
    first = recurring(data)
    later = data.replace(first.timestamp.encode(), b"1234567890123456789")
    later = later.replace(b64u(first.nonce).encode(), b64u(bytes(range(64))).encode())
    assert recurring(later).application is first.application
    check_read_as_anew(recurring(later), later)


NONCE = "nonce"
TIMESTAMP = "timestamp"


@pytest.mark.parametrize(
    "payload",
    [
        {**PAYLOAD, "ta_attr": PAYLOAD[NONCE]},
        {**PAYLOAD, "tcb": PAYLOAD[TIMESTAMP]},
        {**PAYLOAD, "ta_attr": "escaped \t"},
        {**PAYLOAD, TIMESTAMP: ""},
        {**PAYLOAD, TIMESTAMP: "12345678901"},
        {**PAYLOAD, TIMESTAMP: "about half past six"},
        {**PAYLOAD, TIMESTAMP: "é" * 200},
        {**PAYLOAD, NONCE: b64u(bytes(8))},
        dict(reversed(PAYLOAD.items())),
    ],
    ids=[
        "nonce twice",
        "time twice",
        "escape",
        "no time",
        "short time",
        "no number",
        "no ASCII",
        "short nonce",
        "order",
    ],
)
def test_a_report_that_does_not_tell_how_another_would_read_is_read_each_time(
    recurring: Recur, payload: dict[str, object]
) -> None:
    data = encode_report(payload, bytes(range(256)), AK_CERT)
    assert recurring(data).application is not recurring(bytes(bytearray(data))).application
    check_read_as_anew(recurring(data), data)


@pytest.mark.parametrize("member", ["ta_attr", "tcb", "uuid"])
def test_a_nonce_that_is_spelt_by_escapes_is_not_taken_for_what_stands_elsewhere(recurring: Recur, member: str) -> None:
    """Whoever writes the nonce so that it cannot be seen, and another text in its form, moves no nonce."""
    escaped = f"\\u{ord(str(PAYLOAD[NONCE])[0]):04x}{str(PAYLOAD[NONCE])[1:]}"
    data = encode_report({**PAYLOAD, NONCE: "hidden", member: PAYLOAD[NONCE]}, bytes(range(256)), AK_CERT)
    data = data.replace(b"hidden", escaped.encode())
    assert recurring(data).nonce == CHALLENGE
    other = data.replace(str(PAYLOAD[NONCE]).encode(), b64u(bytes(32)).encode())
    assert recurring(other).nonce == CHALLENGE
    check_read_as_anew(recurring(other), other)


def spelt(text: str, at: int, instead: str) -> str:
    return text[:at] + instead + text[at + len(instead) :]


@pytest.mark.parametrize("at", [0, 20, -2, -1])
@pytest.mark.parametrize("instead", ["+", "/", "=", "*", "\x00", " ", '"', "\\", "é", "B", "_", "9"])
@pytest.mark.parametrize("field", [(NONCE,), ("report_sign", "sce_no_as"), (TIMESTAMP,)], ids=lambda path: path[-1])
def test_a_known_report_with_another_text_is_read_or_refused_as_a_new_one(
    recurring: Recur, field: tuple[str, ...], at: int, instead: str
) -> None:
    genuine = encode_report(PAYLOAD, bytes(range(256)), AK_CERT)
    recurring(genuine)
    document = json.loads(genuine)
    text = str(PAYLOAD[field[0]] if len(field) == 1 else document["report_sign"]["sce_no_as"])
    changed = genuine.replace(text.encode(), spelt(text, at % len(text), instead).encode())
    assert outcome(lambda: recurring(changed)) == outcome(lambda: abi._read_report(changed))


def outcome(read: Callable[[], abi.Report]) -> object:
    """What is said of the report, or how it is refused."""
    try:
        found = read()
    except BadEvidence as error:
        return error.reason, str(error)
    return found[:-1], lasting(found)


def test_a_proven_report_vouches_for_no_other_nonce_time_or_application() -> None:
    genuine = report()
    verify(genuine)
    for member, value in ((NONCE, b64u(bytes(32))), (TIMESTAMP, "95581178870535"), ("tcb", "other")):
        spoilt = changed(genuine, "payload", member, value=value)
        assert reason_of(lambda: verify(spoilt, challenge=None)) is Reason.BAD_SIGNATURE  # noqa: B023 - called at once
    other = report_payload(bytes(32))
    assert verify(report(other), challenge=bytes(32)).fields["timestamp"] == other["timestamp"]
    assert reason_of(lambda: verify(report(other))) is Reason.CHALLENGE_MISMATCH


def test_an_envelope_around_a_known_report_is_not_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def sent(challenge: bytes) -> bytes:
        return json.dumps({"report": report(report_payload(challenge)).decode(), "ima_log": None}).encode()

    verify(sent(CHALLENGE))
    monkeypatch.setattr(abi, "render", pytest.fail)
    assert verify(sent(bytes(32)), challenge=bytes(32)).challenge_verified


def test_what_is_known_of_an_application_is_said_of_no_other() -> None:
    known = verify(report())
    provisioned = ak_certificate(DRK, DRK_CERT, AK, bytes(32))
    assert verify(report(certificate=provisioned)).measurements == {**known.measurements, "qta_img": bytes(32).hex()}
    other = {**PAYLOAD, "uuid": "00000000-0000-0000-0000-000000000000"}
    assert verify(report(other)).fields == {**known.fields, "uuid": other["uuid"]}
    fewer = verify(report(), ca=CA[:1])
    assert ({*fewer.endorsements}, fewer.fields) == ({"ca/0"}, known.fields)
    assert verify(report()) == known


def test_a_certified_ak_that_is_known_is_judged_at_the_given_time_and_by_the_services_endorsed() -> None:
    data, late = certified(CERTIFIED.pem), lab.NOW + 31 * lab.DAY
    stranger = lab.Identity.root("another service")
    for _ in range(2):
        assert set(verify(data, ak_issuer=(SERVICE.pem,), now=lab.NOW).endorsements) == {"ak_issuer/0"}
        assert len(verify(data, ak_issuer=(stranger.pem, SERVICE.pem), now=lab.NOW).endorsements) == 2
        assert reason_of(lambda: verify(data, ak_issuer=(stranger.pem,), now=lab.NOW)) is Reason.BAD_CHAIN
        assert reason_of(lambda: verify(data, ak_issuer=(SERVICE.pem,), now=late)) is Reason.EXPIRED
