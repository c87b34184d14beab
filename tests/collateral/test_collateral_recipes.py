"""What is asked of the vendors, and what is believed of their answers."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from attest_pipeline.collateral.book import Book
from attest_pipeline.collateral.exchange import vendor_of
from attest_pipeline.collateral.imports import recognise
from attest_pipeline.collateral.intel import key_of
from attest_pipeline.collateral.recipes import BadCollateral, Request, Response, Unserved, crl_number, load_crl
from attest_pipeline.collateral.records import MAX_RECORD
from attest_pipeline.model import EndorsementKind, TrustAnchor
from attest_pipeline.simulator.amd import AmdVendor
from attest_pipeline.simulator.device import Vendor
from attest_pipeline.simulator.intel_pki import FMSPC, IntelPki
from attest_pipeline.verifiers._shared.x509 import quiet

NOW = datetime.now(UTC).replace(microsecond=0)
SECONDS = int(NOW.timestamp())
TDX = f"intel-dcap/tdx/{FMSPC.hex()}/platform"


@pytest.fixture(scope="module")
def pki() -> IntelPki:
    return IntelPki(NOW)


@pytest.fixture(scope="module")
def intel(pki: IntelPki) -> Book:
    return Book([TrustAnchor("intel", pki.root_spki)])


@pytest.fixture(scope="module")
def milan(vendors: tuple[Vendor, ...]) -> AmdVendor:
    (vendor,) = (one for one in vendors if isinstance(one, AmdVendor))
    return vendor


@pytest.fixture(scope="module")
def amd(milan: AmdVendor) -> Book:
    return Book(milan.trust_anchors())


def dcap(pki: IntelPki, **changes: Any) -> bytes:
    info = {**pki.tcb_info("tdx"), **changes}
    return json.dumps(pki.collateral(info, pki.qe_identity("tdx"))).encode()


def prove(book: Book, name: str, *documents: bytes, needed: Mapping[str, tuple[bytes, ...]] = {}) -> tuple[int, ...]:
    record = book.record(name, documents, needed, source="test", now=SECONDS)
    assert record.valid_from <= SECONDS < record.valid_until
    return record.sequence


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "name",
    [
        "amd-crl", "amd-crl/", "amd-crl/../x", "amd-crl/.hidden", "amd-crl//milan", "amd-crl/milan?x=1", "amd-crl/a b",
        "http://x/y", "nobody/x", "amd-crl/" + "a" * 400, "intel-dcap/tdx/90c06f000000/platform#",
    ],
)  # fmt: skip
def test_what_is_no_name_reaches_no_recipe(name: str) -> None:
    with pytest.raises(BadCollateral):
        Book().of(name)


@pytest.mark.parametrize(
    "name",
    [
        "intel-dcap/tdx/90c06f00000g/platform", "intel-dcap/tdx/90C06F000000/platform", "intel-dcap/sev/90c06f000000/x",
        "intel-dcap/tdx/90c06f000000/platform/x", "amd-chain/milan/xyz", "amd-chain/naples/ask", "amd-crl/naples",
        "amd-leaf/milan/00/00", f"amd-leaf/milan/{'0' * 128}/{'z' * 16}", f"amd-leaf/rome/{'1' * 128}/{'0' * 16}",
    ],
)  # fmt: skip
def test_a_key_outside_its_pattern_is_never_asked_for(name: str) -> None:
    recipe, key = Book().of(name)
    with pytest.raises(BadCollateral):
        recipe.requests(key)


def test_kinds_without_a_vendor_are_the_operators() -> None:
    recipe, key = Book().of("arm-cpak/some/key")
    assert isinstance(recipe, Unserved)
    assert (recipe.requests(key), recipe.needs(key)) == ((), ())
    assert prove(Book(), "arm-cpak/some/key", b"anything") == ()
    with pytest.raises(BadCollateral):
        recipe.documents(key, [Response({}, b"")])


def test_a_record_fits_into_a_message() -> None:
    with pytest.raises(BadCollateral, match="allowed"):
        prove(Book(), "arm-cpak/k", bytes(MAX_RECORD + 1))


# ── Intel ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_intel_is_asked_for_four_parts() -> None:
    recipe, key = Book().of("intel-dcap/tdx/90c06f000000/processor")
    assert recipe.requests(key) == (
        Request("intel", "tdx/certification/v4/tcb?fmspc=90c06f000000"),
        Request("intel", "tdx/certification/v4/qe/identity"),
        Request("intel", "sgx/certification/v4/pckcrl?ca=processor&encoding=der"),
        Request("intel-root-crl", ""),
    )


def test_collateral_states_its_versions_and_window(intel: Book, pki: IntelPki) -> None:
    assert prove(intel, TDX, dcap(pki, tcbEvaluationDataNumber=23)) == (23, 20, 1, 1)


@pytest.mark.parametrize(
    "name", [TDX.replace("tdx", "sgx"), TDX.replace(FMSPC.hex(), "90c06f000000"), TDX.replace("platform", "processor")]
)
def test_collateral_of_another_platform_is_refused(intel: Book, pki: IntelPki, name: str) -> None:
    with pytest.raises(BadCollateral):
        prove(intel, name, dcap(pki))


@pytest.mark.parametrize("garbage", [b"", b"{}", b"[" * 2000, b"\xff\xfe", b'{"tcb_info": 1}'])
def test_garbage_is_refused(intel: Book, garbage: bytes) -> None:
    with pytest.raises(BadCollateral):
        prove(intel, TDX, garbage)
    with pytest.raises(BadCollateral):
        key_of(garbage)


def test_two_documents_are_one_too_many(intel: Book, pki: IntelPki) -> None:
    with pytest.raises(BadCollateral, match="2 documents"):
        prove(intel, TDX, dcap(pki), dcap(pki))


def test_collateral_of_an_unknown_root_is_refused(pki: IntelPki) -> None:
    with pytest.raises(BadCollateral):
        prove(Book(), TDX, dcap(pki))


def test_collateral_that_was_changed_is_refused(intel: Book, pki: IntelPki) -> None:
    with pytest.raises(BadCollateral):
        prove(intel, TDX, dcap(pki).replace(b'\\"tcbEvaluationDataNumber\\":20', b'\\"tcbEvaluationDataNumber\\":99'))


@pytest.mark.parametrize("days", [-2, 40])
def test_collateral_outside_its_window_is_refused(intel: Book, pki: IntelPki, days: int) -> None:
    then = int((NOW + timedelta(days=days)).timestamp())
    with pytest.raises(BadCollateral):
        intel.record(TDX, (dcap(pki),), {}, source="test", now=then)


@pytest.mark.parametrize("index", range(4))
def test_an_answer_without_its_chain_or_body_is_refused(intel: Book, index: int) -> None:
    recipe, key = intel.of(TDX)
    answers = [Response({}, b'{"tcbInfo":{},"enclaveIdentity":{},"signature":""}')] * 4
    answers[index] = Response({}, b"<html>")
    with pytest.raises(BadCollateral):
        recipe.documents(key, answers)


def test_an_answer_of_intel_whose_text_is_no_utf8_is_refused(intel: Book, pki: IntelPki) -> None:
    recipe, key = intel.of(TDX)
    genuine = pcs_answers(dcap(pki))
    recipe.documents(key, genuine)
    broken_text = Response(genuine[0].headers, genuine[0].body.replace(b"UpToDate", b"\xed\xa0\x80", 1))
    broken_header = Response(dict.fromkeys(genuine[1].headers, "-----BEGIN\udcff"), genuine[1].body)
    for answers in ([broken_text, *genuine[1:]], [genuine[0], broken_header, *genuine[2:]]):
        with pytest.raises(BadCollateral):
            recipe.documents(key, answers)


def pcs_answers(document: bytes) -> list[Response]:
    """What Intel's PCS would answer with in four parts."""
    parts = json.loads(document)
    tcb = f'{{"tcbInfo":{parts["tcb_info"]},"signature":"{parts["tcb_info_signature"]}"}}'
    identity = f'{{"enclaveIdentity":{parts["qe_identity"]},"signature":"{parts["qe_identity_signature"]}"}}'
    return [
        Response({"tcb-info-issuer-chain": parts["tcb_info_issuer_chain"]}, tcb.encode()),
        Response({"sgx-enclave-identity-issuer-chain": parts["qe_identity_issuer_chain"]}, identity.encode()),
        Response({"sgx-pck-crl-issuer-chain": parts["pck_crl_issuer_chain"]}, bytes.fromhex(parts["pck_crl"])),
        Response({}, bytes.fromhex(parts["root_ca_crl"])),
    ]


def test_real_collateral_names_its_key(vectors: Path) -> None:
    found = {key_of(path.read_bytes()) for path in sorted((vectors / "evidence" / "dcap-collateral").glob("*.json"))}
    assert "tdx/90c06f000000/platform" in found
    assert "sgx/00906ed50000/processor" in found


def test_real_collateral_is_believed_at_its_time(vectors: Path) -> None:
    path = vectors / "evidence" / "dcap-collateral" / "b0c06f000000_tdx_platform_tcb3_eval20_2026-08-13_620d.json"
    at = int(datetime(2026, 8, 14, tzinfo=UTC).timestamp())
    record = Book().record("intel-dcap/tdx/b0c06f000000/platform", (path.read_bytes(),), {}, source="test", now=at)
    assert record.sequence[:2] == (20, 19)


# ── CRLs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_crl_is_read_in_each_coding(pki: IntelPki) -> None:
    der = pki.crl(pki.root)
    pem = x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)
    assert {crl_number(load_crl(text)) for text in (der, pem, der.hex().encode(), der.hex().upper().encode())} == {1}


@pytest.mark.parametrize("text", [b"", b"-----BEGIN X509 CRL-----", b"00ff", b"abc", b"\x30\x00"])
def test_what_is_no_crl_is_refused(text: bytes) -> None:
    with pytest.raises(BadCollateral):
        load_crl(text)


def test_a_crl_cannot_write_into_our_log(pki: IntelPki) -> None:
    """`cryptography` warns of an empty name; a warning fails a test."""
    with quiet():
        nobody = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "", _validate=False)])
    builder = x509.CertificateRevocationListBuilder(nobody, NOW, NOW + timedelta(days=1))
    crl = builder.sign(pki.root.key, hashes.SHA256()).public_bytes(Encoding.DER)
    load_crl(crl)
    with pytest.raises(BadCollateral):
        recognise(crl)


@pytest.mark.parametrize(
    ("found", "put"),
    [
        (b"Simulated SGX Root CA", b"\xff" * 21),
        (bytes.fromhex("551d23"), bytes.fromhex("551d14")),
    ],
    ids=["a name that is no UTF-8", "an extension twice"],
)
def test_a_crl_whose_parts_cannot_be_read_is_none(pki: IntelPki, found: bytes, put: bytes) -> None:
    der = pki.crl(pki.root)
    assert found in der
    with pytest.raises(BadCollateral):
        load_crl(der.replace(found, put))


# ── AMD ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
CHIP = "ab" * 64


def test_a_vcek_is_asked_for_by_chip_and_levels() -> None:
    recipe, key = Book().of(f"amd-leaf/milan/{CHIP}/040000000000180b")
    assert recipe.requests(key) == (Request("amd", f"vcek/v1/Milan/{CHIP}?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=11"),)
    assert recipe.needs(key) == ("amd-chain/milan/ask",)


def test_a_turin_chip_has_eight_bytes_and_an_fmc() -> None:
    chip = "6bb1229b7692b710"
    recipe, key = Book().of(f"amd-leaf/turin/{chip}{'0' * 112}/0101010400000052")
    assert recipe.requests(key) == (
        Request("amd", f"vcek/v1/Turin/{chip}?fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=82"),
    )
    assert recipe.requests(f"turin/{CHIP}/0101010400000052") == ()


def test_nobody_serves_the_leaf_of_a_masked_chip() -> None:
    recipe, key = Book().of(f"amd-leaf/milan/{'0' * 128}/0400000000001800")
    assert recipe.requests(key) == ()
    assert recipe.needs(key) == ("amd-chain/milan/asvk",)


def test_chain_and_crl_are_asked_for_by_product() -> None:
    paths = {}
    for name in ("amd-chain/genoa/ask", "amd-chain/genoa/ark", "amd-chain/genoa/asvk", "amd-crl/genoa"):
        recipe, key = Book().of(name)
        ((_, paths[name]),) = ((one.site, one.path) for one in recipe.requests(key))
    assert list(paths.values()) == [
        "vcek/v1/Genoa/cert_chain", "vcek/v1/Genoa/cert_chain", "vlek/v1/Genoa/cert_chain", "vcek/v1/Genoa/crl",
    ]  # fmt: skip


@pytest.mark.parametrize(("product", "role"), [("Milan", "ask"), ("Genoa", "ask"), ("Turin", "asvk")])
def test_real_certificates_are_believed_in_their_role_alone(vectors: Path, product: str, role: str) -> None:
    roots = vectors / "evidence" / "roots" / "amd"
    intermediate = f"SEV-VLEK-{product}" if role == "asvk" else f"SEV-{product}"
    bundle = (roots / f"{intermediate}.pem").read_bytes() + (roots / f"ARK-{product}.pem").read_bytes()
    book, home = Book(), f"amd-chain/{product.lower()}"
    recipe, key = book.of(f"{home}/{role}")
    found = recipe.documents(key, [Response({}, bundle)])
    assert set(found) == {f"{home}/{role}", f"{home}/ark"}
    for name, documents in found.items():
        prove(book, name, *documents)
    for wrong in (f"{home}/{'ask' if role == 'asvk' else 'asvk'}", f"{home}/ark"):
        with pytest.raises(BadCollateral):
            prove(book, wrong, *found[f"{home}/{role}"])


def test_a_crl_is_proven_under_the_root(amd: Book, milan: AmdVendor) -> None:
    given = milan.endorsements()
    ark = {"amd-chain/milan/ark": given["amd-chain/milan/ark"]}
    (number,) = prove(amd, "amd-crl/milan", *given["amd-crl/milan"], needed=ark)
    assert number > 1_700_000_000, "AMD numbers no CRL, so its time of issue counts"
    other = {"amd-chain/milan/ark": given["amd-chain/milan/ask"]}
    with pytest.raises(BadCollateral):
        prove(amd, "amd-crl/milan", *given["amd-crl/milan"], needed=other)


def test_a_leaf_is_proven_and_of_that_chip(amd: Book, milan: AmdVendor) -> None:
    chip = milan.chip(7)
    needed = {"amd-chain/milan/ask": (milan.pki.ask,)}
    name = f"amd-leaf/milan/{chip.chip_id.hex()}/{chip.tcb.hex()}"
    assert prove(amd, name, chip.leaf, needed=needed) == ()
    for other in (f"amd-leaf/milan/{CHIP}/{chip.tcb.hex()}", f"amd-leaf/milan/{chip.chip_id.hex()}/{'00' * 8}"):
        with pytest.raises(BadCollateral, match="another chip"):
            prove(amd, other, chip.leaf, needed=needed)
    with pytest.raises(BadCollateral):
        prove(Book(), name, chip.leaf, needed=needed)


@pytest.mark.parametrize("garbage", [b"", b"<html>", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"])
@pytest.mark.parametrize("name", ["amd-chain/milan/ask", "amd-crl/milan", f"amd-leaf/milan/{CHIP}/0000000000000000"])
def test_garbage_of_amd_is_refused(amd: Book, milan: AmdVendor, name: str, garbage: bytes) -> None:
    recipe, key = amd.of(name)
    needed = {"amd-chain/milan/ask": (milan.pki.ask,), "amd-chain/milan/ark": (milan.pki.ark,)}

    def believe() -> None:
        for found, documents in recipe.documents(key, [Response({}, garbage)]).items():
            prove(amd, found, *documents, needed=needed)

    with pytest.raises(BadCollateral):
        believe()


def test_a_root_without_a_key_that_is_admitted_is_refused(amd: Book, pki: IntelPki) -> None:
    recipe, key = amd.of("amd-chain/milan/ask")
    stranger = pki.root.certificate.public_bytes(Encoding.PEM)
    (document,) = recipe.documents(key, [Response({}, stranger)])["amd-chain/milan/ask"]
    with pytest.raises(BadCollateral):
        prove(amd, "amd-chain/milan/ask", document)


# ── Hygon ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_hygon_chip_is_asked_for_by_its_serial_number() -> None:
    recipe, key = Book().of("hygon-hsk-cek/nza9t14052605")
    assert recipe.requests(key) == (Request("hygon", "hsk_cek?snumber=NZA9T14052605"),)
    assert recipe.needs(key) == ()
    with pytest.raises(BadCollateral):
        recipe.requests("nza9/t1")


def test_a_real_hygon_chip_is_proven_and_a_changed_one_is_not(vectors: Path) -> None:
    body = (vectors / "evidence" / "csv" / "hsk_cek.cert").read_bytes()
    recipe, key = Book().of("hygon-hsk-cek/nza9t14052605")
    ((name, documents),) = recipe.documents(key, [Response({}, body)]).items()
    assert prove(Book(), name, *documents) == ()
    for wrong in (b"", body[:100], body[:1000] + bytes([body[1000] ^ 1]) + body[1001:]):
        with pytest.raises(BadCollateral):
            prove(Book(), name, wrong)


# ── NVIDIA ────────────────────────────────────────────────────────────────────────────────────────────────────────────
DRIVER = "nvidia-rim/driver/550.90.07/gh100"
VBIOS = "nvidia-rim/vbios/96.00.9f.00.01/1010_0200_882"


def test_manifests_are_asked_for_by_their_ids() -> None:
    paths = []
    for name in (DRIVER, VBIOS):
        recipe, key = Book().of(name)
        paths += [one.path for one in recipe.requests(key)]
        assert recipe.needs(key) == ()
    assert paths == ["v1/rim/NV_GPU_DRIVER_GH100_550.90.07", "v1/rim/NV_GPU_VBIOS_1010_0200_882_96009F0001"]
    recipe, key = Book().of("nvidia-rim/switch/96.10.55.00.01/ls10")
    assert recipe.requests(key) == ()
    with pytest.raises(BadCollateral):
        recipe.requests("driver/550/../x")


def test_a_real_manifest_is_proven_for_its_version_alone(vectors: Path) -> None:
    document = (vectors / "evidence" / "nvidia" / "rim" / "NV_GPU_DRIVER_GH100_550.90.07.xml").read_bytes()
    recipe, key = Book().of(DRIVER)
    body = json.dumps({"id": "x", "rim": base64.b64encode(document).decode()}).encode()
    found = recipe.documents(key, [Response({}, body)])
    at = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())
    assert Book().record(DRIVER, found[DRIVER], {}, source="test", now=at).documents == (document,)
    for name, documents, then in (
        (DRIVER.replace("550", "551"), (document,), at),
        (DRIVER, (document.replace(b"550.90.07", b"550.90.08"),), at),
        (DRIVER, (document,), SECONDS + 10**9),
    ):
        with pytest.raises(BadCollateral):
            Book().record(name, documents, {}, source="test", now=then)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"rim":"@"}', b'{"rim":1}', b"\xff"])
def test_an_answer_without_a_manifest_is_refused(body: bytes) -> None:
    recipe, key = Book().of(DRIVER)
    with pytest.raises(BadCollateral):
        recipe.documents(key, [Response({}, body)])


@pytest.mark.parametrize("kind", EndorsementKind)
def test_a_kind_is_counted_under_the_vendor_who_serves_it(kind: EndorsementKind) -> None:
    recipe, _ = Book().of(f"{kind}/x")
    assert isinstance(recipe, Unserved) or recipe.vendor == vendor_of(kind)
