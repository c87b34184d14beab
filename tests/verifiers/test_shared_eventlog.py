"""Event logs: real ones replay, hostile ones end as BadEvidence."""

import base64
import contextlib
import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest_pipeline import gm
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import LoggedEvent, LogName
from attest_pipeline.verifiers._shared.eventlog.reader import MAX_EVENTS, MAX_LOG
from attest_pipeline.verifiers._shared.eventlog.replay import explain, log_fields
from attest_pipeline.verifiers._shared.eventlog.tcg2 import read_tcg2

SHA1, SHA256, SHA384 = 0x04, 0x0B, 0x0C


def replayed(log: bytes, algorithm: str) -> Mapping[int, bytes]:
    return read_tcg2(log, algorithm).registers


def header(*banks: tuple[int, int], signature: bytes = b"Spec ID Event03\0") -> bytes:
    body = signature + bytes(8) + struct.pack("<I", len(banks))
    body += b"".join(struct.pack("<HH", *bank) for bank in banks) + b"\0"
    return struct.pack("<II20xI", 0, 3, len(body)) + body


def event(register: int, *digests: tuple[int, bytes], kind: int = 13, data: bytes = b"event") -> bytes:
    listed = b"".join(struct.pack("<H", algorithm) + digest for algorithm, digest in digests)
    return struct.pack("<III", register, kind, len(digests)) + listed + struct.pack("<I", len(data)) + data


HEADER = header((SHA256, 32))
EVENT = event(1, (SHA256, b"\x11" * 32))
EXTENDED = hashlib.sha256(bytes(32) + b"\x11" * 32).digest()


def reason_of(log: bytes, algorithm: str = "sha256") -> Reason:
    with pytest.raises(BadEvidence) as caught:
        replayed(log, algorithm)
    return caught.value.reason


def test_a_real_ccel_replays_to_the_registers_of_its_tdx_quote(vectors: Path) -> None:
    quote = (vectors / "evidence/tdx/v4_gcp_cos113.bin").read_bytes()
    found = replayed((vectors / "evidence/tdx/v4_gcp_cos113.ccel.bin").read_bytes(), "sha384")
    assert dict(found) == {i + 1: quote[48 + 328 + 48 * i :][:48] for i in range(3)}


def test_a_log_in_a_buffer_filled_with_0xff_ends_at_its_end_mark(vectors: Path) -> None:
    log = (vectors / "secgear/ima_uefi/gta_ccel.bin").read_bytes()
    assert log.endswith(b"\xff" * 8)
    assert {register: value.hex()[:8] for register, value in replayed(log, "sha256").items()} == {
        1: "e3579705",
        2: "646fdfc8",
        3: "6cfeb56c",
    }


def test_a_real_log_that_was_cut_is_malformed(vectors: Path) -> None:
    assert reason_of((vectors / "evidence/tdx/v4_debug_td_alibaba.ccel.bin").read_bytes(), "sha384") is Reason.MALFORMED


@pytest.mark.parametrize("fill", [b"", b"\0" * 3, b"\0" * 4096, b"\xff" * 4096])
def test_fill_behind_the_last_event_changes_nothing(fill: bytes) -> None:
    assert replayed(HEADER + EVENT + fill, "sha256") == {1: EXTENDED}


def test_an_event_hidden_behind_the_end_mark_is_malformed() -> None:
    assert reason_of(HEADER + EVENT + b"\xff" * 8 + EVENT) is Reason.MALFORMED


def test_an_event_of_no_action_extends_nothing() -> None:
    assert replayed(HEADER + event(1, (SHA256, b"\x22" * 32), kind=3) + EVENT, "sha256") == {1: EXTENDED}


def test_each_bank_replays_with_its_own_digests() -> None:
    log = header((SHA256, 32), (SHA384, 48)) + event(2, (SHA384, b"\x33" * 48), (SHA256, b"\x11" * 32))
    assert replayed(log, "sha256") == {2: EXTENDED}
    assert replayed(log, "sha384") == {2: hashlib.sha384(bytes(48) + b"\x33" * 48).digest()}


@pytest.mark.parametrize(
    "log",
    [
        b"",
        HEADER[:-3],
        header((SHA256, 32), signature=b"Spec ID Event02\0"),
        struct.pack("<II", 0, 13) + HEADER[8:],
        header(),
        header(*[(SHA256, 32)] * 9),
        header((SHA384, 48)),
        header((SHA256, 20)),
        HEADER + EVENT[:-1],
        HEADER + event(1, (SHA384, b"\x11" * 48)),
        HEADER + event(1, (SHA256, b"\x11" * 32), (SHA256, b"\x11" * 32)),
        HEADER + event(1),
        HEADER + struct.pack("<III", 1, 13, 0xFFFFFFFF) + EVENT,
        HEADER + EVENT + b"\x01",
    ],
)
def test_a_log_that_breaks_the_layout_is_malformed(log: bytes) -> None:
    assert reason_of(log) is Reason.MALFORMED


def test_a_log_beyond_the_limits_is_too_large() -> None:
    assert reason_of(HEADER + b"\0" * MAX_LOG) is Reason.TOO_LARGE
    assert reason_of(HEADER + event(1, (SHA256, b"\x11" * 32), data=b"") * (MAX_EVENTS + 1)) is Reason.TOO_LARGE


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(HEADER + EVENT)))
def test_no_bytes_raise_anything_but_bad_evidence(noise: bytes, at: int) -> None:
    log = (HEADER + EVENT)[:at] + noise
    with contextlib.suppress(BadEvidence):
        assert all(len(value) == 32 for value in replayed(log, "sha256").values())


# ── TPM ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_real_log_of_a_tpm_replays_in_each_of_its_banks(vectors: Path) -> None:
    tpm = vectors / "evidence/tpm"
    log = (tpm / "gce-cos-85-nonce9009.eventlog.bin").read_bytes()
    for number, bank in enumerate(("sha1", "sha256", "sha384")):
        pcrs = json.loads((tpm / f"gce-cos-85-nonce9009_q{number}.expect.json").read_text())["pcrs"]
        assert {str(pcr): value.hex() for pcr, value in replayed(log, bank).items()} == {
            str(pcr): pcrs[str(pcr)] for pcr in range(10)
        }


def test_register_0_starts_with_the_locality_of_the_start() -> None:
    def started(data: bytes) -> bytes:
        digest = (SHA256, b"\x11" * 32)
        none = event(0, (SHA256, bytes(32)), kind=3, data=data)
        return HEADER + none + event(0, digest) + event(7, digest)

    found = replayed(started(b"StartupLocality\0\3"), "sha256")
    assert found[0] == hashlib.sha256(bytes(31) + b"\3" + b"\x11" * 32).digest()
    assert found[7] == EXTENDED
    assert replayed(started(b"SP800-155 Event3"), "sha256")[0] == EXTENDED
    assert reason_of(started(b"StartupLocality\0")) is reason_of(started(b"StartupLocality\0\3\0")) is Reason.MALFORMED


def test_a_locality_alone_extends_nothing() -> None:
    log = HEADER + event(0, (SHA256, bytes(32)), kind=3, data=b"StartupLocality\0\3")
    assert replayed(log, "sha256") == {}


def test_a_bank_that_the_log_does_not_have_is_malformed() -> None:
    assert reason_of(HEADER + EVENT, "sha1") is Reason.MALFORMED
    assert replayed(header((SHA1, 20)) + event(1, (SHA1, b"\x11" * 20)), "sha1").keys() == {1}


def test_a_real_log_with_sm3_digests_replays_by_sm3(vectors: Path) -> None:
    log = (vectors / "trustee/eventlog/CCEL_data_csv").read_bytes()
    values = {1: bytes(32), 2: bytes(32), 3: bytes(32)}
    for event in json.loads((vectors / "trustee/eventlog/CCEL_data_csv_out.json").read_text())["uefi_event_logs"]:
        digest = bytes.fromhex(event["digests"][0]["digest"])
        values[event["index"]] = gm.sm3(values[event["index"]] + digest)
    assert replayed(log, "sm3") == values


# ── the list of events ────────────────────────────────────────────────────────────────────────────────────────────────
TRUSTEE = ["AAEL_alibabacloud", "data", "data_csv", "data_grub", "data_grub_gke", "data_ovmf"]


@pytest.mark.parametrize("name", TRUSTEE)
def test_real_logs_list_what_trustee_found_in_them_and_call_the_same_texts_authentic_but_for_grub(
    vectors: Path, name: str
) -> None:
    log, document = (vectors / f"trustee/eventlog/CCEL_{name}{end}" for end in ("", "_out.json"))
    found = [one for one in json.loads(document.read_text())["uefi_event_logs"] if one["type_name"] != "EV_NO_ACTION"]
    events = read_tcg2(log.read_bytes(), "sm3" if "csv" in name else "sha384").events
    expected = [(one["index"], one["type_name"], one["digests"][0]["digest"]) for one in found]
    assert [(one.register, one.kind, one.digest) for one in events] == expected
    for ours, theirs in zip(events, found, strict=True):
        grub = base64.b64decode(theirs["event"]).startswith(b"grub_")
        assert grub or ours.text_authenticated == bool(ours.text and theirs["digest_matches_event"])


def events_of(log: bytes) -> dict[str, LoggedEvent]:
    return {one.text: one for one in read_tcg2(log, "sha256").events}


def test_commands_of_both_grubs_are_authentic_without_their_prefix_and_names_of_files_are_not(vectors: Path) -> None:
    upstream = events_of((vectors / "secgear/ima_uefi/gta_ccel.bin").read_bytes())
    assert upstream["set btrfs_relative_path=n"].text_authenticated
    assert not upstream["/vmlinuz-6.6.0-98.0.0.103.oe2403sp2.aarch64"].text_authenticated
    command_line = next(one for text, one in upstream.items() if text.startswith("/vmlinuz-") and "root=" in text)
    assert command_line.text_authenticated
    red_hat = events_of((vectors / "evidence/tpm/eventlogs/rhel8-uefi.bin").read_bytes())
    assert red_hat["set pager=1"].text_authenticated
    assert any(text.startswith("(hd0,gpt2)/boot/vmlinuz") and one.text_authenticated for text, one in red_hat.items())
    assert "Kernel" not in red_hat


def measured(data: bytes, covered: bytes, kind: int = 13) -> LoggedEvent:
    digest = hashlib.sha256(covered).digest()
    return read_tcg2(HEADER + event(1, (SHA256, digest), kind=kind, data=data), "sha256").events[0]


VARIABLE = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c").bytes_le + struct.pack("<QQ", 2, 1)


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        (0x80000007, b"Exit Boot Services", "Exit Boot Services"),
        (13, b"with an end mark\0", "with an end mark"),
        (8, "1.0-ä".encode("utf-16-le") + b"\0\0", "1.0-ä"),
        (6, b"LEAA\x0a\0\0\0coco.com x", "coco.com x"),
        (0x80000001, VARIABLE + "PK".encode("utf-16-le") + b"\1", "PK-8be4df61-93ca-11d2-aa0d-00e098032b8c"),
        (0x1234, b"of a type that nobody knows", "of a type that nobody knows"),
    ],
)
def test_a_text_is_authentic_where_its_hash_was_extended_and_nowhere_else(kind: int, data: bytes, text: str) -> None:
    same = measured(data, data, kind)
    assert (same.text, same.text_authenticated) == (text, True)
    other = measured(data, b"another program", kind)
    assert (other.text, other.text_authenticated) == (text, False)


def test_a_relabelled_event_loses_its_authenticity() -> None:
    image = b"the bytes of a kernel"
    assert not measured(b"/boot/vmlinuz-of-trust\0", image).text_authenticated
    assert measured(b"grub_cmd: boot\0", b"boot") == measured(b"kernel_cmdline: boot\0", b"boot")


@pytest.mark.parametrize("kind", [6, 13, 0x80000001])
def test_the_type_of_an_event_does_not_change_how_it_is_read(kind: int) -> None:
    assert measured(b"do not boot", b"do not boot", kind).text == "do not boot"


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (4, bytes(4)),
        (13, b"\xff\xfe\xfd"),
        (13, b"a\x1bb"),
        (6, b"x\0\0\0\0\0\0\0"),
        (0x80000001, VARIABLE + b"\xff" * 5),
        (0x80000001, VARIABLE + b"\xff" * 6),
    ],
)
def test_data_that_is_no_text_gives_none_and_none_is_authentic(kind: int, data: bytes) -> None:
    found = measured(data, data, kind)
    assert (found.text, found.text_authenticated) == ("", False)


def test_a_text_that_was_cut_is_not_authentic() -> None:
    found = measured(b"x" * 3000, b"x" * 3000)
    assert (len(found.text), found.text_authenticated) == (2048, False)


def test_an_unknown_type_is_listed_by_its_number() -> None:
    assert measured(b"", b"", 0xABC).kind == "0x00000abc"


# ── what signed registers bear out ────────────────────────────────────────────────────────────────────────────────────
def test_events_of_registers_that_are_not_signed_are_left_out() -> None:
    log = HEADER + EVENT + event(5, (SHA256, b"\x22" * 32))
    found = explain(LogName.CCEL, log, read_tcg2(log, "sha256"), {1: EXTENDED, 2: bytes(32)}, frozenset({5}))
    assert (found.registers, [one.register for one in found.events]) == ((1,), [1])
    assert found.digest == hashlib.sha256(log).hexdigest()
    assert log_fields((found,)) == {"ccel_digest": found.digest, "ccel_events": 1, "ccel_registers": "1"}


def test_a_log_of_a_register_that_the_tee_does_not_have_is_a_mismatch() -> None:
    log = HEADER + EVENT + event(5, (SHA256, b"\x22" * 32))
    with pytest.raises(BadEvidence, match="log_mismatch"):
        explain(LogName.CCEL, log, read_tcg2(log, "sha256"), {1: EXTENDED, 2: bytes(32)}, frozenset({4}))


@pytest.mark.parametrize("signed", [{}, {2: EXTENDED}, {1: bytes(32)}])
def test_a_log_that_no_signed_register_bears_out_is_a_mismatch(signed: dict[int, bytes]) -> None:
    with pytest.raises(BadEvidence) as caught:
        explain(LogName.CCEL, HEADER + EVENT, read_tcg2(HEADER + EVENT, "sha256"), signed)
    assert caught.value.reason is Reason.LOG_MISMATCH


def test_a_log_too_long_to_be_remembered_replays_the_same() -> None:
    filled = HEADER + EVENT + bytes(MAX_LOG - len(HEADER + EVENT))
    assert read_tcg2(filled, "sha256") == read_tcg2(HEADER + EVENT, "sha256")
