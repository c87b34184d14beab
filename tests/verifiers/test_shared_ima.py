"""IMA logs: real ones replay in both forms, hostile ones end as BadEvidence."""

import contextlib
import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ima_lab import extended, template_data

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import LoggedEvent
from attest_pipeline.verifiers._shared.eventlog.ima import VIOLATION, BootAggregate, read_ima
from attest_pipeline.verifiers._shared.eventlog.reader import MAX_EVENTS, MAX_LOG

REM3 = frozenset({4})


def ima_line(register: int, path: str, template_hash: str = "sha1", file_digest: bytes = b"\x07" * 32) -> str:
    digest = hashlib.new(template_hash, template_data(file_digest, path.encode())).hexdigest()
    return f"{register} {digest} ima-ng sha256:{file_digest.hex()} {path}\n"


def replayed(log: bytes, registers: frozenset[int] = REM3, bank: str = "sha256") -> Mapping[int, bytes]:
    return read_ima(log, bank, registers)[0].registers


def reason_of(log: bytes) -> Reason:
    with pytest.raises(BadEvidence) as caught:
        replayed(log)
    return caught.value.reason


def test_a_real_ima_log_with_sha1_template_digests_replays_with_sha256_of_the_template_data(vectors: Path) -> None:
    log = (vectors / "secgear/ima_uefi/gta_virtcca_ima.ascii.log").read_bytes()
    script = bytes.fromhex("8d3ad2a3bb1ea533f8c563aace8d40cab8d9bc4e9e9208f14a3beafd9f1aa313")
    digest = hashlib.sha256(template_data(script, b"/root/test.sh")).digest()
    assert replayed(log) == {4: extended(digest)}


def test_a_real_ima_log_with_sha256_template_digests_replays_to_the_extension_of_those(vectors: Path) -> None:
    log = (vectors / "secgear/ima_uefi/gta_ima_sha256tmpl.ascii.log").read_bytes()
    digests = [bytes.fromhex(line.split()[1].decode()) for line in log.splitlines()]
    assert replayed(log, frozenset({10})) == {10: extended(*digests)}


def test_a_boot_aggregate_counts_where_its_register_exists_and_nothing_else_may_name_another() -> None:
    aggregate = ima_line(4, "boot_aggregate")
    digest = hashlib.sha256(template_data(b"\x07" * 32, b"boot_aggregate")).digest()
    assert replayed(aggregate.encode()) == {4: extended(digest)}
    assert replayed(ima_line(10, "boot_aggregate").encode()) == {}
    assert reason_of((aggregate + ima_line(10, "/usr/bin/nc")).encode()) is Reason.LOG_MISMATCH


def test_a_path_may_hold_spaces_and_bytes_that_are_no_utf8() -> None:
    path = b"/opt/a b  c/\xff "
    data = template_data(b"\x07" * 32, path)
    digest = hashlib.sha1(data).hexdigest().encode()  # noqa: S324 - the kernel's template digest
    log = b" 4 " + digest + b" ima-ng sha256:" + b"07" * 32 + b" " + path + b"\n"
    assert replayed(log) == {4: extended(hashlib.sha256(data).digest())}


def test_a_violation_extends_with_all_ones() -> None:
    line = f"4 {'00' * 20} ima-ng sha256:{'00' * 32} /etc/shadow\n"
    assert replayed(line.encode()) == {4: extended(b"\xff" * 32)}


def test_an_entry_whose_template_digest_is_of_something_else_is_a_mismatch() -> None:
    line = ima_line(4, "/usr/bin/cat").replace("/usr/bin/cat", "/usr/bin/nc")
    assert reason_of(line.encode()) is Reason.LOG_MISMATCH


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
    assert reason_of(line.encode()) is Reason.MALFORMED


@pytest.mark.parametrize("signature", [b"", b"\3\2\4signed"])
def test_a_signed_entry_is_extended_with_its_signature(signature: bytes) -> None:
    data = template_data(b"\x07" * 32, b"/usr/bin/signed") + struct.pack("<I", len(signature)) + signature
    noted = hashlib.sha256(data).hexdigest()
    line = f"10 {noted} ima-sig sha256:{'07' * 32} /usr/bin/signed {signature.hex()}\n"
    digest = hashlib.sha384(bytes(48) + hashlib.sha384(data).digest()).digest()
    assert replayed(line.encode(), frozenset({10}), "sha384") == {10: digest}


def test_an_ima_log_beyond_the_limits_is_too_large() -> None:
    assert reason_of(b"4" * (MAX_LOG + 1)) is Reason.TOO_LARGE
    assert reason_of(ima_line(4, "/a").encode() * (MAX_EVENTS + 1)) is Reason.TOO_LARGE


# ── the binary form ───────────────────────────────────────────────────────────────────────────────────────────────────
def binary_entry(register: int, path: bytes, template_hash: str = "sha1", **change: bytes) -> bytes:
    """An entry of `binary_runtime_measurements`; `change` puts other bytes in the place of a part."""
    parts = {"template": b"ima-ng", "data": template_data(b"\x07" * 32, path)} | change
    digest = change.get("digest", hashlib.new(template_hash, parts["data"]).digest())
    named = b"".join(struct.pack("<I", len(parts[name])) + parts[name] for name in ("template", "data"))
    return struct.pack("<I", register) + digest + named


def test_a_real_binary_log_replays_in_both_banks(vectors: Path) -> None:
    log = (vectors / "secgear/ima_uefi/imang.bin").read_bytes()
    expected = json.loads((vectors / "secgear/expected.json").read_text())["ima_uefi/imang.bin"]
    for bank in ("sha1", "sha256"):
        assert replayed(log, frozenset({10}), bank)[10].hex() == expected[f"pcr10_{bank}"]
    events = read_ima(log, "sha256", frozenset({10}))[0].events
    assert [event.text for event in events] == ["boot_aggregate", "/usr/bin/sudo", "/usr/bin/traceroute"]


def test_a_real_log_says_the_same_in_both_forms(vectors: Path) -> None:
    logs = vectors / "secgear/ima_uefi"
    ascii_form, binary_form = (
        read_ima((logs / f"gta_ima_sha256tmpl.{form}").read_bytes(), "sha384", frozenset({10}))
        for form in ("ascii.log", "bin")
    )
    assert ascii_form == binary_form
    digest = "90c9437a02857838ccc0ce1ff8652691181bfb67135a1173dd276f91fa57d7ec"
    assert binary_form[0].events[1:] == (LoggedEvent(10, "ima-ng", digest, "/usr/bin/cat", text_authenticated=True),)


@pytest.mark.parametrize(
    "log",
    [
        binary_entry(4, b"/a", template=b"ima-buf"),
        binary_entry(4, b"/a", digest=bytes(48)),
        binary_entry(4, b"/a") + binary_entry(4, b"/b", template=b"ima"),
        binary_entry(4, b"/a") + binary_entry(4, b"/b", "sha256"),
        binary_entry(4, b"/a")[:-1],
        binary_entry(4, b"/a") + b"\4",
        binary_entry(4, b"/a", data=template_data(b"\x07" * 32, b"/a") + b"more"),
        binary_entry(4, b"/a", data=template_data(b"\x07" * 32, b"/a")[:-1]),
        binary_entry(4, b"/a", data=struct.pack("<I", 4) + b"sha1" + struct.pack("<I", 3) + b"/a\0"),
        binary_entry(4, b"/a", data=struct.pack("<I", 6) + b"sha1:\0" + struct.pack("<I", 2) + b"/a"),
        binary_entry(4, b"/a", data=b""),
    ],
)
def test_a_binary_log_that_breaks_the_layout_is_malformed(log: bytes) -> None:
    assert reason_of(log) is Reason.MALFORMED


def test_a_binary_entry_is_held_against_its_template_digest() -> None:
    assert replayed(binary_entry(4, b"/a", "sha256")).keys() == {4}
    assert reason_of(binary_entry(4, b"/a", digest=b"\1" * 20)) is Reason.LOG_MISMATCH


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 80), st.booleans())
def test_no_bytes_raise_anything_but_bad_evidence(noise: bytes, at: int, binary: bool) -> None:  # noqa: FBT001 - drawn
    log = binary_entry(4, b"/usr/bin/cat") if binary else ima_line(4, "/usr/bin/cat").encode()
    with contextlib.suppress(BadEvidence):
        assert all(len(value) == 32 for value in replayed(log[:at] + noise + log[at:]).values())


# ── the list ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def listed(*entries: bytes) -> tuple[LoggedEvent, ...]:
    return read_ima(b"".join(entries), "sha256", REM3)[0].events


def test_every_entry_is_listed_in_order_the_same_path_twice_too() -> None:
    events = listed(*(ima_line(4, "/usr/bin/nc", file_digest=bytes([one]) * 32).encode() for one in (1, 2)))
    assert [(event.text, event.digest[:2], event.text_authenticated) for event in events] == [
        ("/usr/bin/nc", "01", True),
        ("/usr/bin/nc", "02", True),
    ]


def test_a_violation_is_listed_without_a_digest_whatever_it_says() -> None:
    entry = f"4 {'00' * 20} ima-ng sha256:{'07' * 32} /usr/bin/nc\n".encode()
    assert listed(entry) == (LoggedEvent(4, VIOLATION, "", "/usr/bin/nc", text_authenticated=False),)


def test_a_path_that_cannot_be_shown_as_it_is_is_not_authentic() -> None:
    control, wide, overlong = (listed(binary_entry(4, path))[0] for path in (b"/a\x1b[2J", "/ä".encode(), b"/" * 4096))
    assert (control.text, control.text_authenticated) == ("/a?[2J", False)
    assert (wide.text, wide.text_authenticated) == ("/ä", True)
    assert (len(overlong.text), overlong.text_authenticated) == (2048, False)


def test_the_boot_aggregate_is_told_where_the_kernel_writes_it_and_only_if_it_was_extended() -> None:
    first = ima_line(4, "boot_aggregate").encode()
    replay, aggregate = read_ima(first + first, "sha256", REM3)
    assert aggregate == BootAggregate("sha256", b"\x07" * 32)
    assert [event.text for event in replay.events] == ["boot_aggregate", "boot_aggregate"]
    foreign = ima_line(10, "boot_aggregate").encode()
    assert read_ima(foreign + ima_line(4, "/a").encode(), "sha256", REM3)[1] is None
    assert reason_of(ima_line(4, "/a").encode() + foreign) is Reason.LOG_MISMATCH


def test_a_boot_aggregate_of_another_register_is_held_against_its_template_digest() -> None:
    altered = ima_line(10, "boot_aggregate").replace("sha256:07", "sha256:08").encode()
    assert reason_of(altered + ima_line(4, "/a").encode()) is Reason.LOG_MISMATCH


def test_a_violation_is_no_boot_aggregate() -> None:
    entry = f"4 {'00' * 20} ima-ng sha256:{'07' * 32} boot_aggregate\n".encode()
    replay, aggregate = read_ima(entry, "sha256", REM3)
    assert (aggregate, [event.kind for event in replay.events]) == (None, [VIOLATION])
