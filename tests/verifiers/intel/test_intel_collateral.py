"""Collateral: each part must be there, signed by whom it should be, current, and about this platform."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given, settings
from hypothesis import strategies as st
from intel_lab import CHALLENGE, NOW, collateral, pki, platform, prove, quote, refusal, td_body, verifier

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Endorsements, Evidence
from attest_pipeline.simulator.intel_pki import CURRENT_SVN, Identity, IntelPki, pem, sign_raw, tcb_level
from attest_pipeline.verifiers._intel.collateral import MAX_COLLATERAL
from attest_pipeline.verifiers._intel.documents import read_enclave_identity, read_tcb_info

Parts = dict[str, str]
PARTS = tuple(collateral("tdx"))


def changed(text: str, offset: int = -9) -> str:
    return text[:offset] + ("1" if text[offset] == "0" else "0") + text[offset:][1:]


def signed_by(signer: Identity, parts: Parts, *chain: Identity) -> Parts:
    """The parts, their TCB info signed by somebody else who shows that chain."""
    signature = sign_raw(signer.key, parts["tcb_info"].encode()).hex()
    return {**parts, "tcb_info_issuer_chain": pem(*chain), "tcb_info_signature": signature}


def test_a_platform_without_collateral_is_not_endorsed() -> None:
    judge = verifier("tdx")
    for items in ({}, {"collateral": ()}, {"collateral": (b"{}", b"{}")}):
        with pytest.raises(BadEvidence) as caught:
            judge._prove(judge._quote(Evidence("tdx", {"quote": quote("tdx")})), Endorsements(dict(items)), NOW)
        assert caught.value.reason is Reason.MISSING_ENDORSEMENT


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("value", [None, "", "zz", 5, "0", "{}", "[" * 100_000])
def test_collateral_with_a_part_missing_or_of_another_kind_is_refused(part: str, value: object) -> None:
    parts: dict[str, Any] = {**collateral("tdx"), part: value}
    if value is None:
        del parts[part]
    assert refusal("tdx", None, parts) is Reason.BAD_ENDORSEMENT


@pytest.mark.parametrize("document", [b"", b"null", b"[]", b"[" * 100_000, b"\xff", b'{"tcb_info": {}}'])
def test_bytes_that_are_no_collateral_are_refused(document: bytes) -> None:
    assert refusal("tdx", None, document) is Reason.BAD_ENDORSEMENT


def test_collateral_beyond_the_limit_is_refused() -> None:
    assert refusal("tdx", None, b" " * (MAX_COLLATERAL + 1)) is Reason.TOO_LARGE


@pytest.mark.parametrize("part", [part for part in PARTS if "chain" not in part])
def test_a_changed_part_is_refused(part: str) -> None:
    parts = collateral("tdx")
    offset = parts[part].index("20") if part in {"tcb_info", "qe_identity"} else -9
    assert refusal("tdx", None, {**parts, part: changed(parts[part], offset)}) is Reason.BAD_ENDORSEMENT


def test_the_text_is_signed_and_not_its_meaning() -> None:
    parts = collateral("tdx")
    assert refusal("tdx", None, {**parts, "tcb_info": parts["tcb_info"] + " "}) is Reason.BAD_ENDORSEMENT


def test_of_a_part_given_twice_the_signature_covers_the_one_that_is_read() -> None:
    parts = collateral("tdx", {"tcbLevels": [tcb_level("tdx", CURRENT_SVN, "OutOfDate")]})
    lie = parts["tcb_info"].replace("OutOfDate", "UpToDate")
    for first, second in ((lie, parts["tcb_info"]), (parts["tcb_info"], lie)):
        text = json.dumps({**parts, "tcb_info": first})[:-1] + f', "tcb_info": {json.dumps(second)}}}'
        try:
            assert prove("tdx", None, text.encode()).tcb_status == "OutOfDate"
        except BadEvidence as error:
            assert error.reason is Reason.BAD_ENDORSEMENT  # noqa: PT017 - which one is read is up to the parser


@pytest.mark.parametrize(
    "member", ["issueDate", "nextUpdate", "tcbEvaluationDataNumber", "fmspc", "tcbLevels", "pceId"]
)
def test_signed_tcb_info_must_have_every_member(member: str) -> None:
    assert refusal("tdx", None, collateral("tdx", {member: None})) is Reason.BAD_ENDORSEMENT


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"tcbType": 1},
        {"id": "TPM"},
        {"issueDate": "2026-11-23T00:00:00"},
        {"issueDate": 5},
        {"fmspc": "zz"},
        {"fmspc": 5},
        {"tcbEvaluationDataNumber": -1},
        {"tcbEvaluationDataNumber": "20"},
        {"tcbLevels": []},
        {"tcbLevels": [5]},
        {"tcbLevels": [{**tcb_level("tdx", 5, "UpToDate"), "tcbStatus": "Splendid"}]},
        {"tcbLevels": [{**tcb_level("tdx", 5, "UpToDate"), "tcb": 5}]},
        {"tcbLevels": [{**tcb_level("tdx", 5, "UpToDate"), "tcb": {"pcesvn": 1, "sgxtcbcomponents": [{"svn": 1}]}}]},
        {"tcbLevels": [{**tcb_level("tdx", 5, "UpToDate"), "tcb": {"pcesvn": 1}}]},
        {"tcbLevels": [{**tcb_level("tdx", 5, "UpToDate"), "tcb": {"pcesvn": 1, "sgxtcbcomp01svn": 256}}]},
        {"tdxModule": None},
        {"tdxModule": {}},
    ],
)
def test_signed_tcb_info_of_another_form_is_refused(change: dict[str, object]) -> None:
    data = None
    if "tdxModule" in change:
        from_version_0 = bytes([CURRENT_SVN, 0]).ljust(16, bytes([CURRENT_SVN]))
        data = quote("tdx", td_body(svn=from_version_0))
    assert refusal("tdx", data, collateral("tdx", change)) is Reason.BAD_ENDORSEMENT


@pytest.mark.parametrize(
    "change", [{"version": 1}, {"id": "QVE"}, {"mrsigner": 5}, {"tcbLevels": []}, {"isvprodid": "2"}]
)
def test_a_signed_qe_identity_of_another_form_is_refused(change: dict[str, object]) -> None:
    assert refusal("tdx", None, collateral("tdx", None, change)) is Reason.BAD_ENDORSEMENT


@pytest.mark.parametrize("read", [read_tcb_info, read_enclave_identity])
def test_a_document_that_is_no_utf8_is_refused(read: Callable[[bytes], object]) -> None:
    with pytest.raises(BadEvidence) as refused:
        read(b'{"\xed\xa0\x80":1}')
    assert refused.value.reason is Reason.BAD_ENDORSEMENT


def test_malformed_documents_of_another_project_are_refused_even_if_signed(vectors: Path) -> None:
    """Open Enclave's negative TCB infos and QE identities, signed here so that the parser sees them."""
    files = sorted((vectors / "evidence/negative/dcap").glob("oe_*_v?/*.json"))
    assert len(files) > 50
    for file in files:
        part = "tcb_info" if "tcbinfo" in file.parent.name else "qe_identity"
        text = file.read_text(errors="replace")
        parts = {part: text, f"{part}_signature": sign_raw(pki().signer.key, text.encode()).hex()}
        assert refusal("tdx", None, collateral("tdx") | parts) is Reason.BAD_ENDORSEMENT, file.name


@pytest.mark.parametrize(
    ("tcb_info", "identity"),
    [
        ({"fmspc": "00806f050000"}, None),
        ({"pceId": "0001"}, None),
        ({"id": "SGX"}, None),
        (None, {"id": "QE"}),
    ],
)
def test_collateral_of_another_platform_or_tee_is_refused(
    tcb_info: dict[str, object] | None, identity: dict[str, object] | None
) -> None:
    assert refusal("tdx", None, collateral("tdx", tcb_info, identity)) is Reason.BAD_ENDORSEMENT
    assert refusal("sgx", None, collateral("tdx")) is Reason.BAD_ENDORSEMENT


@pytest.mark.parametrize("document", [0, 1])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"issueDate": "2026-11-23T12:00:01Z"}, Reason.NOT_YET_VALID),
        ({"nextUpdate": "2026-11-23T11:59:59Z"}, Reason.EXPIRED),
        ({"issueDate": "2026-11-23T12:00:00Z", "nextUpdate": "2026-11-23T12:00:00Z"}, None),
    ],
)
def test_each_document_holds_from_its_issue_to_its_next_update(
    document: int, change: dict[str, object], reason: Reason | None
) -> None:
    parts = collateral("tdx", *((change, None) if document == 0 else (None, change)))
    if reason is None:
        assert prove("tdx", None, parts).tcb_status == "UpToDate"
    else:
        assert refusal("tdx", None, parts) is reason


def test_collateral_that_was_good_when_first_seen_is_refused_when_it_has_run_out() -> None:
    data, parts = quote("tdx"), collateral("tdx")
    assert prove("tdx", data, parts).tcb_status == "UpToDate"
    assert refusal("tdx", data, parts, now=NOW + timedelta(days=40)) is Reason.EXPIRED
    assert refusal("tdx", data, parts, now=NOW - timedelta(days=2)) is Reason.NOT_YET_VALID
    assert prove("tdx", data, parts).tcb_status == "UpToDate"


@pytest.mark.parametrize(
    "part", ["root_ca_crl", "pck_crl", "tcb_info_issuer_chain", "qe_identity_issuer_chain", "pck_crl_issuer_chain"]
)
def test_every_crl_and_signing_certificate_must_be_current(part: str) -> None:
    """The same root and keys, but that part is of an Intel that stopped a year ago."""
    stale = IntelPki(NOW - timedelta(days=365))
    stale.root, stale.authority, stale.signer = pki().root, pki().authority, pki().signer
    parts = collateral("tdx")
    if part == "pck_crl_issuer_chain":
        authority = stale.issue("Simulated SGX PCK Platform CA", pki().root, authority=True)
        parts |= {part: pem(authority, pki().root), "pck_crl": pki().crl(authority).hex()}
    elif "chain" in part:
        signer = stale.issue("Simulated SGX TCB Signing", pki().root)
        text = part.removesuffix("_issuer_chain")
        parts |= {part: pem(signer, pki().root), f"{text}_signature": sign_raw(signer.key, parts[text].encode()).hex()}
    else:
        parts[part] = stale.crl(pki().root if part == "root_ca_crl" else pki().authority).hex()
    assert refusal("tdx", None, parts) is Reason.EXPIRED


def root_crl(*revoked: x509.Certificate) -> Parts:
    return {"root_ca_crl": pki().crl(pki().root, revoked).hex()}


def test_a_revoked_pck_is_refused() -> None:
    crl = pki().crl(pki().authority, [platform().pck.certificate]).hex()
    assert refusal("tdx", None, {**collateral("tdx"), "pck_crl": crl}) is Reason.REVOKED


def test_a_pck_under_a_revoked_ca_is_refused() -> None:
    assert refusal("tdx", None, collateral("tdx") | root_crl(pki().authority.certificate)) is Reason.REVOKED


def test_collateral_of_a_revoked_signer_is_refused() -> None:
    assert refusal("tdx", None, collateral("tdx") | root_crl(pki().signer.certificate)) is Reason.REVOKED


def test_a_ca_issued_anew_does_not_hide_that_the_one_in_the_quote_is_revoked() -> None:
    """Same CA key, two certificates: the collateral shows the good one, the quote was made under the revoked one."""
    old = pki().authority.certificate
    builder = x509.CertificateBuilder(old.issuer, old.subject, old.public_key(), 4711, pki().start, pki().end)
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    fresh = Identity(pki().authority.key, builder.sign(pki().root.key, hashes.SHA256()))
    parts = {**collateral("tdx"), "pck_crl_issuer_chain": pem(fresh, pki().root)}
    assert prove("tdx", None, parts).tcb_status == "UpToDate"
    assert refusal("tdx", None, {**parts, **root_crl(old)}) is Reason.REVOKED


@pytest.mark.parametrize("part", ["pck_crl", "root_ca_crl"])
def test_a_crl_of_the_wrong_ca_is_refused(part: str) -> None:
    issuer = pki().root if part == "pck_crl" else pki().authority
    assert refusal("tdx", None, {**collateral("tdx"), part: pki().crl(issuer).hex()}) is Reason.BAD_ENDORSEMENT


def test_a_pck_crl_of_another_pck_ca_says_nothing_of_this_pck() -> None:
    other = pki().issue("Simulated SGX PCK Processor CA", pki().root, authority=True)
    parts = {"pck_crl_issuer_chain": pem(other, pki().root), "pck_crl": pki().crl(other).hex()}
    assert refusal("tdx", None, {**collateral("tdx"), **parts}) is Reason.BAD_ENDORSEMENT


def test_collateral_of_another_root_is_refused() -> None:
    other = IntelPki(NOW)
    assert refusal("tdx", None, other.collateral(other.tcb_info("tdx"), other.qe_identity("tdx"))) is (
        Reason.BAD_ENDORSEMENT
    )


def test_the_parts_of_collateral_must_lead_to_one_root() -> None:
    other = IntelPki(NOW)
    parts = signed_by(other.signer, collateral("tdx"), other.signer, other.root)
    assert refusal("tdx", None, parts) is Reason.BAD_ENDORSEMENT


def test_a_pck_cannot_sign_collateral() -> None:
    impostor = pki().issue("SGX TCB Signing", pki().authority)
    parts = signed_by(impostor, collateral("tdx"), impostor, pki().authority, pki().root)
    assert refusal("tdx", None, parts) is Reason.BAD_ENDORSEMENT


def test_a_certificate_of_the_root_that_is_no_tcb_signer_cannot_sign_collateral() -> None:
    authority = pki().authority
    parts = signed_by(authority, collateral("tdx"), authority, pki().root)
    assert refusal("tdx", None, parts) is Reason.BAD_ENDORSEMENT


def test_the_issuer_chain_may_stand_in_any_order() -> None:
    parts = collateral("tdx")
    backwards = {name: pem(pki().root, pki().signer) for name in ("tcb_info_issuer_chain", "qe_identity_issuer_chain")}
    assert prove("tdx", None, {**parts, **backwards}).tcb_status == "UpToDate"


def test_an_operator_may_ask_for_a_minimum_evaluation_number() -> None:
    endorsements = Endorsements({"collateral": (json.dumps(collateral("tdx")).encode(),)})
    for minimum in (20, 21):
        judge = verifier("tdx", minimum_evaluation=minimum)
        quoted = judge._quote(Evidence("tdx", {"quote": quote("tdx")}))
        if minimum == 20:
            assert judge._prove(quoted, endorsements, NOW).collateral.tcb_info.tcb_evaluation_data_number == 20
        else:
            with pytest.raises(BadEvidence) as caught:
                judge._prove(quoted, endorsements, NOW)
            assert caught.value.reason is Reason.BAD_ENDORSEMENT


def test_tcb_info_of_version_2_is_judged() -> None:
    old = {f"sgxtcbcomp{n:02}svn": CURRENT_SVN for n in range(1, 17)} | {"pcesvn": 13}
    levels = [{"tcb": old, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": "SWHardeningNeeded"}]
    document = collateral("sgx", {"version": 2, "id": None, "tcbLevels": levels})
    assert prove("sgx", None, document).tcb_status == "SWHardeningNeeded"


def test_the_claims_name_the_collateral_by_its_digest() -> None:
    text = json.dumps(collateral("tdx")).encode()
    assert prove("tdx", None, text).endorsements == {"collateral": hashlib.sha256(text).hexdigest()}


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PARTS), st.integers(0, 6000), st.characters(codec="utf-8"))
def test_any_character_of_collateral_changed_is_refused_or_changes_nothing(part: str, at: int, char: str) -> None:
    parts, data = collateral("tdx"), quote("tdx")
    text = parts[part]
    at %= len(text)
    try:
        claims = prove("tdx", data, {**parts, part: text[:at] + char + text[at + 1 :]}, challenge=CHALLENGE)
    except BadEvidence as error:
        assert error.reason is Reason.BAD_ENDORSEMENT  # noqa: PT017 - white space of PEM and letter case do not matter
    else:
        assert claims.fields == prove("tdx", data, parts).fields
