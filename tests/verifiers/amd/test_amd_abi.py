import hashlib
from pathlib import Path

import pytest
from amd_lab import lab
from msgspec.structs import astuple

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._amd import abi


def test_every_real_report_reads_back_to_its_own_bytes(vectors: Path) -> None:
    reports = [path.read_bytes() for path in sorted((vectors / "evidence" / "snp").glob("v[235]_*.bin"))]
    assert len(reports) >= 15
    for data in reports:
        report = abi.parse(data)
        *before, last = astuple(report.guest)
        signature = (report.r[::-1], report.s[::-1])
        assert abi.LAYOUT.pack(*before[:11], report.report_data, *before[11:], *signature, last) == data


def test_fields_lie_where_the_abi_puts_them(vectors: Path) -> None:
    data = (vectors / "evidence" / "snp" / "v5_turin_vcek_ms.bin").read_bytes()
    report = abi.parse(data)
    assert report.report_data == data[0x50:0x90]
    assert report.r + report.s == data[0x2A0:0x2D0][::-1] + data[0x2E8:0x318][::-1]
    guest = report.guest
    assert guest.measurement == data[0x90:0xC0]
    assert guest.host_data == data[0xC0:0xE0]
    assert guest.id_key_digest == data[0xE0:0x110]
    assert guest.author_key_digest == data[0x110:0x140]
    assert guest.reported_tcb == data[0x180:0x188]
    assert (guest.cpuid_family, guest.cpuid_model, guest.cpuid_stepping) == (26, 2, 1)
    assert guest.chip_id == data[0x1A0:0x1E0]
    assert guest.committed_tcb == data[0x1E0:0x1E8]
    assert guest.launch_tcb == data[0x1F0:0x1F8]
    assert (guest.launch_mitigations, guest.current_mitigations) == (0x3F, 0x3F)


def test_key_info_is_read_bit_by_bit() -> None:
    guest = abi.parse(lab("Milan").report((0x48, (1 | 2 | 7 << 2).to_bytes(4, "little")))).guest
    assert (guest.author_key, guest.mask_chip_key, guest.signing_key) == (True, True, 7)


@pytest.mark.parametrize("size", [0, 1, 672, 1183, 1185, 4096])
def test_only_the_exact_size_is_a_report(size: int) -> None:
    with pytest.raises(BadEvidence) as refused:
        abi.parse(bytes(size))
    assert refused.value.reason is (Reason.MALFORMED if size else Reason.EMPTY)


@pytest.mark.parametrize("version", [0, 1, 4, 6, 0x01000003])
def test_an_unknown_version_is_refused(version: int) -> None:
    with pytest.raises(BadEvidence, match="unknown version"):
        abi.parse(lab("Milan").report((0x00, version.to_bytes(4, "little"))))


@pytest.mark.parametrize("offset", [0x4C, 0x4F, 0x18B, 0x19F, 0x1EB, 0x1EF, 0x208, 0x29F])
def test_a_reserved_byte_must_be_zero(offset: int) -> None:
    with pytest.raises(BadEvidence, match="reserved bytes"):
        abi.parse(lab("Turin").report((offset, b"\1")))


@pytest.mark.parametrize("offset", [0x188, 0x189, 0x18A])
def test_a_version_2_report_has_no_cpuid(offset: int) -> None:
    patches = ((0x00, b"\2"), (0x188, bytes(3)), (offset, b"\1"))
    with pytest.raises(BadEvidence, match="CPUID fields before"):
        abi.parse(lab("Milan").report(*patches))


@pytest.mark.parametrize("offset", [0x1F8, 0x207])
def test_a_version_3_report_has_no_mitigation_vectors(offset: int) -> None:
    with pytest.raises(BadEvidence, match="mitigation vectors before"):
        abi.parse(lab("Milan").report((offset, b"\1")))


@pytest.mark.parametrize("policy", [1 << 16, 1 << 17 | 1 << 26, 1 << 17 | 1 << 63])
def test_reserved_bits_of_the_guest_policy_are_held_to_their_value(policy: int) -> None:
    with pytest.raises(BadEvidence, match="guest policy"):
        abi.parse(lab("Milan").report((0x08, policy.to_bytes(8, "little"))))


@pytest.mark.parametrize(
    ("offset", "value", "why"),
    [
        (0x48, (1 << 5).to_bytes(4, "little"), "KEY_INFO"),
        (0x30, b"\4", "no guest asked"),
        (0x30, b"\xff\xff\xff\xff", "no guest asked"),
        (0x34, b"\0", "signature algorithm 0"),
        (0x34, b"\2", "signature algorithm 2"),
    ],
)
def test_unknown_bits_and_algorithms_are_refused(offset: int, value: bytes, why: str) -> None:
    with pytest.raises(BadEvidence, match=why):
        abi.parse(lab("Milan").report((offset, value)))


@pytest.mark.parametrize(("offset", "why"), [(0x2D0, "longer"), (0x2E7, "longer"), (0x32F, "longer"), (0x330, "bytes")])
def test_what_surrounds_r_and_s_must_be_zero(offset: int, why: str) -> None:
    data = bytearray(lab("Milan").report())
    data[offset] = 1
    with pytest.raises(BadEvidence, match=why):
        abi.parse(bytes(data))


def test_the_simulator_and_the_parser_agree_on_every_offset() -> None:
    guest = abi.parse(lab("Turin").report()).guest
    assert guest.report_id == hashlib.sha256(guest.chip_id).digest()
    assert (guest.current_build, guest.current_minor, guest.current_major) == (29, 55, 1)
    assert guest.reported_tcb == guest.committed_tcb == guest.launch_tcb == guest.current_tcb
