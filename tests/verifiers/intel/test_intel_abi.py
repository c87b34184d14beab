"""Quote bytes: every length counts, nothing but BadEvidence comes out."""

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intel_lab import enclave_body, prove, quote, refusal, td_body

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._intel.abi import MAX_QUOTE, parse_certification, parse_quote

CERTIFICATION = {"sgx": 48 + 384 + 4 + 64, "tdx": 48 + 584 + 4 + 64}


def patched(data: bytes, offset: int, value: bytes) -> bytes:
    return data[:offset] + value + data[offset + len(value) :]


def test_no_bytes_are_no_quote() -> None:
    with pytest.raises(BadEvidence) as caught:
        parse_quote(b"")
    assert caught.value.reason is Reason.EMPTY


def test_a_quote_beyond_the_limit_is_too_large() -> None:
    assert refusal("tdx", quote("tdx") + bytes(MAX_QUOTE)) is Reason.TOO_LARGE


@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_a_quote_cut_anywhere_is_malformed(tee: str) -> None:
    whole = quote(tee)
    for end in range(1, len(whole)):
        with pytest.raises(BadEvidence) as caught:
            parse_quote(whole[:end])
        assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize("tee", ["tdx", "sgx"])
@pytest.mark.parametrize("size", [1, 70, 3065])
def test_zeros_behind_a_quote_change_nothing(tee: str, size: int) -> None:
    data = quote(tee)
    assert prove(tee, data + bytes(size)).fields == prove(tee, data).fields


def test_text_behind_a_quote_is_malformed(vectors: Path) -> None:
    data = (vectors / "evidence/tdx/v4_spr_e4_2023.bin").read_bytes()
    with pytest.raises(BadEvidence) as caught:
        parse_quote(data)
    assert caught.value.reason is Reason.MALFORMED
    assert parse_quote(data.partition(b"\nextra bytes")[0]).state.version == 4


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (0, struct.pack("<H", 3), Reason.MALFORMED),  # a TDX quote of version 3 does not exist
        (0, struct.pack("<H", 6), Reason.MALFORMED),
        (2, struct.pack("<H", 3), Reason.MALFORMED),  # ECDSA P-384
        (2, struct.pack("<H", 0), Reason.MALFORMED),  # EPID
        (4, struct.pack("<I", 0), Reason.MALFORMED),
        (4, struct.pack("<I", 0x82), Reason.MALFORMED),
        (12, bytes(16), Reason.MALFORMED),  # QE of another vendor
    ],
)
def test_a_header_of_another_kind_is_refused(offset: int, value: bytes, reason: Reason) -> None:
    assert refusal("tdx", patched(quote("tdx"), offset, value)) is reason


@pytest.mark.parametrize(
    ("number", "size", "reason"),
    [
        (1, 384, Reason.UNSUPPORTED_FORMAT),
        (4, 648, Reason.UNSUPPORTED_FORMAT),
        (0, 648, Reason.MALFORMED),
        (5, 648, Reason.MALFORMED),
        (2, 648, Reason.MALFORMED),
        (3, 584, Reason.MALFORMED),
        (3, 2**32 - 1, Reason.MALFORMED),
    ],
)
def test_a_v5_body_of_unknown_type_or_wrong_size_is_refused(number: int, size: int, reason: Reason) -> None:
    data = quote("tdx", td_body(extra=bytes(64)), version=5)
    assert refusal("tdx", patched(data, 48, struct.pack("<HI", number, size))) is reason


def test_both_td_report_versions_are_proven_in_a_v5_quote() -> None:
    old = prove("tdx", quote("tdx", version=5))
    new = prove("tdx", quote("tdx", td_body(extra=bytes(15) + b"\1" + b"\x77" * 48), version=5))
    assert "mrservicetd" not in old.fields
    assert new.fields["mrservicetd"] == "77" * 48
    assert new.fields["tee_tcb_svn2"] == "00" * 15 + "01"


@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_a_quote_of_the_other_tee_is_malformed(tee: str) -> None:
    assert refusal(tee, quote("sgx" if tee == "tdx" else "tdx")) is Reason.MALFORMED


@pytest.mark.parametrize("delta", [-1, 1])
def test_every_inner_length_must_fit_exactly(delta: int) -> None:
    tdx, start = quote("tdx"), CERTIFICATION["tdx"]
    inner = start + 64 + 6 + 448
    for offset, layout in ((start + 64 + 2, "<I"), (inner, "<H"), (inner + 2 + 32 + 2, "<I")):
        (length,) = struct.unpack_from(layout, tdx, offset)
        assert refusal("tdx", patched(tdx, offset, struct.pack(layout, length + delta))) is Reason.MALFORMED, offset


def test_certification_data_without_a_pck_certificate_endorses_nothing(vectors: Path) -> None:
    sample = parse_quote((vectors / "evidence/sgx/v3_raw_tcb_certtype3.bin").read_bytes())
    with pytest.raises(BadEvidence) as caught:
        parse_certification(sample.state.certification, sample.state.version)
    assert caught.value.reason is Reason.MISSING_ENDORSEMENT


def test_other_certification_data_around_the_qe_report_is_malformed() -> None:
    data = patched(quote("tdx"), CERTIFICATION["tdx"] + 64, struct.pack("<H", 5))
    assert refusal("tdx", data) is Reason.MALFORMED


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=1200), st.sampled_from([3, 4, 5]), st.integers(0, 3))
def test_any_bytes_behind_a_good_header_raise_bad_evidence_only(noise: bytes, version: int, keep: int) -> None:
    good = quote("sgx", enclave_body()) if version == 3 else quote("tdx", version=version)
    data = good[: 48 + keep * 300] + noise
    with pytest.raises(BadEvidence):
        prove("sgx" if version == 3 else "tdx", data)
