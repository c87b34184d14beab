"""Event logs: real ones replay, hostile ones end as BadEvidence."""

import contextlib
import hashlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared.eventlog import MAX_EVENTS, MAX_LOG, replay_ima_ascii, replay_tcg2

SHA1, SHA256, SHA384 = 0x04, 0x0B, 0x0C
REM3 = frozenset({4})


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
        replay_tcg2(log, algorithm)
    return caught.value.reason


def test_a_real_ccel_replays_to_the_registers_of_its_tdx_quote(vectors: Path) -> None:
    quote = (vectors / "evidence/tdx/v4_gcp_cos113.bin").read_bytes()
    replayed = replay_tcg2((vectors / "evidence/tdx/v4_gcp_cos113.ccel.bin").read_bytes(), "sha384")
    assert dict(replayed) == {i + 1: quote[48 + 328 + 48 * i :][:48] for i in range(3)}


def test_a_log_in_a_buffer_filled_with_0xff_ends_at_its_end_mark(vectors: Path) -> None:
    log = (vectors / "secgear/ima_uefi/gta_ccel.bin").read_bytes()
    assert log.endswith(b"\xff" * 8)
    assert {register: value.hex()[:8] for register, value in replay_tcg2(log, "sha256").items()} == {
        1: "e3579705",
        2: "646fdfc8",
        3: "6cfeb56c",
    }


def test_a_real_log_that_was_cut_is_malformed(vectors: Path) -> None:
    assert reason_of((vectors / "evidence/tdx/v4_debug_td_alibaba.ccel.bin").read_bytes(), "sha384") is Reason.MALFORMED


@pytest.mark.parametrize("fill", [b"", b"\0" * 3, b"\0" * 4096, b"\xff" * 4096])
def test_fill_behind_the_last_event_changes_nothing(fill: bytes) -> None:
    assert replay_tcg2(HEADER + EVENT + fill, "sha256") == {1: EXTENDED}


def test_an_event_hidden_behind_the_end_mark_is_malformed() -> None:
    assert reason_of(HEADER + EVENT + b"\xff" * 8 + EVENT) is Reason.MALFORMED


def test_an_event_of_no_action_extends_nothing() -> None:
    assert replay_tcg2(HEADER + event(1, (SHA256, b"\x22" * 32), kind=3) + EVENT, "sha256") == {1: EXTENDED}


def test_each_bank_replays_with_its_own_digests() -> None:
    log = header((SHA256, 32), (SHA384, 48)) + event(2, (SHA384, b"\x33" * 48), (SHA256, b"\x11" * 32))
    assert replay_tcg2(log, "sha256") == {2: EXTENDED}
    assert replay_tcg2(log, "sha384") == {2: hashlib.sha384(bytes(48) + b"\x33" * 48).digest()}


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
        assert all(len(value) == 32 for value in replay_tcg2(log, "sha256").values())


# ── TPM ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_real_log_of_a_tpm_replays_in_each_of_its_banks(vectors: Path) -> None:
    tpm = vectors / "evidence/tpm"
    log = (tpm / "gce-cos-85-nonce9009.eventlog.bin").read_bytes()
    for number, bank in enumerate(("sha1", "sha256", "sha384")):
        pcrs = json.loads((tpm / f"gce-cos-85-nonce9009_q{number}.expect.json").read_text())["pcrs"]
        assert {str(pcr): value.hex() for pcr, value in replay_tcg2(log, bank).items()} == {
            str(pcr): pcrs[str(pcr)] for pcr in range(10)
        }


def test_register_0_starts_with_the_locality_of_the_start() -> None:
    def started(data: bytes) -> bytes:
        digest = (SHA256, b"\x11" * 32)
        none = event(0, (SHA256, bytes(32)), kind=3, data=data)
        return HEADER + none + event(0, digest) + event(7, digest)

    replayed = replay_tcg2(started(b"StartupLocality\0\3"), "sha256")
    assert replayed[0] == hashlib.sha256(bytes(31) + b"\3" + b"\x11" * 32).digest()
    assert replayed[7] == EXTENDED
    assert replay_tcg2(started(b"SP800-155 Event3"), "sha256")[0] == EXTENDED
    assert reason_of(started(b"StartupLocality\0")) is reason_of(started(b"StartupLocality\0\3\0")) is Reason.MALFORMED


def test_a_locality_alone_extends_nothing() -> None:
    log = HEADER + event(0, (SHA256, bytes(32)), kind=3, data=b"StartupLocality\0\3")
    assert replay_tcg2(log, "sha256") == {}


def test_a_bank_that_the_log_does_not_have_is_malformed() -> None:
    assert reason_of(HEADER + EVENT, "sha1") is Reason.MALFORMED
    assert replay_tcg2(header((SHA1, 20)) + event(1, (SHA1, b"\x11" * 20)), "sha1").keys() == {1}


# ── IMA ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
def template_data(file_digest: bytes, path: bytes) -> bytes:
    fields = (b"sha256:\0" + file_digest, path + b"\0")
    return b"".join(struct.pack("<I", len(field)) + field for field in fields)


def ima_line(register: int, path: str, template_hash: str = "sha1", file_digest: bytes = b"\x07" * 32) -> str:
    digest = hashlib.new(template_hash, template_data(file_digest, path.encode())).hexdigest()
    return f"{register} {digest} ima-ng sha256:{file_digest.hex()} {path}\n"


def extended(*digests: bytes) -> bytes:
    value = bytes(32)
    for digest in digests:
        value = hashlib.sha256(value + digest).digest()
    return value


def ima_reason(log: bytes) -> Reason:
    with pytest.raises(BadEvidence) as caught:
        replay_ima_ascii(log, "sha256", REM3)
    return caught.value.reason


def test_a_real_ima_log_with_sha1_template_digests_replays_with_sha256_of_the_template_data(vectors: Path) -> None:
    log = (vectors / "secgear/ima_uefi/gta_virtcca_ima.ascii.log").read_bytes()
    script = bytes.fromhex("8d3ad2a3bb1ea533f8c563aace8d40cab8d9bc4e9e9208f14a3beafd9f1aa313")
    digest = hashlib.sha256(template_data(script, b"/root/test.sh")).digest()
    assert replay_ima_ascii(log, "sha256", REM3) == {4: extended(digest)}


def test_a_real_ima_log_with_sha256_template_digests_replays_to_the_extension_of_those(vectors: Path) -> None:
    log = (vectors / "secgear/ima_uefi/gta_ima_sha256tmpl.ascii.log").read_bytes()
    digests = [bytes.fromhex(line.split()[1].decode()) for line in log.splitlines()]
    assert replay_ima_ascii(log, "sha256", frozenset({10})) == {10: extended(*digests)}


def test_a_boot_aggregate_counts_where_its_register_exists_and_nothing_else_may_name_another() -> None:
    aggregate = ima_line(4, "boot_aggregate")
    digest = hashlib.sha256(template_data(b"\x07" * 32, b"boot_aggregate")).digest()
    assert replay_ima_ascii(aggregate.encode(), "sha256", REM3) == {4: extended(digest)}
    assert replay_ima_ascii(ima_line(10, "boot_aggregate").encode(), "sha256", REM3) == {}
    assert ima_reason((aggregate + ima_line(10, "/usr/bin/nc")).encode()) is Reason.LOG_MISMATCH


def test_a_path_may_hold_spaces_and_bytes_that_are_no_utf8() -> None:
    path = b"/opt/a b  c/\xff "
    data = template_data(b"\x07" * 32, path)
    digest = hashlib.sha1(data).hexdigest().encode()  # noqa: S324 - the kernel's template digest
    log = b" 4 " + digest + b" ima-ng sha256:" + b"07" * 32 + b" " + path + b"\n"
    assert replay_ima_ascii(log, "sha256", REM3) == {4: extended(hashlib.sha256(data).digest())}


def test_a_violation_extends_with_all_ones() -> None:
    line = f"4 {'00' * 20} ima-ng sha256:{'00' * 32} /etc/shadow\n"
    assert replay_ima_ascii(line.encode(), "sha256", REM3) == {4: extended(b"\xff" * 32)}


def test_an_entry_whose_template_digest_is_of_something_else_is_a_mismatch() -> None:
    line = ima_line(4, "/usr/bin/cat").replace("/usr/bin/cat", "/usr/bin/nc")
    assert ima_reason(line.encode()) is Reason.LOG_MISMATCH


@pytest.mark.parametrize(
    "line",
    [
        "",
        "4 short",
        ima_line(4, "/a").replace("4 ", "four ", 1),
        ima_line(4, "/a").replace("ima-ng", "ima-buf"),
        ima_line(4, "/a zz").replace("ima-ng", "ima-sig"),
        ima_line(4, "/a", template_hash="sha384"),
        ima_line(4, "/a") + "\n" + ima_line(4, "/b"),
        "4 " + "zz" * 20 + " ima-ng sha256:00 /a",
    ],
)
def test_a_line_that_is_no_ima_ng_entry_is_malformed(line: str) -> None:
    assert ima_reason(line.encode()) is Reason.MALFORMED


@pytest.mark.parametrize("signature", [b"", b"\3\2\4signed"])
def test_a_signed_entry_is_extended_with_its_signature(signature: bytes) -> None:
    data = template_data(b"\x07" * 32, b"/usr/bin/signed") + struct.pack("<I", len(signature)) + signature
    noted = hashlib.sha256(data).hexdigest()
    line = f"10 {noted} ima-sig sha256:{'07' * 32} /usr/bin/signed {signature.hex()}\n"
    digest = hashlib.sha384(bytes(48) + hashlib.sha384(data).digest()).digest()
    assert replay_ima_ascii(line.encode(), "sha384", frozenset({10})) == {10: digest}


def test_an_ima_log_beyond_the_limits_is_too_large() -> None:
    assert ima_reason(b"4" * (MAX_LOG + 1)) is Reason.TOO_LARGE
    assert ima_reason(b"\n" * (MAX_EVENTS + 1)) is Reason.TOO_LARGE
