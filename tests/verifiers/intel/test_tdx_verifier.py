"""What is TDX's own: attributes, module identity, event log."""

import hashlib
import struct
from pathlib import Path

import pytest
from intel_lab import MODULE_1, collateral, prove, quote, refusal, td_body
from verifiers_conformance import cases, inputs, load_runner

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Evidence
from attest_pipeline.simulator.intel_pki import svn_levels, tdx_module
from attest_pipeline.simulator.intel_quote import td_report
from attest_pipeline.verifiers.tdx import TdxVerifier

SEPT_VE_DISABLE = 1 << 28


def with_attributes(bits: int) -> dict[str, object]:
    claims = prove("tdx", quote("tdx", td_body(attributes=bits.to_bytes(8, "little"))))
    return {"debug": claims.debug, **claims.fields}


@pytest.mark.parametrize("bit", range(8))
def test_any_bit_that_lets_the_host_look_inside_is_debug(bit: int) -> None:
    assert with_attributes(SEPT_VE_DISABLE | 1 << bit)["debug"] is True


@pytest.mark.parametrize(
    ("bit", "name"),
    [(29, "migratable"), (30, "pks"), (31, "key_locker"), (63, "perfmon"), (8, "reserved_tdattributes")],
)
def test_each_attribute_that_a_policy_asks_for_has_its_claim(bit: int, name: str) -> None:
    names = {"migratable", "pks", "key_locker", "perfmon", "reserved_tdattributes"}
    fields = with_attributes(SEPT_VE_DISABLE | 1 << bit)
    assert {asked for asked in names if fields[asked]} == {name}
    assert (fields["debug"], fields["sept_ve_disable"]) == (False, True)


def test_a_td_without_sept_ve_disable_is_proven_and_says_so() -> None:
    fields = with_attributes(0)
    assert (fields["sept_ve_disable"], fields["tdattributes"]) == (False, "00" * 8)


def test_a_service_td_is_proven_and_reported() -> None:
    bound = prove("tdx", quote("tdx", td_body(extra=MODULE_1 + b"\x01" * 48), version=5))
    unbound = prove("tdx", quote("tdx", td_body(extra=MODULE_1 + bytes(48)), version=5))
    assert (bound.fields["service_td"], unbound.fields["service_td"]) == (True, False)


def test_measurements_are_those_of_the_report() -> None:
    measurements = prove("tdx").measurements
    assert measurements["mrtd"] == "11" * 48
    assert [measurements[f"rtmr{index}"] for index in range(4)] == [f"{index:02x}" * 48 for index in range(4)]


# ── TDX module ────────────────────────────────────────────────────────────────────────────────────────────────────────
def body_with(offset: int, value: bytes) -> bytes:
    body = td_body()
    return quote("tdx", body[:offset] + value + body[offset + len(value) :])


def test_a_module_that_intel_did_not_sign_is_refused() -> None:
    assert refusal("tdx", body_with(64, b"\1")) is Reason.IDENTITY_MISMATCH


def test_a_module_with_attributes_is_refused_even_if_they_are_signed() -> None:
    loose = {**tdx_module(1, svn_levels()), "attributes": "01" + "00" * 7}
    document = collateral("tdx", {"tdxModuleIdentities": [loose]})
    assert refusal("tdx", body_with(112, b"\1"), document) is Reason.IDENTITY_MISMATCH
    assert refusal("tdx", body_with(112, b"\1")) is Reason.IDENTITY_MISMATCH
    assert refusal("tdx", None, document) is Reason.IDENTITY_MISMATCH


def test_a_module_version_without_identity_or_level_is_not_endorsed() -> None:
    assert refusal("tdx", None, collateral("tdx", {"tdxModuleIdentities": None})) is Reason.TCB_NOT_FOUND
    assert refusal("tdx", body_with(1, b"\2")) is Reason.TCB_NOT_FOUND
    assert refusal("tdx", body_with(0, b"\0")) is Reason.TCB_NOT_FOUND


def test_a_module_is_found_whatever_the_case_of_its_id() -> None:
    lower = {**tdx_module(1, svn_levels()), "id": "tdx_01"}
    claims = prove("tdx", None, collateral("tdx", {"tdxModuleIdentities": [tdx_module(3, svn_levels()), lower]}))
    assert claims.fields["tdx_module_tcb_status"] == "UpToDate"


def test_tdx_levels_of_sgx_alone_do_not_match() -> None:
    level = {"tcb": {"sgxtcbcomponents": [{"svn": 0}] * 16, "pcesvn": 0}, "tcbDate": "", "tcbStatus": "UpToDate"}
    assert refusal("tdx", None, collateral("tdx", {"tcbLevels": [level]})) is Reason.TCB_NOT_FOUND


def test_an_old_module_makes_the_whole_out_of_date() -> None:
    claims = prove("tdx", body_with(0, b"\3"))
    fields = claims.fields
    assert (claims.tcb_status, fields["platform_tcb_status"], fields["tdx_module_tcb_status"]) == (
        "OutOfDate", "UpToDate", "OutOfDate",
    )  # fmt: skip


def test_a_quote_that_shows_an_unknown_loaded_module_is_not_endorsed() -> None:
    old = bytes([3, 1]).ljust(16, b"\5")
    data = quote("tdx", td_body(svn=old, extra=bytes([5, 7]).ljust(16, b"\5") + bytes(48)), version=5)
    assert refusal("tdx", data) is Reason.TCB_NOT_FOUND


# ── event log ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def ccel(*events: tuple[int, bytes]) -> bytes:
    """A TCG2 log with a SHA-384 bank that extends those registers with those digests."""
    spec = b"Spec ID Event03\0" + struct.pack("<IBBBBI", 0, 0, 2, 0, 2, 1) + struct.pack("<HH", 0x0C, 48) + b"\0"
    log = struct.pack("<II", 0, 3) + bytes(20) + struct.pack("<I", len(spec)) + spec
    for register, digest in events:
        log += struct.pack("<III", register, 1, 1) + struct.pack("<H", 0x0C) + digest + struct.pack("<I", 0)
    return log


def td_with(rtmrs: tuple[bytes, ...]) -> bytes:
    body = td_report(svn=MODULE_1, attributes=bytes(8), mrtd=bytes(48), rtmrs=rtmrs, report_data=bytes(64))
    return quote("tdx", body)


def test_a_log_that_replays_to_the_rtmrs_is_named_for_each_register_it_explains() -> None:
    once = hashlib.sha384(bytes(48) + b"\x07" * 48).digest()
    data = td_with((once, bytes(48), once, b"\x99" * 48))
    claims = prove("tdx", data, log=ccel((1, b"\x07" * 48), (3, b"\x07" * 48)), challenge=None)
    assert [check for check in claims.checks if "event_log" in check] == ["event_log_rtmr0", "event_log_rtmr2"]
    assert (claims.fields["event_log_rtmrs"], claims.fields["ccel_registers"]) == ("0,2", "1,3")
    assert [event.register for log in claims.logs for event in log.events] == [1, 3]
    without = prove("tdx")
    assert (without.fields["event_log_rtmrs"], without.logs, "ccel_events" in without.fields) == ("", (), False)


@pytest.mark.parametrize("register", [1, 2, 3, 4])
def test_a_log_that_replays_to_something_else_is_refused(register: int) -> None:
    once = hashlib.sha384(bytes(48) + b"\x07" * 48).digest()
    data = td_with((once,) * 4)
    good = [(index, b"\x07" * 48) for index in (1, 2, 3, 4) if index != register]
    assert prove("tdx", data, log=ccel(*good), challenge=None).tcb_status == "UpToDate"
    assert refusal("tdx", data, log=ccel(*good, (register, b"\x08" * 48)), challenge=None) is Reason.LOG_MISMATCH


def test_a_log_that_explains_no_rtmr_is_no_log_of_this_td() -> None:
    assert refusal("tdx", log=ccel()) is Reason.LOG_MISMATCH
    assert refusal("tdx", log=ccel((0, bytes(48)), (5, bytes(48)))) is Reason.LOG_MISMATCH


@pytest.mark.parametrize("register", [0, 5, 2**32 - 1])
def test_a_log_of_a_register_that_a_td_does_not_have_is_refused(register: int) -> None:
    data = td_with((hashlib.sha384(bytes(48) + b"\x07" * 48).digest(),) * 4)
    log = ccel((1, b"\x07" * 48), (register, b"\x07" * 48))
    assert refusal("tdx", data, log=log, challenge=None) is Reason.LOG_MISMATCH


@pytest.mark.parametrize("log", [b"", b"garbage", bytes(100)])
def test_a_log_that_is_none_is_malformed(log: bytes) -> None:
    assert refusal("tdx", log=log) is Reason.MALFORMED


def test_the_log_of_a_real_td_replays_and_says_nothing_of_rtmr3(conformance: Path) -> None:
    case = next(case for case in cases(conformance, "tdx") if case["id"] == "tdx-v4_gcp_cos113-log-v4_gcp_cos113.ccel")
    request = load_runner(conformance).request(case, str(conformance.parent / "vectors"))
    evidence, endorsements, challenge, now = inputs(request)
    claims = TdxVerifier({}).verify(evidence, endorsements, challenge=challenge, now=now)
    assert [check for check in claims.checks if "event_log" in check] == [f"event_log_rtmr{n}" for n in range(3)]
    assert claims.measurements["rtmr3"] == "00" * 48
    (log,) = claims.logs
    assert {"Calling EFI Application from Boot Option"} <= {one.text for one in log.events if one.text_authenticated}
    other = Evidence("tdx", {"quote": evidence.items["quote"], "event_log": b"\0" * 60})
    with pytest.raises(BadEvidence):
        TdxVerifier({}).verify(other, endorsements, challenge=challenge, now=now)
