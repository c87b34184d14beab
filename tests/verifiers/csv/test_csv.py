"""CSV reports of real and simulated chips: what is proven, and what must not be."""

import functools
import hashlib
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from verifiers_conformance import run_cases

from attest_pipeline import gm
from attest_pipeline.errors import BadEvidence, Misconfigured, Reason
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.simulator import hygon, hygon_pki
from attest_pipeline.simulator.hygon import CsvVendor, make_head, make_v1, make_v2, mask
from attest_pipeline.verifiers._shared.eventlog.tcg2 import read_tcg2
from attest_pipeline.verifiers.csv import CsvVerifier, abi
from attest_pipeline.verifiers.csv.roots import HYGON_ROOT_KEY

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CHALLENGE = bytes(range(1, 65))
VENDOR = CsvVendor()
CHIP = VENDOR.chip(0)
ANONCE = b"\x5a\x00\x91\xfe"
VERIFIER = CsvVerifier({"hygon": tuple(anchor.spki for anchor in VENDOR.trust_anchors())})
REGISTERS = tuple(bytes((number,)) * 32 for number in range(5))
HEAD = make_head(CHALLENGE, hygon.MEASURE, hygon.POLICY)
V1 = make_v1(HEAD, CHIP, anonce=ANONCE)
V2 = make_v2(HEAD, CHIP, 7, REGISTERS)


def verify(
    report: bytes,
    hsk_cek: bytes = CHIP.hsk_cek,
    *,
    challenge: bytes | None = CHALLENGE,
    verifier: CsvVerifier = VERIFIER,
) -> Claims:
    endorsements = Endorsements({"hsk_cek": (hsk_cek,)})
    return verifier.verify(Evidence("csv", {"report": report}), endorsements, challenge=challenge, now=NOW)


def reason_of(call: Callable[[], object]) -> Reason:
    with pytest.raises(BadEvidence) as caught:
        call()
    return caught.value.reason


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ (1 << at % 8),)) + data[at + 1 :]


def written(data: bytes, at: int, piece: bytes) -> bytes:
    return data[:at] + piece + data[at + len(piece) :]


@pytest.fixture(name="real")
def real_report(vectors: Path) -> tuple[bytes, bytes]:
    directory = vectors / "evidence/csv"
    return (directory / "report_v1.bin").read_bytes(), (directory / "hsk_cek.cert").read_bytes()


# ── real evidence ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_all_conformance_cases_pass(conformance: Path) -> None:
    assert run_cases(conformance, "csv", lambda: CsvVerifier({})) == []


def test_the_pinned_key_is_that_of_the_published_root_which_signs_itself(vectors: Path) -> None:
    document = (vectors / "evidence/roots/hygon/hrk.cert").read_bytes()
    root = abi.read_ca(document)
    (signature,) = root.signatures
    assert root.key is gm.load_point(*HYGON_ROOT_KEY)
    assert hashlib.sha256(document).hexdigest().startswith("296efa97580464aca0ab5eef")
    assert root.key.verify(signature.r, signature.s, root.signed, root.user_id)


def test_a_real_guest_is_described(real: tuple[bytes, bytes]) -> None:
    claims = verify(*real, challenge=None, verifier=CsvVerifier({}))
    assert claims.measurements == {"measure": claims.fields["measure"]}
    assert claims.debug is False
    assert (claims.fields["policy_nodbg"], claims.fields["policy_es"]) == (True, False)
    assert (claims.fields["report_version"], claims.fields["build"]) == (1, None)
    assert claims.checks == ("hsk-signature", "cek-signature", "pek-signature", "report-signature")
    assert set(claims.endorsements) == {"hsk_cek"}


def test_a_real_chip_is_asked_for_by_its_serial_number(real: tuple[bytes, bytes]) -> None:
    (ref,) = VERIFIER.endorsements_for(Evidence("csv", {"report": real[0]}))
    assert (ref.item, ref.kind, ref.key, ref.required) == ("hsk_cek", "hygon-hsk-cek", "nza9t14052605", True)


def test_a_report_whose_agent_has_unmasked_the_pek_is_read_the_same(vectors: Path) -> None:
    report = (vectors / "evidence/csv/trustee_report.bin").read_bytes()
    assert abi.parse(report).pek == (vectors / "evidence/csv/trustee_pek.cert").read_bytes()
    (ref,) = VERIFIER.endorsements_for(Evidence("csv", {"report": report}))
    assert ref.key == "kpa64911240507"


def test_no_flipped_byte_of_a_real_report_or_its_chain_verifies(real: tuple[bytes, bytes]) -> None:
    report, hsk_cek = real
    strict, survivors = CsvVerifier({}), []
    verify(*real, challenge=None, verifier=strict)
    cek = abi.CA_CERT
    in_report = range(336 + 1044)
    in_chain = [*range(576 + 2 * 72), *range(cek, cek + 436), *range(cek + 436, cek + 1052 + 144, 5)]
    mutants = [(flipped(report, at), hsk_cek) for at in in_report] + [(report, flipped(hsk_cek, at)) for at in in_chain]
    for number, mutant in enumerate(mutants):
        try:
            verify(*mutant, challenge=None, verifier=strict)
        except BadEvidence:
            continue
        survivors.append(number)
    assert survivors == []


# ── both versions ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_version_1_is_unmasked() -> None:
    claims = verify(V1)
    assert claims.fields["measure"] == hygon.MEASURE.hex()
    assert claims.fields["report_data"] == CHALLENGE.hex()
    assert claims.fields["vm_id"] == b"simulated guest\0".hex()
    assert claims.fields["policy"] == hygon.POLICY
    assert claims.challenge_verified
    assert claims.checks[-1] == "challenge"


def test_version_2_adds_build_and_registers() -> None:
    claims = verify(V2)
    assert claims.measurements == {"measure": hygon.MEASURE.hex()} | {
        f"rtmr{number}": value.hex() for number, value in enumerate(REGISTERS)
    }
    assert (claims.fields["report_version"], claims.fields["build"], claims.fields["rtmr_version"]) == (2, 7, 1)
    assert {name: claims.fields[name] for name in claims.measurements} == claims.measurements


def test_the_hardware_is_named_by_its_proven_key_and_not_by_the_serial_number_which_nobody_signs() -> None:
    renamed = written(V2, 20 + 1168 + 2084, b"OTHER")
    assert abi.parse(renamed).serial != abi.parse(V2).serial
    assert verify(renamed).hardware_id == verify(V2).hardware_id != verify(V2).signer


@pytest.mark.parametrize(
    "wrapped",
    [
        V1,
        V1.ljust(4096, b"\0"),
        bytes(20) + V1.ljust(4096, b"\0"),
        b"ATTESTATION_EXT\0" + bytes(4) + V1.ljust(4096, b"\0"),
        bytes(16) + b"\x09\0\0\0" + V1.ljust(4096, b"\0"),
    ],
)
def test_version_1_is_read_bare_padded_and_in_the_drivers_wrapper(wrapped: bytes) -> None:
    assert verify(wrapped) == verify(V1)


def test_a_pek_in_clear_is_read_as_it_stands() -> None:
    clear = written(V1, 336, CHIP.pek.certificate + CHIP.serial.ljust(64, b"\0"))
    assert verify(clear) == verify(V1)
    assert abi.parse(clear).serial == CHIP.serial


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (b"", Reason.MALFORMED),
        (V1[:-1], Reason.MALFORMED),
        (V1 + b"\x01", Reason.MALFORMED),
        (V1.ljust(4097, b"\0"), Reason.MALFORMED),
        (V2[:-1], Reason.MALFORMED),
        (V2[:-1] + b"\x01", Reason.MALFORMED),
        (V2[20:], Reason.MALFORMED),
        (b"ATTESTATION_EXX\0" + V2[16:], Reason.MALFORMED),
        (written(V2, 16, b"\x02"), Reason.MALFORMED),
        (written(V2, 20 + 180, b"\x04\x10"), Reason.MALFORMED),
        (written(V2, 20 + 184, b"\x05"), Reason.MALFORMED),
        (written(V1, 184, b"\xff"), Reason.MALFORMED),
    ],
)
def test_a_report_of_another_size_wrapper_or_signer_is_refused(report: bytes, reason: Reason) -> None:
    assert reason_of(lambda: verify(report)) is reason


@pytest.mark.parametrize("report", [V1, V2])
@pytest.mark.parametrize("challenge", [b"", CHALLENGE[:32], CHALLENGE[:63], CHALLENGE + b"\0", bytes(64)])
def test_the_challenge_is_compared_as_a_whole(report: bytes, challenge: bytes) -> None:
    assert reason_of(lambda: verify(report, challenge=challenge)) is Reason.CHALLENGE_MISMATCH


def test_without_a_challenge_the_claims_say_that_none_was_verified() -> None:
    assert not verify(V2, challenge=None).challenge_verified


@pytest.mark.parametrize("head", [20, 0])
def test_no_flipped_byte_of_what_the_pek_signs_verifies(head: int) -> None:
    report, size = (V2, 1024 + 144) if head else (V1, 180)
    assert [at for at in range(size) if _verifies(flipped(report, head + at))] == []


def _verifies(report: bytes) -> bool:
    try:
        verify(report, challenge=None)
    except BadEvidence:
        return False
    return True


def test_another_anonce_under_version_1_changes_every_field_and_so_no_known_measurement_survives() -> None:
    """The hole in version 1: anonce is unsigned. The default policy therefore trusts its fields by measurement only."""
    shifted = mask(ANONCE, b"\x01\0\0\0")
    clear = written(V1, 336, CHIP.pek.certificate + CHIP.serial.ljust(64, b"\0"))
    usage = mask(struct.pack("<II", abi.PEK, 4), shifted)
    forged = written(written(clear, 188, shifted), 180, usage)
    claims = verify(forged, challenge=None)
    assert claims.debug is not verify(V1).debug
    assert claims.fields["measure"] != hygon.MEASURE.hex()
    assert claims.fields["report_data"] != CHALLENGE.hex()


def test_a_guest_that_may_be_debugged_is_reported() -> None:
    report = make_v2(make_head(CHALLENGE, hygon.MEASURE, hygon.POLICY & ~1), CHIP, 7, REGISTERS)
    assert verify(report).debug is True


# ── the chain ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_without_the_chips_certificates_an_endorsement_is_missing() -> None:
    evidence = Evidence("csv", {"report": V2})
    call = lambda: VERIFIER.verify(evidence, Endorsements({}), challenge=None, now=NOW)  # noqa: E731 - a thunk
    assert reason_of(call) is Reason.MISSING_ENDORSEMENT


def test_the_evidence_may_bring_the_certificates_and_endorsed_ones_win() -> None:
    evidence = Evidence("csv", {"report": V2, "hsk_cek": CHIP.hsk_cek})
    assert VERIFIER.endorsements_for(evidence) == ()
    assert VERIFIER.verify(evidence, Endorsements({}), challenge=None, now=NOW) == verify(V2, challenge=None)
    wrong = Endorsements({"hsk_cek": (VENDOR.chip(64).hsk_cek,)})
    assert reason_of(lambda: VERIFIER.verify(evidence, wrong, challenge=None, now=NOW)) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("documents", [(CHIP.hsk_cek, CHIP.hsk_cek), (b"",), (CHIP.hsk_cek[:-1],)])
def test_two_documents_or_one_of_another_size_are_a_bad_endorsement(documents: tuple[bytes, ...]) -> None:
    evidence, endorsements = Evidence("csv", {"report": V2}), Endorsements({"hsk_cek": documents})
    call = lambda: VERIFIER.verify(evidence, endorsements, challenge=None, now=NOW)  # noqa: E731 - a thunk
    assert reason_of(call) is Reason.BAD_ENDORSEMENT


@pytest.mark.parametrize("serial", [b"", b"a/b", b"A B", "é".encode()])
def test_a_serial_number_that_could_be_a_path_is_refused(serial: bytes) -> None:
    report = written(V2, 20 + 1168 + 2084, serial.ljust(64, b"\0"))
    assert reason_of(lambda: VERIFIER.endorsements_for(Evidence("csv", {"report": report}))) is Reason.MALFORMED


def test_a_chain_of_another_root_is_not_trusted() -> None:
    assert reason_of(lambda: verify(V2, verifier=CsvVerifier({}))) is Reason.BAD_SIGNATURE
    foreign = VENDOR.chip(0, foreign=True)
    assert reason_of(lambda: verify(make_v2(HEAD, foreign, 7, REGISTERS), foreign.hsk_cek)) is Reason.BAD_SIGNATURE


HSK, CEK = CHIP.hsk_cek[: abi.CA_CERT], CHIP.hsk_cek[abi.CA_CERT :]


@pytest.mark.parametrize(
    ("hsk_cek", "reason"),
    [
        (written(HSK, 36, b"\x00") + CEK, Reason.BAD_CHAIN),
        (HSK + written(CEK, 8, b"\x02\x10"), Reason.BAD_CHAIN),
        (HSK + written(CEK, 12, b"\x05"), Reason.MALFORMED),
        (written(HSK, 64, b"\x01") + CEK, Reason.MALFORMED),
        (written(HSK, 68, bytes(144)) + CEK, Reason.MALFORMED),
        (written(HSK, 68 + 32, b"\x01") + CEK, Reason.MALFORMED),
        (written(HSK, 212, b"\xff\xff") + CEK, Reason.MALFORMED),
        (written(HSK, 576, bytes(144)) + CEK, Reason.BAD_SIGNATURE),
        (HSK + written(CEK, 1052, bytes(144)), Reason.BAD_SIGNATURE),
        (HSK + written(CEK, 1044, b"\x04\x10"), Reason.BAD_SIGNATURE),
    ],
)
def test_a_spoiled_certificate_is_refused(hsk_cek: bytes, reason: Reason) -> None:
    assert reason_of(lambda: verify(V2, hsk_cek)) is reason


def test_a_cek_in_the_place_of_the_pek_signs_no_report() -> None:
    chip = CHIP._replace(pek=hygon_pki.Holder(CHIP.pek.signer, CHIP.pek.user_id, CEK))
    assert reason_of(lambda: verify(make_v2(HEAD, chip, 7, REGISTERS))) is Reason.BAD_CHAIN


def test_a_pek_of_another_chip_is_not_endorsed() -> None:
    assert reason_of(lambda: verify(make_v2(HEAD, VENDOR.chip(64), 7, REGISTERS))) is Reason.BAD_SIGNATURE


def test_the_second_signature_of_a_pek_serves_as_well_as_the_first() -> None:
    certificate = CHIP.pek.certificate
    swapped = certificate[:1044] + certificate[1564:] + certificate[1044:1564]
    chip = CHIP._replace(pek=CHIP.pek._replace(certificate=swapped))
    assert verify(make_v2(HEAD, chip, 7, REGISTERS)) == verify(V2)


def test_a_trust_anchor_that_is_no_sm2_key_is_the_operators_mistake() -> None:
    with pytest.raises(Misconfigured, match="hygon"):
        CsvVerifier({"hygon": (b"no key",)})


# ── event log ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(name="log")
def real_log(vectors: Path) -> bytes:
    return (vectors / "trustee/eventlog/CCEL_data_csv").read_bytes()


def prove_log(report: bytes, log: bytes) -> Claims:
    items = {"report": report, "event_log": log}
    endorsements = Endorsements({"hsk_cek": (CHIP.hsk_cek,)})
    return VERIFIER.verify(Evidence("csv", items), endorsements, challenge=CHALLENGE, now=NOW)


def guest_of(log: bytes, **changes: bytes) -> bytes:
    """Report of version 2 of a guest that booted by that log."""
    replayed = {f"rtmr{register}": value for register, value in read_tcg2(log, "sm3").registers.items()} | changes
    return make_v2(HEAD, CHIP, 7, tuple(replayed.get(f"rtmr{number}", bytes(32)) for number in range(5)))


def test_a_real_log_of_a_csv_guest_explains_rtmr_1_to_3(log: bytes) -> None:
    claims = prove_log(guest_of(log), log)
    assert claims.checks[-4:] == ("event-log-rtmr1", "event-log-rtmr2", "event-log-rtmr3", "challenge")
    assert (claims.fields["ccel_registers"], claims.fields["ccel_events"]) == ("1,2,3", 82)
    assert "set pager=1" in {one.text for found in claims.logs for one in found.events if one.text_authenticated}
    assert "ccel_events" not in verify(V2).fields


def test_a_log_of_another_boot_is_a_mismatch(log: bytes) -> None:
    for number in (1, 2, 3):
        report = guest_of(log, **{f"rtmr{number}": bytes(32)})
        assert reason_of(functools.partial(prove_log, report, log)) is Reason.LOG_MISMATCH


def test_a_report_of_version_1_has_no_register_that_a_log_could_explain(log: bytes) -> None:
    assert reason_of(lambda: prove_log(V1, log)) is Reason.LOG_MISMATCH
