"""The fuzzer finds what it is for; every parser survives a share of twenty seconds."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import cbor2
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from x509_lab import Identity

from attest_pipeline.errors import BadEvidence, Misconfigured, Reason
from fuzz import runner
from fuzz.campaign import Campaign, Finding, confirm_slow, judge
from fuzz.case import Case, Target, cases, data_of
from fuzz.formats import FORMATS
from fuzz.mutate import mutate
from fuzz.resign import resign
from fuzz.targets import chosen
from fuzz.verifiers import NAMES, devices, evidence_case, prove, vendor

ROOT = Path(__file__).resolve().parents[2]
SHARE = 20
CASE = Case({"data": b"seed"})


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The fuzzer as `make fuzz` calls it."""
    return subprocess.run(
        [sys.executable, "-m", "fuzz", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )


def target(run: Callable[[Case], object]) -> Target:
    return Target("a target", run, lambda: cases(b"seed"))


# ── the parsers ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_every_parser_survives_a_share_of_twenty_seconds(tmp_path: Path) -> None:
    done = command("--total", str(SHARE), "--findings", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_installed_verifier_is_a_target() -> None:
    names = [one.name for one in chosen("verify *")]
    assert [tee for tee in NAMES if not any(name.startswith(f"verify {tee}") for name in names)] == []


def test_every_target_takes_the_first_of_its_seeds() -> None:
    for one in chosen():
        if one.name != "policy text":  # which ends where an engine would begin
            one.run(one.seeds()[0])


def test_the_page_has_a_row_for_every_target() -> None:
    page = (ROOT / "docs" / "fuzzing.md").read_text()
    assert [one.name for one in chosen() if f"\n| {one.name} |" not in page] == []


# ── what is a finding ─────────────────────────────────────────────────────────────────────────────────────────────────
def raising(error: BaseException) -> Callable[[Case], object]:
    def run(_: Case) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        RecursionError(),
        MemoryError(),
        Misconfigured("x"),
        BadEvidence(Reason.MALFORMED, "half of a pair: \ud800"),
        BadEvidence(Reason.MALFORMED, "x" * 600),
        SystemExit(),
    ],
)
def test_any_error_but_the_documented_one_is_a_finding(error: BaseException) -> None:
    finding, _ = judge(target(raising(error)), CASE)
    assert finding is not None
    assert finding.case == CASE


def test_a_plain_refusal_is_none() -> None:
    assert judge(target(raising(BadEvidence(Reason.MALFORMED, "x"))), CASE)[0] is None


def test_an_input_that_takes_long_every_time_is_a_finding() -> None:
    def run(_: Case) -> None:
        end = time.process_time() + 0.25
        while time.process_time() < end:
            pass

    slow = confirm_slow(target(run), CASE)
    assert slow is not None
    assert "ms of CPU" in slow.what
    assert confirm_slow(target(data_of), CASE) is None


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("run", "what"),
    [
        (lambda _: os.abort(), "died with status -6"),
        (lambda _: time.sleep(60), "killed"),
        (lambda _: bytearray(1 << 30), "MemoryError"),
    ],
    ids=["a crash", "a hang", "a memory bomb"],
)
def test_what_ends_a_process_is_a_finding(
    run: Callable[[Case], object], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "HANG_LIMIT", 1.0)
    outcome = runner.fuzz(target(run), 0.1, 1, lambda _: None)
    (finding,) = outcome.tally.findings
    assert what in finding.what
    assert finding.case == CASE


def test_a_finding_is_saved_and_played_again(tmp_path: Path) -> None:
    path = tmp_path / "finding"
    for item, code in ((b"\xff", 0), (b"", 0)):
        path.write_bytes(msgspec.msgpack.encode(Finding("CBOR", "x", "y", Case({"data": item}))))
        done = command("--replay", str(path))
        assert (done.returncode, "holds" in done.stdout) == (code, True), done.stderr


def test_an_unknown_target_is_said() -> None:
    assert command("--target", "no such").returncode == 2


# ── the search ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_search_finds_its_way_through_nested_formats() -> None:
    def run(case: Case) -> None:
        message = cbor2.loads(data_of(case))
        if isinstance(message, Mapping) and msgspec.json.decode(message[1])["a"] != "x":
            raise ZeroDivisionError

    errors = (cbor2.CBORError, msgspec.MsgspecError, ValueError, TypeError, KeyError, RecursionError)
    searched = Target("nested", run, lambda: cases(cbor2.dumps({1: b'{"a":"x"}'})), errors)
    campaign = Campaign(searched, Random(7))
    campaign.run(2.0, lambda _: None)
    assert any(finding.where.startswith("ZeroDivisionError") for finding in campaign.tally.findings)


def test_an_alteration_never_fails_and_keeps_what_is_the_verifiers_own() -> None:
    rng = Random(7)
    for one in chosen():
        seeds = one.seeds()
        for _ in range(20):
            made = one.resign(mutate(rng, rng.choice(seeds), rng.choice(seeds)))
            assert made.given in {seed.given for seed in seeds}


@pytest.mark.parametrize("tee", sorted({*NAMES} - {"sample"}))
def test_evidence_signed_anew_verifies(tee: str) -> None:
    for device in devices(tee):
        case = evidence_case(device.vendor, device.serial)
        assert prove(resign(*device.signers)(case)).checks == prove(case).checks


def test_altered_and_signed_anew_evidence_says_something_else() -> None:
    (device,) = devices("snp")
    case = evidence_case(device.vendor)
    report = bytearray(case.items["evidence/report"])
    report[0x90] ^= 1  # the launch measurement
    altered = resign(*device.signers)(Case({**case.items, "evidence/report": bytes(report)}, case.given))
    assert prove(altered).measurements != prove(case).measurements


def test_what_nobody_altered_is_written_as_it_was_read() -> None:
    certificate = Identity.root("root").certificate
    der, pem = certificate.public_bytes(Encoding.DER), certificate.public_bytes(Encoding.PEM)
    token = evidence_case(vendor("cca")).items["evidence/token"]
    packed = msgspec.msgpack.encode({"a": [1, -2, b"x", None, 1.5], "b": {"c": "d"}})
    text = b'{"a":[1,-2.5,"\xc3\xa9",true,null],"b":{"c":{}}}'
    assert _rewritten(der) == der
    assert x509.load_pem_x509_certificate(_rewritten(pem)) == certificate
    assert cbor2.loads(_rewritten(token)) == cbor2.loads(token)
    assert msgspec.msgpack.decode(_rewritten(packed)) == msgspec.msgpack.decode(packed)
    for plain in (text, b"00ff00ff", b"c2VlZCBzZWVkIHNlZWQ", b"<a><b/></a>", b"one\ntwo\nthree"):
        assert _rewritten(plain).strip() == plain


def _rewritten(data: bytes) -> bytes:
    for form in FORMATS:
        tree = form.read(data)
        if isinstance(tree, list):
            return form.write(tree)
    raise AssertionError("no format")
