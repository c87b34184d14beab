"""Firmware lists of Ascend NPUs under both kinds of hosts: what binds them, and what must not pass."""

import contextlib
import json
import random
from datetime import timedelta
from pathlib import Path

import pytest
from ascend_lab import (
    AK,
    AK_CERT,
    AUTHORITY,
    BAD,
    BINDINGS,
    DIRECTORY,
    DOCUMENTS,
    ENROLLED,
    FIRMWARE,
    GOOD,
    NOW,
    PCRS,
    VERIFIER,
    Data,
    bound,
    component,
    components_of,
    healthy,
    list_of,
    quote_over,
    reason_of,
    refusal,
    register_of,
    report_over,
    verify,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from ima_lab import ima_entry
from tpm_lab import CHALLENGE, attest, flipped, pcr_json, sign, values

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Endorsements, Evidence
from attest_pipeline.simulator import itrustee
from attest_pipeline.verifiers.ascend_npu import AscendNpuVerifier
from attest_pipeline.verifiers.itrustee import ItrusteeVerifier
from attest_pipeline.verifiers.tpm import TpmVerifier


# ── what is proven ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("binding", BINDINGS)
def test_every_component_is_a_measurement_under_its_path(binding: str) -> None:
    claims = verify(healthy(binding), binding)
    firmware = {name: value for name, value in claims.measurements.items() if name.startswith("firmware:")}
    assert firmware == {
        f"firmware:{DIRECTORY}/ascend_boot.bin": GOOD.hex(),
        f"firmware:{DIRECTORY}/ascend_task.bin": "08" * 32,
    }
    assert claims.tee == "ascend-npu"
    assert (claims.fields["binding"], claims.fields["firmware_components"]) == (binding, 2)
    assert {name: claims.fields[name] for name in claims.measurements} == claims.measurements
    assert claims.challenge_verified
    assert "firmware_list" in claims.checks


@pytest.mark.parametrize("binding", BINDINGS)
def test_the_host_is_proven_as_its_own_verifier_proves_it(binding: str) -> None:
    items, documents = healthy(binding), Endorsements(DOCUMENTS[binding])
    roots = {"huawei": (AUTHORITY.root.spki,)}
    if binding == "itrustee":
        renamed = {"report": items["report"], "ima_log": items["firmware_log"]}
        host = ItrusteeVerifier(roots).verify(Evidence("x", renamed), documents, challenge=CHALLENGE, now=NOW)
    else:
        host = TpmVerifier(roots).verify(Evidence("x", items), documents, challenge=CHALLENGE, now=NOW)
    claims = verify(items, binding)
    assert (claims.hardware_id, claims.signer, claims.endorsements) == (
        host.hardware_id,
        host.signer,
        host.endorsements,
    )
    assert host.measurements.items() <= claims.measurements.items()
    assert set(host.checks) <= set(claims.checks)
    assert {"itrustee": "ima-log", "tpm": "ima_log"}[binding] in claims.checks
    assert (claims.debug, claims.tcb_status) == (None, None)


def test_the_same_documents_are_asked_for_as_for_the_host() -> None:
    for binding, verifier in (("itrustee", ItrusteeVerifier({})), ("tpm", TpmVerifier({}))):
        evidence = Evidence("x", healthy(binding))
        assert VERIFIER.endorsements_for(evidence) == verifier.endorsements_for(evidence) != ()


def test_what_secgears_agent_sends_is_such_evidence() -> None:
    log = list_of(FIRMWARE)
    envelope = json.dumps({"report": report_over(log).decode(), "ima_log": list(log)}).encode()
    assert verify({"report": envelope}, "itrustee") == verify(healthy("itrustee"), "itrustee")
    assert refusal({"report": envelope, "firmware_log": log}, "itrustee") is Reason.MALFORMED


@pytest.mark.parametrize(
    ("name", "register", "components"),
    [
        ("imang.bin", "5c9e6edb1c8e04b26852299783adcd93d5bbb81ed0391021aeff6618c9f1e142", 2),
        ("gta_ima_sha256tmpl.bin", "8c4fb94d4d15f6069aad176dace62a2ec0720ae864473d6419978da5b168ce11", 1),
    ],
)
def test_a_real_list_of_a_kernel_is_read_and_bound(vectors: Path, name: str, register: str, components: int) -> None:
    """Real lists, which note SHA-1 and SHA-256; no list of a host with NPUs is public, and no boot of these PCRs."""
    log = (vectors / "secgear/ima_uefi" / name).read_bytes()
    on_itrustee = verify(bound("itrustee", log, b""), "itrustee")
    on_tpm = verify(quote_over(bytes.fromhex(register), values()) | {"firmware_log": log}, "tpm")
    assert components_of(on_itrustee) == components_of(on_tpm) - {"firmware:boot_aggregate"}
    assert len(components_of(on_itrustee)) == on_itrustee.fields["firmware_components"] == components


def test_under_a_tpm_the_boot_aggregate_is_exempt_only_if_quoted_pcrs_bear_it_out() -> None:
    log, register = list_of(FIRMWARE), register_of(FIRMWARE)
    assert "ima_boot_aggregate" in verify(healthy("tpm"), "tpm").checks
    unquoted = verify(quote_over(register, values()) | {"firmware_log": log}, "tpm")
    assert (unquoted.fields["firmware_components"], unquoted.fields["ima_boot_aggregate"]) == (3, False)
    other = quote_over(register, PCRS | {7: BAD}) | {"firmware_log": log}
    assert refusal(other, "tpm") is Reason.LOG_MISMATCH


@pytest.mark.parametrize("binding", BINDINGS)
def test_without_a_challenge_the_claims_say_so_and_the_list_is_bound_all_the_same(binding: str) -> None:
    claims = verify(healthy(binding), binding, challenge=None)
    assert not claims.challenge_verified
    assert "challenge" not in claims.checks
    other = healthy(binding) | {"firmware_log": list_of(FIRMWARE[:-1])}
    assert reason_of(lambda: verify(other, binding, challenge=None)) is Reason.LOG_MISMATCH


# ── what binds the list ───────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize(
    "data",
    [
        FIRMWARE[:-1],
        FIRMWARE[1:],
        (*FIRMWARE, component("more.bin")),
        (FIRMWARE[0], FIRMWARE[2], FIRMWARE[1]),
        (*FIRMWARE[:-1], component("ascend_task.bin", BAD)),
        (*FIRMWARE[:-1], component("renamed.bin", b"\x08" * 32)),
    ],
    ids=["cut", "beheaded", "longer", "reordered", "another digest", "another path"],
)
def test_another_list_than_the_hosts_is_a_mismatch(binding: str, data: Data) -> None:
    assert refusal(healthy(binding) | {"firmware_log": list_of(data)}, binding) is Reason.LOG_MISMATCH


@pytest.mark.parametrize("binding", BINDINGS)
def test_no_flipped_bit_of_the_list_passes(binding: str) -> None:
    items = healthy(binding)
    for at in range(len(items["firmware_log"])):
        for bit in range(8):
            with pytest.raises(BadEvidence):
                verify(items | {"firmware_log": flipped(items["firmware_log"], at, 1 << bit)}, binding)


@pytest.mark.parametrize(("binding", "item"), [("tpm", "attest"), ("tpm", "signature"), ("itrustee", "report")])
def test_no_flipped_byte_of_the_hosts_evidence_passes(binding: str, item: str) -> None:
    """Every byte of a quote, every seventh of a report, whose white space outside the payload is not signed."""
    items = healthy(binding)
    for at in range(0, len(items[item]), 7 if item == "report" else 1):
        if items[item][at : at + 1].isspace():
            continue
        with pytest.raises(BadEvidence):
            verify(items | {item: flipped(items[item], at)}, binding)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_any_other_bytes_are_refused_as_bad_evidence(log: bytes) -> None:
    assert refusal(bound("itrustee", log, bytes(32)), "itrustee") in {
        Reason.EMPTY,
        Reason.MALFORMED,
        Reason.LOG_MISMATCH,
    }


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_whatever_list_a_host_vouches_for_nothing_but_bad_evidence_is_raised(source: random.Random) -> None:
    log = bytearray(list_of(FIRMWARE))
    for _ in range(source.randint(1, 4)):
        log[source.randrange(len(log))] = source.randrange(256)
    del log[source.randint(1, len(log)) :]
    with contextlib.suppress(BadEvidence):
        verify(bound("itrustee", bytes(log), bytes(32)), "itrustee")


@pytest.mark.parametrize("binding", BINDINGS)
def test_evidence_without_the_list_proves_no_npu(binding: str) -> None:
    items = {name: data for name, data in healthy(binding).items() if name != "firmware_log"}
    assert refusal(items, binding) is Reason.EMPTY
    assert refusal(items | {"firmware_log": b""}, binding) is Reason.EMPTY


def test_a_report_whose_nonce_is_the_challenge_alone_binds_no_list() -> None:
    payload = itrustee.report_payload(CHALLENGE)
    report = itrustee.encode_report(payload, itrustee.sign(AK, payload), AK_CERT)
    assert refusal({"report": report, "firmware_log": list_of(FIRMWARE)}, "itrustee") is Reason.LOG_MISMATCH


def test_a_quote_without_pcr_10_binds_no_list() -> None:
    message = attest(values())
    items = {"attest": message, "signature": sign(ENROLLED, message), "pcrs": pcr_json(values())}
    assert refusal(items | {"firmware_log": list_of(FIRMWARE)}, "tpm") is Reason.LOG_MISMATCH


def test_an_entry_of_another_pcr_is_a_mismatch_under_a_tpm_and_bound_as_it_is_by_a_nonce() -> None:
    """As secGear has it: iTrustee has no PCRs, so that the number says nothing."""
    log = list_of(FIRMWARE) + ima_entry(component("more.bin"), register=11)
    assert refusal(bound("tpm", log, register_of(FIRMWARE)), "tpm") is Reason.LOG_MISMATCH
    assert verify(bound("itrustee", log, b""), "itrustee").fields["firmware_components"] == 3


@pytest.mark.parametrize("binding", BINDINGS)
def test_the_hosts_challenge_must_be_the_whole_challenge(binding: str) -> None:
    for challenge in (b"", CHALLENGE[:-1], CHALLENGE + b"\0", bytes(32)):
        with pytest.raises(BadEvidence, match="challenge_mismatch"):
            verify(healthy(binding), binding, challenge=challenge)


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_host_that_nobody_endorses_vouches_for_nothing(binding: str) -> None:
    evidence = Evidence("ascend-npu", healthy(binding))
    without = reason_of(lambda: VERIFIER.verify(evidence, Endorsements({}), challenge=CHALLENGE, now=NOW))
    assert without is Reason.MISSING_ENDORSEMENT


def test_the_root_of_one_kind_of_host_is_none_of_the_other() -> None:
    strict, documents = AscendNpuVerifier({"tpm": (AUTHORITY.root.spki,)}), Endorsements(DOCUMENTS["itrustee"])
    evidence = Evidence("ascend-npu", healthy("itrustee"))
    found = reason_of(lambda: strict.verify(evidence, documents, challenge=CHALLENGE, now=NOW))
    assert found is Reason.UNTRUSTED_ROOT


def test_the_hosts_chain_is_judged_at_the_given_time() -> None:
    late = NOW + timedelta(days=31)
    assert reason_of(lambda: verify(healthy("itrustee"), "itrustee", now=late)) is Reason.EXPIRED


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (healthy("tpm") | healthy("itrustee"), Reason.MALFORMED),
        ({"firmware_log": list_of(FIRMWARE), "signature": b"x", "pcrs": b"{}"}, Reason.EMPTY),
    ],
    ids=["two", "none"],
)
def test_evidence_names_one_host_and_no_more(items: dict[str, bytes], expected: Reason) -> None:
    assert refusal(items, "tpm") is expected
    assert reason_of(lambda: VERIFIER.endorsements_for(Evidence("x", items))) is expected
