"""PCK certificates: real extensions, chains in any order and encoding, and malformed ones."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intel_lab import NOW, pki, platform, quote, refusal, verifier

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Evidence
from attest_pipeline.simulator.intel_pki import IntelPki, pem, sgx_extension
from attest_pipeline.verifiers._intel.abi import parse_certification, parse_quote
from attest_pipeline.verifiers._intel.pck import load_chain, load_pck

PPID = bytes(range(16))
GOOD = sgx_extension(PPID, bytes(range(16)), 0x1234)


def chain_with(extension: bytes, authority: str = "Simulated SGX PCK Platform CA") -> bytes:
    issuer = pki().authority if "Platform" in authority else pki().issue(authority, pki().root, authority=True)
    return pem(pki().issue("Simulated SGX PCK Certificate", issuer, extension=extension)).encode()


def chain_of(path: Path) -> bytes:
    quote = parse_quote(path.read_bytes())
    return parse_certification(quote.state.certification, quote.state.version).pck_chain


def test_the_extension_of_every_real_certificate_reads_as_recorded(vectors: Path) -> None:
    compared = 0
    for expect in sorted((vectors / "evidence").glob("[ts][dg]x/v*.expect.json")):
        recorded = json.loads(expect.read_text())
        if recorded.get("trailing_all_zero", True):
            read = load_pck(chain_of(expect.with_name(expect.name.replace(".expect.json", ".bin")))).platform
            assert (read.fmspc.hex(), read.pceid.hex()) == (recorded["pck"]["fmspc"], recorded["pck"]["pceid"])
            assert (list(read.components), read.pcesvn) == (recorded["pck"]["comp"], recorded["pck"]["pcesvn"])
            compared += 1
    assert compared > 30


def test_multi_package_platforms_say_how_they_are_configured(vectors: Path) -> None:
    read = load_pck(chain_of(vectors / "evidence/tdx/v4_lunal_live.bin")).platform
    assert (read.dynamic_platform, read.cached_keys, read.smt_enabled) == (True, True, True)
    assert read.sgx_type == "scalable"


def test_every_field_of_a_simulated_extension_is_read() -> None:
    read = load_pck(chain_with(GOOD)).platform
    assert (read.ppid, read.components, read.pcesvn, read.smt_enabled) == (PPID, bytes(range(16)), 0x1234, None)


def test_the_chain_may_stand_in_any_order(vectors: Path) -> None:
    assert load_pck(chain_of(vectors / "evidence/sgx/v3_fortanix_pcs_2020.bin")).authority == "processor"
    good = load_pck(platform().chain)
    backwards = pem(pki().root, pki().authority, platform().pck).encode()
    assert load_pck(backwards).platform == good.platform


def test_the_chain_may_be_concatenated_der(vectors: Path) -> None:
    chain = chain_of(vectors / "evidence/intel-qvl-sample/tdx_v4_intel_sample/quote.dat")
    assert chain[:1] == b"\x30"
    assert len(load_chain(chain)) == 3
    assert load_pck(chain).authority == "processor"


@pytest.mark.parametrize("chain", [b"", b"\x30", b"\x30\x82\xff\xff", b"nonsense", b"\x30\x03\x02\x01\x00"])
def test_a_chain_that_is_neither_pem_nor_der_is_malformed(chain: bytes) -> None:
    with pytest.raises(BadEvidence) as caught:
        load_pck(chain)
    assert caught.value.reason is Reason.MALFORMED


def test_a_chain_of_many_certificates_is_refused(vectors: Path) -> None:
    chain = chain_of(vectors / "evidence/intel-qvl-sample/tdx_v4_intel_sample/quote.dat")
    for many in (chain * 4, platform().chain * 4):
        with pytest.raises(BadEvidence):
            load_chain(many)


def test_a_chain_without_a_pck_certificate_is_malformed() -> None:
    with pytest.raises(BadEvidence) as caught:
        load_pck(pem(pki().authority, pki().root).encode())
    assert caught.value.reason is Reason.MALFORMED


def test_a_pck_of_a_ca_that_is_neither_platform_nor_processor_is_malformed() -> None:
    with pytest.raises(BadEvidence):
        load_pck(chain_with(GOOD, "Simulated SGX PCK Cellar CA"))


def test_a_pck_without_the_extension_is_malformed() -> None:
    with pytest.raises(BadEvidence):
        load_pck(pem(pki().issue("Simulated SGX PCK Certificate", pki().authority)).encode())


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[4:],
        lambda text: b"\x31" + text[1:],
        lambda text: text.replace(b"\x04\x10" + PPID, b"\x02\x10" + PPID),  # PPID as INTEGER
        lambda text: text.replace(b"\x2a\x86\x48\x86\xf8\x4d\x01\x0d\x01\x04", b"\x2a" * 10),  # no FMSPC
        lambda text: text.replace(b"\x0d\x01\x04", b"\x0d\x01\x03"),  # PCEID twice
        lambda text: text.replace(b"\x02\x02\x12\x34", b"\x02\x02\xff\x34"),  # negative PCESVN
        lambda _: sgx_extension(PPID[:15], bytes(16), 1),
        lambda text: text.replace(b"\x0a\x01\x01", b"\x0a\x01\x07"),  # unknown SGX type
        lambda text: text.replace(b"\x04\x06\x5e", b"\x04\x86\x5e"),  # a length of lengths
    ],
)
def test_a_malformed_extension_is_refused(change: Callable[[bytes], bytes]) -> None:
    changed = change(GOOD)
    assert changed != GOOD
    with pytest.raises(BadEvidence) as caught:
        load_pck(chain_with(changed))
    assert caught.value.reason is Reason.MALFORMED


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=3))
def test_an_extension_with_any_bytes_changed_reads_or_is_refused(offset: int, value: bytes) -> None:
    try:
        load_pck(chain_with(GOOD[:offset] + value + GOOD[offset + len(value) :]))
    except BadEvidence as error:
        assert error.reason is Reason.MALFORMED  # noqa: PT017 - some changes leave it readable


def test_the_collateral_wanted_is_that_of_the_platform_named_by_the_pck() -> None:
    for tee in ("tdx", "sgx"):
        (wanted,) = verifier(tee).endorsements_for(Evidence(tee, {"quote": quote(tee)}))
        assert (wanted.item, wanted.kind, wanted.key) == ("collateral", "intel-dcap", f"{tee}/5e5e5e000000/platform")


def test_wanted_collateral_of_real_quotes_bears_the_name_of_the_collateral_at_hand(vectors: Path) -> None:
    evidence = Evidence("tdx", {"quote": (vectors / "evidence/tdx/v4_gcp_cos113.bin").read_bytes()})
    assert verifier("tdx").endorsements_for(evidence)[0].key == "tdx/00806f050000/platform"
    evidence = Evidence("sgx", {"quote": (vectors / "evidence/sgx/v3_phala.bin").read_bytes()})
    assert verifier("sgx").endorsements_for(evidence)[0].key == "sgx/00a067110000/processor"


@pytest.mark.parametrize("items", [{}, {"quote": b""}, {"quote": b"garbage"}, {"event_log": b"x"}])
def test_nothing_is_wanted_for_what_is_no_quote(items: dict[str, bytes]) -> None:
    with pytest.raises(BadEvidence):
        verifier("tdx").endorsements_for(Evidence("tdx", items))


def test_a_pck_of_another_root_is_untrusted() -> None:
    assert refusal("tdx", quote("tdx", machine=IntelPki(NOW).platform(PPID))) is Reason.UNTRUSTED_ROOT
