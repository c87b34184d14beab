from pathlib import Path

import pytest
from amd_lab import lab
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._amd import kds
from attest_pipeline.verifiers._amd.roots import ARK
from attest_pipeline.verifiers._shared.x509 import load_certificate, public_key

FINGERPRINTS = {
    "Milan": "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
    "Genoa": "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
    "Turin": "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
}


def self_named(issuer: str, subject: str) -> bytes:
    """A certificate with these common names and no extension."""
    key = ec.generate_private_key(ec.SECP384R1())
    pki = lab("Milan").vendor.pki
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]),
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]),
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=pki.start,
        not_valid_after=pki.start,
    )
    return builder.sign(key, hashes.SHA384()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("product", FINGERPRINTS)
def test_a_pinned_root_is_the_key_of_the_published_certificate(vectors: Path, product: str) -> None:
    certificate = load_certificate((vectors / "evidence" / "roots" / "amd" / f"ARK-{product}.pem").read_bytes())
    assert certificate.fingerprint(hashes.SHA256()).hex() == FINGERPRINTS[product]
    assert public_key(certificate).spki == ARK[product]
    assert set(ARK) == set(kds.PRODUCTS)


@pytest.mark.parametrize(
    ("name", "product", "tcb", "size"),
    [
        ("v2_milan_vcek_automata", "Milan", "03000000000016d1", 64),
        ("v3_genoa_vcek_coco_structjson", "Genoa", "0a00000000001719", 64),
        ("v5_turin_vcek_ms", "Turin", "0101010400000051", 8),
    ],
)
def test_real_vceks_say_what_their_reports_say(vectors: Path, name: str, product: str, tcb: str, size: int) -> None:
    folder = vectors / "evidence" / "snp"
    leaf = kds.read_leaf(load_certificate((folder / f"{name}.vcek.der").read_bytes()))
    assert (leaf.product.name, leaf.vlek, leaf.tcb.hex(), leaf.csp_id) == (product, False, tcb, None)
    assert leaf.hwid == (folder / f"{name}.bin").read_bytes()[0x1A0:0x1E0]
    assert leaf.product.hwid == size


def test_a_real_vlek_names_its_cloud_and_no_chip(vectors: Path) -> None:
    leaf = kds.read_leaf(
        load_certificate((vectors / "evidence" / "snp" / "v3_milan_vlek_aws_vmpl1.vlek.der").read_bytes())
    )
    assert (leaf.vlek, leaf.hwid, leaf.csp_id) == (True, None, "CN=cc-us-east-2.amazonaws.com")
    assert leaf.tcb.hex() == "04000000000018d9"


def test_a_hardware_id_wrapped_in_an_octet_string_is_the_same(vectors: Path) -> None:
    wrapped = (vectors / "evidence" / "negative" / "snp" / "test-vcek-invalid-new.der").read_bytes()
    assert kds.read_leaf(load_certificate(wrapped)).hwid == bytes(range(64))
    raw = lab("Turin").chip().chip_id[:8]
    leaf = lab("Turin").leaf({kds.HWID: b"\x04\x08" + raw})
    assert kds.read_leaf(load_certificate(leaf)).hwid == raw.ljust(64, b"\0")


def test_a_raw_hardware_id_that_looks_like_der_stays_raw() -> None:
    raw = b"\x04\x3e" + bytes(range(62))
    assert kds.read_leaf(load_certificate(lab("Milan").leaf({kds.HWID: raw}))).hwid == raw


@pytest.mark.parametrize(
    ("product", "oid", "value"),
    [
        ("Milan", kds.HWID, None),
        ("Milan", kds.HWID, bytes(64)),
        ("Milan", kds.HWID, bytes(range(63))),
        ("Milan", kds.HWID, b"\x04\x3f" + bytes(range(64))),
        ("Milan", kds.HWID, bytes(range(8))),
        ("Turin", kds.HWID, bytes(range(64))),
        ("Milan", kds.PRODUCT_NAME, None),
        ("Milan", kds.PRODUCT_NAME, b"\x16\x05Genoa"),
        ("Milan", kds.PRODUCT_NAME, b"\x0c\x05Milan"),
        ("Milan", kds.PRODUCT_NAME, b"\x16\x09Milan"),
        ("Milan", kds.PRODUCT_NAME, b"\x16\x05Mil\xe4n"),
        ("Milan", kds.PRODUCT_NAME, b"\x16"),
        *(("Milan", f"{kds.SPL}{arc}", None) for arc in range(1, 9)),
        ("Turin", f"{kds.SPL}9", None),
        ("Milan", f"{kds.SPL}3", b""),
        ("Milan", f"{kds.SPL}3", b"\x02\x01\xdb"),
        ("Milan", f"{kds.SPL}3", b"\x02\x02\x00\x18"),
        ("Milan", f"{kds.SPL}3", b"\x02\x02\x01\x18"),
    ],
)
def test_a_leaf_without_its_facts_endorses_nothing(product: str, oid: str, value: bytes | None) -> None:
    with pytest.raises(BadEvidence) as refused:
        kds.read_leaf(load_certificate(lab(product).leaf({oid: value})))
    assert refused.value.reason is Reason.BAD_ENDORSEMENT


@pytest.mark.parametrize(("oid", "value"), [(kds.HWID, bytes(range(64))), (kds.CSP_ID, None), (kds.CSP_ID, b"\x04\0")])
def test_a_vlek_has_a_cloud_and_no_chip(oid: str, value: bytes | None) -> None:
    with pytest.raises(BadEvidence) as refused:
        kds.read_leaf(load_certificate(lab("Milan", vlek=True).leaf({oid: value})))
    assert refused.value.reason is Reason.BAD_ENDORSEMENT


@pytest.mark.parametrize(
    ("issuer", "subject"),
    [
        ("SEV-Naples", "SEV-VCEK"),
        ("Milan", "SEV-VCEK"),
        ("ARK-Milan", "SEV-Milan"),
        ("SEV-Milan", "SEV-VLEK"),
        ("SEV-VLEK-Milan", "SEV-VCEK"),
        ("SEV-Milan", "SEV-Milan"),
    ],
)
def test_names_of_issuer_and_leaf_must_agree(issuer: str, subject: str) -> None:
    with pytest.raises(BadEvidence) as refused:
        kds.read_leaf(load_certificate(self_named(issuer, subject)))
    assert refused.value.reason is Reason.BAD_ENDORSEMENT


@pytest.mark.parametrize(
    ("family", "model", "product"),
    [
        (25, 0, "Milan"),
        (25, 1, "Milan"),
        (25, 0x11, "Genoa"),
        (25, 0xA0, "Genoa"),
        (26, 2, "Turin"),
        (26, 0x11, "Turin"),
        (25, 0x20, None),
        (26, 0x20, None),
        (23, 1, None),
    ],
)
def test_cpuid_names_the_product(family: int, model: int, product: str | None) -> None:
    found = kds.product_of(family, model)
    assert (found.name if found else None) == product
