"""`attest collateral`: what an air-gapped site brings along is proven, laid down, listed and shown."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from command import Attest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attest_pipeline.adapters.collateral_store import CollateralStore
from attest_pipeline.collateral.book import Book
from attest_pipeline.collateral.imports import MAX_FILE, from_pcs_client_tool, recognise
from attest_pipeline.collateral.recipes import BadCollateral
from attest_pipeline.model import TrustAnchor
from attest_pipeline.simulator.amd import AmdVendor
from attest_pipeline.simulator.device import Vendor
from attest_pipeline.simulator.intel_pki import FMSPC, IntelPki

NOW = datetime.now(UTC)
TDX = f"intel-dcap/tdx/{FMSPC.hex()}/platform"


@pytest.fixture(scope="module")
def pki() -> IntelPki:
    return IntelPki(NOW)


@pytest.fixture(scope="module")
def milan(vendors: tuple[Vendor, ...]) -> AmdVendor:
    (vendor,) = (one for one in vendors if isinstance(one, AmdVendor))
    return vendor


@pytest.fixture
def state(tmp_path: Path, pki: IntelPki, milan: AmdVendor) -> Path:
    """A state directory whose settings trust the simulated vendors."""
    home = tmp_path / "state" / "collateral"
    home.mkdir(parents=True)
    anchors = (TrustAnchor("intel", pki.root_spki), *milan.trust_anchors())
    (home / "settings.json").write_bytes(msgspec.json.encode({"trust_anchors": anchors}))
    return tmp_path / "state"


def dcap(pki: IntelPki, tee: str = "tdx", number: int = 20) -> dict[str, str]:
    return pki.collateral({**pki.tcb_info(tee), "tcbEvaluationDataNumber": number}, pki.qe_identity(tee))


def tool_file(pki: IntelPki) -> dict[str, Any]:
    """What the PCS client tool writes: TCB info parsed, identities as text, chains percent-encoded, CRLs as hex."""
    parts = {tee: dcap(pki, tee) for tee in ("sgx", "tdx")}
    info = {
        f"{tee}_tcbinfo": {"tcbInfo": json.loads(one["tcb_info"]), "signature": one["tcb_info_signature"]}
        for tee, one in parts.items()
    }
    identity = {
        tee: f'{{"enclaveIdentity":{one["qe_identity"]},"signature":"{one["qe_identity_signature"]}"}}'
        for tee, one in parts.items()
    }
    one = parts["tdx"]
    collaterals = {
        "version": 4,
        "pck_certs": [],
        "tcbinfos": [{"fmspc": FMSPC.hex().upper(), **info}],
        "pckcacrl": {"processorCrl": "", "platformCrl": one["pck_crl"]},
        "qeidentity": identity["sgx"],
        "tdqeidentity": identity["tdx"],
        "qveidentity": "",
        "certificates": {
            "SGX-PCK-Certificate-Issuer-Chain": {"PLATFORM": quote(one["pck_crl_issuer_chain"])},
            "TCB-Info-Issuer-Chain": quote(one["tcb_info_issuer_chain"]),
            "SGX-Enclave-Identity-Issuer-Chain": quote(one["qe_identity_issuer_chain"]),
        },
        "rootcacrl": one["root_ca_crl"],
        "rootcacrl_cdp": "https://certificates.example/root.crl",
    }
    return {"platforms": [], "collaterals": collaterals}


def written(directory: Path, name: str, data: bytes) -> Path:
    path = directory / name
    path.write_bytes(data)
    return path


def test_the_file_of_the_pcs_client_tool_becomes_collateral(
    attest: Attest, tmp_path: Path, state: Path, pki: IntelPki
) -> None:
    path = written(tmp_path, "platform_collaterals.json", json.dumps(tool_file(pki), indent=4).encode())
    done = attest("collateral", "import", path, "--state", state)
    assert done.code == 0, done.err
    assert TDX in done.out
    assert TDX.replace("tdx", "sgx") in done.out
    listed = attest("collateral", "list", "--state", state, "--output", "json").json()
    assert {one["reference"] for one in listed} == {TDX, TDX.replace("tdx", "sgx")}
    assert "20" in attest("collateral", "show", TDX, "--state", state).out
    shown = attest("collateral", "show", TDX, "--state", state, "--output", "json").json()
    assert shown["sequence"] == [20, 20, 1, 1]
    assert len(shown["sha256"][0]) == 64


def test_plain_files_say_what_they_are(
    attest: Attest, tmp_path: Path, state: Path, pki: IntelPki, milan: AmdVendor
) -> None:
    chip, given = milan.chip(5), milan.endorsements()
    ark, ask = (
        x509.load_der_x509_certificate(one).public_bytes(Encoding.PEM) for one in (milan.pki.ark, milan.pki.ask)
    )
    files = [
        written(tmp_path, "leaf.der", chip.leaf),
        written(tmp_path, "cert_chain", ask + ark),
        written(tmp_path, "crl", given["amd-crl/milan"][0]),
        written(tmp_path, "dcap.json", json.dumps(dcap(pki)).encode()),
    ]
    done = attest("collateral", "import", *files, "--state", state, "--output", "json")
    assert done.code == 0, done.err
    assert "amd-crl/milan" in {msgspec.json.decode(line)["reference"] for line in done.out.splitlines()}
    listed = attest("collateral", "list", "--state", state).out
    for name in ("amd-chain/milan/ark", "amd-chain/milan/ask", "amd-crl/milan", TDX, chip.chip_id.hex()[:20]):
        assert name in listed


def test_what_does_not_say_what_it_is_is_named_by_hand(attest: Attest, tmp_path: Path, state: Path) -> None:
    path = written(tmp_path, "key", b"some key")
    unsaid = attest("collateral", "import", path, "--state", state)
    assert (unsaid.code, "--as" in unsaid.err) == (2, True)
    assert attest("collateral", "import", path, path, "--state", state, "--as", "arm-cpak/k").code == 2
    assert attest("collateral", "import", path, "--state", state, "--as", "arm-cpak/../../k").code == 2
    said = attest("collateral", "import", path, "--state", state, "--as", "arm-cpak/k")
    assert (said.code, "for ever" in said.out) == (0, True)


def test_what_is_not_proven_is_not_laid_down(
    attest: Attest, tmp_path: Path, state: Path, pki: IntelPki, milan: AmdVendor
) -> None:
    forged = json.dumps(dcap(IntelPki(NOW))).encode()
    for data, why in (
        (forged, "pinned"),
        (milan.endorsements()["amd-crl/milan"][0], "import amd-chain/milan/ark first"),
    ):
        done = attest("collateral", "import", written(tmp_path, "file", data), "--state", state)
        assert done.code == 2
        assert why in done.err
    assert attest("collateral", "list", "--state", state, "--output", "json").json() == []
    assert pki.root_spki


def test_older_collateral_is_refused(attest: Attest, tmp_path: Path, state: Path, pki: IntelPki) -> None:
    newer, older = (
        written(tmp_path, f"{number}.json", json.dumps(dcap(pki, number=number)).encode()) for number in (30, 29)
    )
    assert attest("collateral", "import", newer, "--state", state).code == 0
    done = attest("collateral", "import", older, "--state", state)
    assert (done.code, "older" in done.err) == (2, True)


async def test_what_the_worker_holds_is_listed_too(attest: Attest, state: Path, pki: IntelPki) -> None:
    book = Book([TrustAnchor("intel", pki.root_spki)])
    document = json.dumps(dcap(pki)).encode()
    record = book.record(TDX, (document,), {}, source="intel", now=int(NOW.timestamp()))
    store = await CollateralStore.open(state / "collateral")
    await store.save([record], ())
    assert [one["source"] for one in attest("collateral", "list", "--state", state, "--output", "json").json()] == [
        "intel"
    ]
    await store.close()


def test_a_bad_file_among_those_laid_down_is_named_and_left_out(attest: Attest, state: Path) -> None:
    path = state / "collateral" / "imported" / "amd-crl" / "milan"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"garbage")
    done = attest("collateral", "list", "--state", state)
    assert (done.code, str(path) in done.err) == (0, True)


def test_what_is_not_there_is_not_shown(attest: Attest, state: Path) -> None:
    assert attest("collateral", "show", "amd-crl/milan", "--state", state).code == 2


def test_the_text_that_intel_signed_is_restored(pki: IntelPki) -> None:
    whole = tool_file(pki)
    document = json.loads(from_pcs_client_tool(json.dumps(whole, indent=1).encode())[TDX][0])
    assert document["tcb_info"] == dcap(pki)["tcb_info"]
    assert document["qe_identity"] == dcap(pki)["qe_identity"]
    assert document["tcb_info_signature"] == whole["collaterals"]["tcbinfos"][0]["tdx_tcbinfo"]["signature"]


@pytest.mark.parametrize("data", [b'{"collaterals":1}', b'{"collaterals":{}}', b"{}", b"", b"x" * 100])
def test_what_is_no_collateral_is_not_recognised(data: bytes) -> None:
    with pytest.raises(BadCollateral):
        recognise(data)


def test_a_crl_of_nobody_we_know_and_a_file_beyond_the_limit_are_refused(pki: IntelPki) -> None:
    with pytest.raises(BadCollateral, match="belongs to no reference"):
        recognise(pki.crl(pki.root))
    with pytest.raises(BadCollateral, match="bytes"):
        recognise(bytes(MAX_FILE + 1))


def test_a_tool_file_without_a_part_gives_what_it_has(pki: IntelPki) -> None:
    whole = tool_file(pki)
    del whole["collaterals"]["tdqeidentity"]
    assert set(from_pcs_client_tool(json.dumps(whole).encode())) == {TDX.replace("tdx", "sgx")}
    whole["collaterals"]["certificates"]["SGX-PCK-Certificate-Issuer-Chain"] = ""
    assert from_pcs_client_tool(json.dumps(whole).encode()) == {}
    whole = tool_file(pki)
    whole["collaterals"]["rootcacrl"] = "zz"
    with pytest.raises(BadCollateral):
        from_pcs_client_tool(json.dumps(whole).encode())
