"""What a bound firmware list shows, whole and in order, and which lists cannot be shown."""

import hashlib

import pytest
from ascend_lab import (
    AGGREGATE,
    BAD,
    BINDINGS,
    DIRECTORY,
    FIRMWARE,
    GOOD,
    bound,
    component,
    list_of,
    listed,
    reason_of,
    refusal,
    register_of,
    verify,
)
from ima_lab import extended, field, ima_entry, template_data

from attest_pipeline.errors import Reason
from attest_pipeline.matching import ReferenceValues
from attest_pipeline.model import AllowList, FieldValue, LogName, ReferenceValueSet
from attest_pipeline.verifiers._shared.eventlog.reader import MAX_LOG
from attest_pipeline.verifiers.ascend_npu.abi import MAX_DIGESTS


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("order", [(BAD, GOOD), (GOOD, BAD)])
def test_a_good_digest_never_hides_a_bad_one_of_the_same_path(binding: str, order: tuple[bytes, bytes]) -> None:
    claims = listed(binding, (AGGREGATE, *(component("task.bin", digest) for digest in order)))
    name = f"firmware:{DIRECTORY}/task.bin"
    assert claims.measurements[name] == ",".join(digest.hex() for digest in order)
    assert claims.fields["firmware_components"] == 1
    allowed: dict[str, tuple[FieldValue, ...]] = {name: (GOOD.hex(), BAD.hex())}
    reference = ReferenceValueSet(name="both", version="1", tee="ascend-npu", values=allowed)
    assert not ReferenceValues([reference]).match(claims).matched


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_file_measured_twice_alike_is_one_component(binding: str) -> None:
    claims = listed(binding, (*FIRMWARE, FIRMWARE[1]))
    assert claims.fields["firmware_components"] == 2
    assert claims.measurements[f"firmware:{DIRECTORY}/ascend_boot.bin"] == GOOD.hex()


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_file_that_was_being_written_shows_as_a_violation(binding: str) -> None:
    zero = template_data(bytes(20), f"{DIRECTORY}/ascend_boot.bin".encode(), b"sha1")
    log = list_of(FIRMWARE) + ima_entry(zero, noted=bytes(32))
    digests = [hashlib.sha256(data).digest() for data in FIRMWARE]
    claims = verify(bound(binding, log, extended(*digests, b"\xff" * 32)), binding)
    assert claims.measurements[f"firmware:{DIRECTORY}/ascend_boot.bin"] == f"{GOOD.hex()},violation"


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_file_anywhere_else_is_a_component_too(binding: str) -> None:
    claims = listed(binding, (*FIRMWARE, template_data(BAD, b"/opt/ascend firmware.bin")))
    assert claims.measurements["firmware:/opt/ascend firmware.bin"] == BAD.hex()


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_file_cannot_borrow_the_name_of_the_kernels_own_entry(binding: str) -> None:
    claims = listed(binding, (*FIRMWARE, template_data(BAD, b"boot_aggregate")))
    assert claims.measurements["firmware:boot_aggregate"] == BAD.hex()
    violation = ima_entry(AGGREGATE, noted=bytes(32)) + ima_entry(FIRMWARE[1])
    value = extended(b"\xff" * 32, hashlib.sha256(FIRMWARE[1]).digest())
    first = verify(bound(binding, violation, value), binding)
    assert first.measurements["firmware:boot_aggregate"] == "violation"


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_list_without_a_file_is_empty(binding: str) -> None:
    assert reason_of(lambda: listed(binding, (AGGREGATE,))) is Reason.EMPTY


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("signature", [b"", b"\3\2\4signed"])
def test_entries_may_be_signed_by_whoever_shipped_the_file(binding: str, signature: bytes) -> None:
    data = component("signed.bin") + field(signature)
    log = ima_entry(data, b"ima-sig")
    claims = verify(bound(binding, log, register_of((data,))), binding)
    assert claims.measurements[f"firmware:{DIRECTORY}/signed.bin"] == GOOD.hex()


@pytest.mark.parametrize(("algorithm", "size"), [("sha256", 32), ("sm3", 32), ("sha384", 48), ("sha512", 64)])
def test_files_may_be_measured_by_every_strong_hash(algorithm: str, size: int) -> None:
    data = template_data(b"\x09" * size, b"/a", algorithm.encode())
    assert listed("tpm", (data,)).measurements["firmware:/a"] == "09" * size


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("size", [0, 16, 20, 28, 33])
def test_files_measured_by_a_weak_hash_are_unsupported(binding: str, size: int) -> None:
    data = template_data(bytes(size), b"/a", b"sha1")
    assert reason_of(lambda: listed(binding, (data,))) is Reason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("path", [b"", b"/a\nb", b"/\xff", b"/" + b"a" * 256, b"/\xe2\x80\xae"])
def test_a_path_that_cannot_be_shown_is_malformed(path: bytes) -> None:
    assert reason_of(lambda: listed("itrustee", (template_data(GOOD, path),))) is Reason.MALFORMED


def test_a_list_beyond_the_limits_is_too_large() -> None:
    most = tuple(component(str(number)) for number in range(MAX_DIGESTS))
    assert listed("tpm", (*most, *most)).fields["firmware_components"] == MAX_DIGESTS
    assert reason_of(lambda: listed("tpm", (*most, component("more")))) is Reason.TOO_LARGE
    assert reason_of(lambda: listed("tpm", (*most, component("0", BAD)))) is Reason.TOO_LARGE
    huge = bytes(MAX_LOG + 1)
    assert refusal(bound("itrustee", huge, b""), "itrustee") is Reason.TOO_LARGE


@pytest.mark.parametrize("binding", BINDINGS)
def test_the_list_may_come_as_text(binding: str) -> None:
    noted = hashlib.sha256(FIRMWARE[1]).hexdigest()
    line = f"10 {noted} ima-ng sha256:{GOOD.hex()} {DIRECTORY}/ascend_boot.bin\n".encode()
    claims = verify(bound(binding, line, register_of(FIRMWARE[1:2])), binding)
    assert claims.measurements[f"firmware:{DIRECTORY}/ascend_boot.bin"] == GOOD.hex()


def test_under_a_tpm_an_allow_list_says_which_files_may_be_there_at_all() -> None:
    known = AllowList(registers=(10,), digests=(GOOD.hex(), "08" * 32))
    reference = ReferenceValueSet(
        name="files", version="1", tee="ascend-npu", values={"binding": BINDINGS}, logs={LogName.IMA: known}
    )
    baseline, more = ReferenceValues([reference]), (*FIRMWARE, component("more.bin", BAD))
    assert baseline.match(listed("tpm", FIRMWARE)).matched
    assert not baseline.match(listed("tpm", more)).matched
    assert not baseline.match(listed("itrustee", FIRMWARE)).matched
