import hashlib
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from amd_lab import CHALLENGE, KINDS, NOW, Lab, lab, lab_of
from awscrt.crypto import ECExportFormat
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from verifiers_conformance import run_cases

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import EndorsementKind, EndorsementRef, Endorsements, Evidence
from attest_pipeline.simulator.amd_pki import SILICON
from attest_pipeline.simulator.device import Fault
from attest_pipeline.verifiers._amd import kds
from attest_pipeline.verifiers._shared.x509 import load_certificate
from attest_pipeline.verifiers.snp import SnpVerifier

CPUID, TCB, CHIP_ID = 0x188, 0x180, 0x1A0


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest) -> Lab:
    """Each product under each kind of key."""
    return lab_of(request.param)


@pytest.fixture(params=["Milan", "Genoa", "Turin"])
def chips(request: pytest.FixtureRequest) -> Lab:
    """Each product under VCEKs."""
    return lab(request.param)


def refusal(
    site: Lab,
    report: bytes,
    endorsements: Endorsements | None = None,
    *,
    leaf: bytes | None = None,
    challenge: bytes | None = CHALLENGE,
    now: datetime = NOW,
) -> Reason | None:
    """Why the verifier refuses; None if it does not."""
    try:
        site.verify(report, endorsements, leaf=leaf, challenge=challenge, now=now)
    except BadEvidence as error:
        return error.reason
    return None


def serial_of(document: bytes) -> int:
    """Serial number of a simulated certificate."""
    return load_certificate(document).serial_number


# ── what holds ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_every_conformance_case_has_its_expected_outcome(conformance: Path) -> None:
    assert run_cases(conformance, "snp", lambda: SnpVerifier({})) == []


def test_a_healthy_guest_is_proven_on_every_product(site: Lab) -> None:
    claims = site.verify(site.report())
    silicon = SILICON[site.product]
    assert (claims.tee, claims.debug, claims.tcb_status, claims.challenge_verified) == ("snp", False, None, True)
    assert claims.hardware_id == (None if site.vlek else site.chip().chip_id.hex())
    assert claims.measurements == {"measurement": claims.fields["measurement"]}
    expected = {
        "version": silicon.report_version,
        "product": site.product,
        "signing_key": "vlek" if site.vlek else "vcek",
        "csp_id": "CN=simulator.example" if site.vlek else None,
        "reported_tcb": silicon.tcb.hex(),
        "report_data": CHALLENGE.hex(),
        "revocation_checked": True,
        "smt": True,
        "migrate_ma": False,
    }
    assert {name: claims.fields[name] for name in expected} == expected
    assert set(claims.endorsements) == {"leaf", "ask", "ark", "crl"}


def test_the_tcb_is_told_part_by_part_in_the_layout_of_the_product() -> None:
    def parts(site: Lab) -> dict[str, object]:
        fields = site.verify(site.report()).fields
        return {name: value for name, value in fields.items() if name.startswith("tcb_")}

    assert parts(lab("Milan")) == {"tcb_bl": 4, "tcb_tee": 0, "tcb_snp": 0x18, "tcb_ucode": 0xDB}
    assert parts(lab("Turin")) == {"tcb_fmc": 1, "tcb_bl": 1, "tcb_tee": 1, "tcb_snp": 4, "tcb_ucode": 0x51}


def test_only_the_checks_that_were_made_are_named() -> None:
    site = lab("Milan")
    full = set(site.verify(site.report()).checks)
    assert {"report_signature", "chain_not_revoked", "challenge", "product_of_leaf"} <= full
    bare = site.verify(site.report(), site.documents(crl=None), challenge=None)
    assert full - set(bare.checks) == {"chain_not_revoked", "challenge"}
    assert (bare.challenge_verified, bare.fields["revocation_checked"]) == (False, False)
    old = site.verify(site.report((0x00, b"\2"), (CPUID, bytes(3))))
    assert full - set(old.checks) == {"product_of_leaf"}
    assert old.fields["version"] == 2


@pytest.mark.parametrize(
    ("offset", "value", "field", "told"),
    [
        (0x0A, b"\x07", "migrate_ma", True),
        (0x0A, b"\x0b", "debug", True),
        (0x0A, b"\x12", "single_socket", True),
        (0x0A, b"\x02", "smt", False),
        (0x08, b"\x1f\x01", "abi_minor", 31),
        (0x08, b"\x1f\x01", "abi_major", 1),
        (0x30, b"\x01", "vmpl", 1),
        (0x30, b"\x03", "vmpl", 3),
        (0x04, b"\x09", "guest_svn", 9),
        (0x40, b"\xe5", "platform_info", 0xE5),
        (0x48, b"\x01", "author_key_enabled", True),
        (0x1EA, b"\x02", "current_version", "2.55.29"),
    ],
)
def test_weak_settings_are_told_and_left_to_policy(offset: int, value: bytes, field: str, told: object) -> None:
    site = lab("Milan")
    claims = site.verify(site.report((offset, value)))
    assert claims.fields[field] == told
    assert claims.debug is claims.fields["debug"]


def test_a_vlek_report_may_say_that_chip_keys_are_masked() -> None:
    site = lab("Milan", vlek=True)
    assert site.verify(site.report((0x48, b"\x06"))).fields["mask_chip_key"] is True


def test_the_root_certificate_may_be_absent_because_its_key_is_pinned(site: Lab) -> None:
    claims = site.verify(site.report(), site.documents(ark=None))
    assert set(claims.endorsements) == {"leaf", "ask", "crl"}
    assert "chain_not_revoked" in claims.checks


def test_certificates_may_be_pem() -> None:
    site = lab("Milan")
    pem = {
        name: load_certificate(document).public_bytes(serialization.Encoding.PEM)
        for name, document in {"ask": site.vendor.pki.ask, "leaf": site.chip().leaf}.items()
    }
    assert site.verify(site.report(), site.documents(**pem)).challenge_verified


def test_the_hosts_leaf_wins_over_the_one_in_the_evidence() -> None:
    site = lab("Milan")
    stranger = site.vendor.chip(7).leaf
    assert site.verify(site.report(), site.documents(leaf=site.chip().leaf), leaf=stranger).challenge_verified
    assert refusal(site, site.report(), site.documents(leaf=stranger)) is Reason.IDENTITY_MISMATCH


# ── what is asked for ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_references_asked_for_lead_to_a_proof(site: Lab) -> None:
    evidence = Evidence("snp", {"report": site.report(), "leaf": site.chip().leaf})
    refs = site.verifier.endorsements_for(evidence)
    authority = "asvk" if site.vlek else "ask"
    product = site.product.lower()
    assert {ref.item: (str(ref.kind), ref.key, ref.required) for ref in refs} == {
        "ask": ("amd-chain", f"{product}/{authority}", True),
        "ark": ("amd-chain", f"{product}/ark", False),
        "crl": ("amd-crl", product, False),
    }
    assert site.verifier.verify(evidence, site.found(refs), challenge=CHALLENGE, now=NOW).challenge_verified


def test_a_leaf_is_asked_for_only_if_the_evidence_brings_none() -> None:
    site = lab("Genoa")
    chip = site.chip()
    refs = site.verifier.endorsements_for(Evidence("snp", {"report": site.report()}))
    key = f"genoa/{chip.chip_id.hex()}/{chip.tcb.hex()}"
    assert EndorsementRef(item="leaf", kind=EndorsementKind.AMD_LEAF, key=key) in refs


def test_a_version_2_report_takes_its_product_from_its_leaf_or_is_of_milan() -> None:
    site = lab("Genoa")
    report = site.report((0x00, b"\2"), (CPUID, bytes(3)))
    with_leaf = site.verifier.endorsements_for(Evidence("snp", {"report": report, "leaf": site.chip().leaf}))
    assert with_leaf[0].key == "genoa/ask"
    assert site.verifier.endorsements_for(Evidence("snp", {"report": report}))[0].key == "milan/ask"


def test_no_reference_is_made_for_an_unknown_product() -> None:
    site = lab("Milan")
    with pytest.raises(BadEvidence) as refused:
        site.verifier.endorsements_for(Evidence("snp", {"report": site.report((CPUID, b"\x1b"))}))
    assert refused.value.reason is Reason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("missing", ["leaf", "ask"])
def test_a_missing_certificate_endorses_nothing(missing: str) -> None:
    site = lab("Milan")
    documents = site.documents(**{missing: None})
    evidence = Evidence("snp", {"report": site.report()} | ({} if missing == "leaf" else {"leaf": site.chip().leaf}))
    with pytest.raises(BadEvidence) as refused:
        site.verifier.verify(evidence, documents, challenge=CHALLENGE, now=NOW)
    assert refused.value.reason is Reason.MISSING_ENDORSEMENT


@pytest.mark.parametrize("item", ["leaf", "ask", "ark", "crl"])
def test_two_documents_where_one_is_due_are_refused_and_not_chosen_from(item: str) -> None:
    site = lab("Milan")
    one = site.documents(leaf=site.chip().leaf).items
    two = Endorsements({**one, item: one[item] * 2})
    assert refusal(site, site.report(), two) is Reason.BAD_ENDORSEMENT


# ── who signed ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_vlek_in_the_place_of_a_vcek_is_refused_and_the_other_way_round() -> None:
    vcek, vlek = lab("Milan"), lab("Milan", vlek=True)
    assert refusal(vcek, vcek.report((0x48, b"\x04"))) is Reason.IDENTITY_MISMATCH
    assert refusal(vlek, vlek.report((0x48, b"\x00"))) is Reason.IDENTITY_MISMATCH
    swapped = vlek.documents(leaf=vcek.chip().leaf)
    assert refusal(vlek, vlek.report(), swapped) is Reason.BAD_CHAIN


def test_a_report_that_nobody_signed_is_refused() -> None:
    site = lab("Milan")
    assert refusal(site, site.report((0x48, (7 << 2).to_bytes(4, "little")))) is Reason.IDENTITY_MISMATCH


def test_a_vcek_signs_nothing_while_chip_keys_are_masked() -> None:
    site = lab("Milan")
    assert refusal(site, site.report((0x48, b"\x02"))) is Reason.IDENTITY_MISMATCH


def test_a_zero_chip_id_is_not_the_chip_of_a_vcek(chips: Lab) -> None:
    assert refusal(chips, chips.report((CHIP_ID, bytes(64)))) is Reason.IDENTITY_MISMATCH


@pytest.mark.parametrize("offset", [CHIP_ID, CHIP_ID + 7, CHIP_ID + 8, CHIP_ID + 63])
def test_every_byte_of_the_chip_id_counts(chips: Lab, offset: int) -> None:
    last = chips.report()[offset] ^ 0x80
    assert refusal(chips, chips.report((offset, bytes((last,))))) is Reason.IDENTITY_MISMATCH


def test_a_vlek_endorses_no_chip() -> None:
    site = lab("Milan", vlek=True)
    assert refusal(site, site.report((CHIP_ID, b"\1"))) is Reason.IDENTITY_MISMATCH


@pytest.mark.parametrize(("ours", "theirs"), [("Milan", "Genoa"), ("Genoa", "Milan"), ("Turin", "Genoa")])
def test_a_leaf_of_one_product_endorses_no_report_of_another(ours: str, theirs: str) -> None:
    site = lab(ours)
    cpuid = bytes(SILICON[theirs].cpuid)
    assert refusal(site, site.report((CPUID, cpuid))) is Reason.IDENTITY_MISMATCH


def test_a_real_milan_certificate_endorses_no_genoa_report(vectors: Path) -> None:
    folder = vectors / "evidence"
    evidence = Evidence("snp", {"report": (folder / "snp" / "v3_genoa_vcek_ms.bin").read_bytes()})
    documents = Endorsements(
        {
            "leaf": ((folder / "snp" / "v3_milan_vcek_dstack_2026.vcek.der").read_bytes(),),
            "ask": ((folder / "roots" / "amd" / "SEV-Milan.pem").read_bytes(),),
        }
    )
    with pytest.raises(BadEvidence) as refused:
        SnpVerifier({}).verify(evidence, documents, challenge=None, now=NOW)
    assert refused.value.reason is Reason.IDENTITY_MISMATCH


def test_the_reported_tcb_must_be_the_one_of_the_leaf_byte_for_byte(chips: Lab) -> None:
    tcb = chips.chip().tcb
    for index in range(8):
        changed = bytes((tcb[index] ^ 1,))
        assert refusal(chips, chips.report((TCB + index, changed))) is Reason.IDENTITY_MISMATCH


def test_one_part_lower_is_lower_although_the_number_as_a_whole_is_higher() -> None:
    site = lab("Milan")
    tcb = site.chip().tcb
    changed = tcb[:6] + bytes((tcb[6] - 1, tcb[7] + 1))
    assert int.from_bytes(changed, "little") > int.from_bytes(tcb, "little")
    assert refusal(site, site.report((TCB, changed))) is Reason.IDENTITY_MISMATCH


def test_the_turin_layout_is_not_read_as_milan() -> None:
    site = lab("Turin")
    tcb = site.chip().tcb
    as_milan = bytes((tcb[1], tcb[2], 0, 0, 0, 0, tcb[3], tcb[7]))
    assert refusal(site, site.report((TCB, as_milan))) is Reason.IDENTITY_MISMATCH


# ── the chain ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_simulated_root_is_not_trusted_unless_it_is_named(site: Lab) -> None:
    evidence = Evidence("snp", {"report": site.report(), "leaf": site.chip().leaf})
    for anchors in ({}, {"intel": (site.vendor.pki.root_spki,)}):
        with pytest.raises(BadEvidence) as refused:
            SnpVerifier(anchors).verify(evidence, site.documents(), challenge=CHALLENGE, now=NOW)
        assert refused.value.reason is Reason.BAD_CHAIN


def test_an_intermediate_of_another_vendor_signs_nothing_here() -> None:
    site, other = lab("Milan"), lab("Milan", vlek=True)
    assert refusal(site, site.report(), site.documents(ask=other.vendor.pki.ask)) is Reason.BAD_CHAIN
    chip = site.vendor.chip(1, Fault.FOREIGN_CHAIN)
    assert refusal(site, site.report(chip=chip), leaf=chip.leaf) is Reason.BAD_SIGNATURE


def test_a_given_root_certificate_must_be_that_of_the_pinned_key() -> None:
    site = lab("Milan")
    own, stranger = site.vendor.pki.ark, lab("Genoa").vendor.pki.ark
    assert refusal(site, site.report(), site.documents(ark=own)) is None
    for other in (stranger, own[:-1] + bytes((own[-1] ^ 1,))):
        assert refusal(site, site.report(), site.documents(ark=other)) is Reason.UNTRUSTED_ROOT


def test_the_intermediate_is_no_leaf() -> None:
    site = lab("Milan")
    assert refusal(site, site.report(), leaf=site.vendor.pki.ask) is Reason.BAD_ENDORSEMENT


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP521R1()])
def test_a_leaf_of_another_curve_endorses_nothing(curve: ec.EllipticCurve) -> None:
    site = lab("Milan")
    chip = site.chip()
    key = ec.generate_private_key(curve).public_key()
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    leaf = site.vendor.pki.leaf(spki, site.vendor.pki.extensions(chip.tcb, chip.chip_id))
    assert refusal(site, site.report(), leaf=leaf) is Reason.BAD_ENDORSEMENT


@pytest.mark.parametrize(
    ("now", "reason"),
    [(NOW - timedelta(days=2), Reason.NOT_YET_VALID), (NOW + timedelta(days=366), Reason.EXPIRED)],
)
def test_a_chain_is_judged_at_the_given_time_on_every_call(now: datetime, reason: Reason) -> None:
    site = lab("Milan")
    assert site.verify(site.report(), site.documents(crl=None)).challenge_verified
    assert refusal(site, site.report(), site.documents(crl=None), now=now) is reason
    assert site.verify(site.report(), site.documents(crl=None)).challenge_verified


# ── revocation ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("revoked", ["leaf", "ask", "ark"])
def test_a_revoked_certificate_anywhere_in_the_chain_is_refused(site: Lab, revoked: str) -> None:
    document = {"leaf": site.chip().leaf, "ask": site.vendor.pki.ask, "ark": site.vendor.pki.ark}[revoked]
    crl = site.vendor.pki.crl((1, serial_of(document)))
    assert refusal(site, site.report(), site.documents(crl=crl)) is Reason.REVOKED


def test_a_revoked_intermediate_is_found_without_the_root_certificate() -> None:
    site = lab("Turin")
    crl = site.vendor.pki.crl((serial_of(site.vendor.pki.ask),))
    assert refusal(site, site.report(), site.documents(crl=crl, ark=None)) is Reason.REVOKED


def test_a_crl_of_another_root_is_refused() -> None:
    site = lab("Milan")
    for other in (lab("Genoa"), lab("Milan", vlek=True)):
        stranger = other.vendor.pki.crl(())
        assert refusal(site, site.report(), site.documents(crl=stranger)) is Reason.BAD_ENDORSEMENT


def test_a_crl_counts_only_within_its_window() -> None:
    site = lab("Milan")
    assert refusal(site, site.report(), now=NOW + timedelta(days=40)) is Reason.EXPIRED
    assert refusal(site, site.report(), site.documents(crl=b"no CRL")) is Reason.BAD_ENDORSEMENT


# ── freshness and integrity ───────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "challenge",
    [
        CHALLENGE[:63],
        CHALLENGE + b"\0",
        b"",
        CHALLENGE[:32],
        bytes(64),
        *(CHALLENGE[:i] + b"\xff" + CHALLENGE[i + 1 :] for i in range(64)),
    ],
)
def test_all_64_bytes_of_the_challenge_are_compared(challenge: bytes) -> None:
    site = lab("Milan")
    assert refusal(site, site.report(), challenge=challenge) is Reason.CHALLENGE_MISMATCH


def test_no_altered_byte_of_a_report_is_ever_proven(chips: Lab) -> None:
    report = chips.report()
    for offset in range(len(report)):
        for bit in (0x01, 0x80) if offset >= 0x2A0 else (1 << offset % 8,):
            altered = report[:offset] + bytes((report[offset] ^ bit,)) + report[offset + 1 :]
            assert refusal(chips, altered, challenge=None) is not None, (offset, bit)


def test_a_signature_by_another_chip_is_refused() -> None:
    site = lab("Milan")
    stranger = site.vendor.chip(9)._replace(chip_id=site.chip().chip_id)
    assert refusal(site, site.report(chip=stranger)) is Reason.BAD_SIGNATURE


def altered(document: bytes, times: int, seed: int) -> Iterator[bytes]:
    """The document with one to three bytes changed."""
    dice = random.Random(seed)
    for _ in range(times):
        data = bytearray(document)
        for _ in range(dice.randint(1, 3)):
            data[dice.randrange(len(data))] = dice.choice((0, 1, 2, 4, 5, 6, 48, 255, dice.randrange(256)))
        yield bytes(data)


@pytest.mark.parametrize("item", ["leaf", "ask", "ark", "crl"])
def test_no_altered_document_proves_anything(item: str) -> None:
    site = lab("Milan")
    report, pki = site.report(), site.vendor.pki
    document = {"leaf": site.chip().leaf, "ask": pki.ask, "ark": pki.ark, "crl": pki.crl((1, 2))}[item]
    for data in altered(document, 300, seed=1):
        outcome = refusal(site, report, site.documents(**{item: data}))
        assert outcome is not None or data == document, data.hex()


def test_arbitrary_bytes_are_refused_in_every_place() -> None:
    site = lab("Milan")
    dice = random.Random(2)
    for size in (0, 1, 40, 1184, 1351, 20000):
        data = dice.randbytes(size)
        assert refusal(site, data) is not None
        for item in ("leaf", "ask", "ark", "crl"):
            assert refusal(site, site.report(), site.documents(**{item: data})) is not None, (item, size)


def test_a_leaf_is_proven_once_for_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    site = lab("Genoa")
    leaf = site.leaf()
    site.verify(site.report(), leaf=leaf)

    def fail(_certificate: object) -> kds.Leaf:
        raise AssertionError("parsed again")

    monkeypatch.setattr(kds, "read_leaf", fail)
    assert site.verify(site.report(), leaf=bytes(bytearray(leaf))).challenge_verified


def test_the_signer_is_the_digest_of_the_key_that_signed() -> None:
    site = lab("Milan")
    spki = site.chip().key.export_key(ECExportFormat.SPKI)
    assert site.verify(site.report()).signer == hashlib.sha256(spki).hexdigest()
