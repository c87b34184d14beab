import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from command import COMMAND, Attest

from attest_pipeline import verifiers
from attest_pipeline.adapters.site import Site
from attest_pipeline.cli.inputs import Moment
from attest_pipeline.cli.proof import Outcome, prove
from attest_pipeline.cli.real_evidence import REAL, Real
from attest_pipeline.cli.simulated import write_tenant
from attest_pipeline.cli.stream import answers
from attest_pipeline.errors import Reason
from attest_pipeline.model import Claims, Endorsements, EpochChallenge, Evidence, EvidenceCollection, SuppliedChallenge
from attest_pipeline.ports import Verifier
from attest_pipeline.simulator.device import Fault, Vendor

CHALLENGE = bytes(range(64))
AT = "2026-11-23T12:00:00Z"
REPORT = {"challenge": CHALLENGE.hex(), "measurement": "ab" * 32}
SNP = next(one for one in REAL if one.tee == "snp")
UNBOUND = next(one for one in REAL if one.outcome == "rejected")


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A report of the sample TEE, which proves nothing and needs no vendor."""
    path = tmp_path / "report.json"
    path.write_bytes(msgspec.json.encode(REPORT))
    return path


def _written(path: Path, collection: EvidenceCollection) -> Path:
    path.write_bytes(msgspec.json.encode(collection))
    return path


def _raw(one: Real, vectors: Path) -> list[str]:
    """Options that name the files of real Evidence."""
    items = [f"--item={name}={vectors / path}" for name, path in one.items.items()]
    endorsements = [
        f"--endorsement={name}={vectors / path}" for name, paths in one.endorsements.items() for path in paths
    ]
    return ["--tee", one.tee, "--at", one.at, *items, *endorsements]


# ── proof alone ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("one", REAL, ids=lambda one: f"{one.tee} {one.name} {one.at[:10]}")
def test_a_collection_is_judged_at_its_own_time(attest: Attest, vectors: Path, tmp_path: Path, one: Real) -> None:
    done = attest("verify", _written(tmp_path / "c.json", one.collection(vectors)), "--output", "json")
    [proof] = done.json()
    assert proof["outcome"] == one.outcome
    assert done.code == (0 if one.outcome == "verified" else 1)
    assert (proof["claims"] is not None) == (one.outcome == "verified")


def test_raw_evidence_is_named_by_its_items(attest: Attest, vectors: Path) -> None:
    done = attest("verify", *_raw(SNP, vectors))
    assert done.code == 0
    assert "snp: verified" in done.out
    assert "report_data" in done.out
    assert "not checked: give --challenge" in done.out


def test_the_main_item_of_raw_evidence_may_be_the_file(attest: Attest, vectors: Path) -> None:
    options = [option for option in _raw(SNP, vectors) if not option.startswith("--item")]
    assert attest("verify", vectors / SNP.items["report"], *options).code == 0


def test_the_challenge_is_compared(attest: Attest, vectors: Path) -> None:
    [proof] = attest("verify", *_raw(SNP, vectors), "--output", "json").json()
    own = proof["claims"]["fields"]["report_data"]
    right = attest("verify", *_raw(SNP, vectors), "--challenge", own)
    wrong = attest("verify", *_raw(SNP, vectors), "--challenge", "00" * 63 + "01")
    assert (right.code, wrong.code) == (0, 1)
    assert "not checked" not in right.out
    assert "challenge_mismatch" in wrong.out


def test_a_rejection_says_why(attest: Attest, vectors: Path, tmp_path: Path) -> None:
    done = attest("verify", _written(tmp_path / "c.json", UNBOUND.collection(vectors)))
    assert done.code == 1
    assert "rejected" in done.out
    assert "unbound" in done.out


def test_without_a_tenant_no_simulated_vendor_is_trusted(
    attest: Attest, vendors: tuple[Vendor, ...], tmp_path: Path
) -> None:
    pinned = [vendor for vendor in vendors if vendor.tee != "cca"]  # there the Endorsement itself is the anchor
    for vendor in pinned:
        evidence = vendor.evidence(1, CHALLENGE)
        collection = EvidenceCollection(
            evidence=(evidence,), challenge=SuppliedChallenge(CHALLENGE), endorsements=_endorsements(vendor, evidence)
        )
        done = attest("verify", _written(tmp_path / "c.json", collection), "--output", "json")
        [proof] = done.json()
        assert done.code == 1, vendor.tee
        assert proof["outcome"] == "rejected", vendor.tee


def _endorsements(vendor: Vendor, evidence: Evidence) -> dict[str, tuple[bytes, ...]]:
    held = vendor.endorsements()
    refs = verifiers.load([vendor.tee], {})[vendor.tee].endorsements_for(evidence)
    return {ref.item: held[f"{ref.kind}/{ref.key}"] for ref in refs if f"{ref.kind}/{ref.key}" in held}


def test_without_a_time_it_is_now(attest: Attest, sample: Path) -> None:
    assert attest("verify", sample, "--tee", "sample", "--challenge", CHALLENGE.hex()).code == 0


def test_the_sample_tee_is_admitted_only_by_name(attest: Attest, sample: Path, tmp_path: Path) -> None:
    collection = EvidenceCollection(evidence=(Evidence("sample", {"report": sample.read_bytes()}),))
    done = attest("verify", _written(tmp_path / "c.json", collection), "--output", "json")
    [proof] = done.json()
    assert (done.code, proof["outcome"], proof["reason"]) == (1, "unsupported", "unknown_tee")


def test_a_challenge_that_only_its_verifier_can_check_is_not_called_verified(
    attest: Attest, vectors: Path, tmp_path: Path
) -> None:
    collection = msgspec.structs.replace(SNP.collection(vectors), challenge=EpochChallenge(7))
    done = attest("verify", _written(tmp_path / "c.json", collection), "--output", "json")
    [proof] = done.json()
    assert proof["claims"]["challenge_verified"] is False


def test_a_supplied_challenge_of_the_collection_is_compared(attest: Attest, vectors: Path, tmp_path: Path) -> None:
    collection = msgspec.structs.replace(SNP.collection(vectors), challenge=SuppliedChallenge(CHALLENGE))
    done = attest("verify", _written(tmp_path / "c.json", collection))
    assert done.code == 1
    assert "challenge_mismatch" in done.out


def test_a_directory_that_is_no_tenant_is_a_usage_error(attest: Attest, vectors: Path, tmp_path: Path) -> None:
    done = attest("verify", *_raw(SNP, vectors), "--config", tmp_path)
    assert done.code == 2
    assert "tenant.json" in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "name a file"),
        (["c.json", "--item", "report=x"], "--tee"),
        (["/nonexistent/c.json"], "/nonexistent/c.json: No such file"),
        (["--tee", "abacus"], "no verifier is installed"),
        (["/dev/null", "--tee", "abacus"], "--item name=path"),
        (["--tee", "snp", "--item", "report"], "name=path"),
        (["--tee", "snp", "--challenge", "xyz"], "--challenge is no hexadecimal"),
        (["--tee", "snp", "--at", "yesterday"], "no time such as"),
        (["--tee", "snp", "--at", "2026-11-23T12:00:00"], "no time such as"),
        (["--tee", "snp", "--output", "xml"], "xml"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(attest: Attest, options: list[str], message: str) -> None:
    done = attest("verify", *options)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert not done.out


def test_what_is_no_collection_is_the_attesters_fault(attest: Attest) -> None:
    done = attest("verify", "-", stdin=b"[]")
    assert done.code == 1
    assert "malformed" in done.err


def test_evidence_cannot_steer_the_terminal(attest: Attest, tmp_path: Path) -> None:
    path = _written(tmp_path / "c.json", EvidenceCollection(evidence=(Evidence("\x1b[2J[red]x", {}),)))
    done = attest("verify", path)
    assert done.code == 1
    assert "\x1b" not in done.out
    assert "[red]x" in done.out


# ── the whole pipeline ────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def tenant(vendors: tuple[Vendor, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tenant that trusts the simulated AMD vendor and allows replay."""
    amd = next(vendor for vendor in vendors if vendor.tee == "snp")
    for serial in (1, 2):
        amd.evidence(serial, CHALLENGE)
    return write_tenant(Site(tmp_path_factory.mktemp("site")), "acme", [amd])


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (None, "affirming", ""),
        (Fault.UNKNOWN_MEASUREMENT, "", "mismatch"),
        (Fault.DEBUG, "contraindicated", "debug"),
        (Fault.BAD_SIGNATURE, "contraindicated", "bad_signature"),
    ],
)
def test_a_tenants_directory_gives_its_verdict(
    attest: Attest,
    vendors: tuple[Vendor, ...],
    tenant: Path,
    tmp_path: Path,
    fault: Fault | None,
    status: str,
    reason: str,
) -> None:
    amd = next(vendor for vendor in vendors if vendor.tee == "snp")
    collection = EvidenceCollection(
        evidence=(amd.evidence(1, CHALLENGE, fault),), challenge=SuppliedChallenge(CHALLENGE), as_of=int(time.time())
    )
    done = attest("verify", _written(tmp_path / "c.json", collection), "--config", tenant)
    assert done.code == (0 if fault is None else 1)
    assert status in done.out
    assert reason in done.out
    assert "judged on this machine" in done.out


def test_unfresh_evidence_is_not_affirmed_by_a_tenant(
    attest: Attest, vendors: tuple[Vendor, ...], tenant: Path, tmp_path: Path
) -> None:
    amd = next(vendor for vendor in vendors if vendor.tee == "snp")
    collection = EvidenceCollection(evidence=(amd.evidence(2, CHALLENGE),), challenge=SuppliedChallenge(CHALLENGE))
    done = attest("verify", _written(tmp_path / "c.json", collection), "--config", tenant, "--output", "json")
    token: Any = done.json()
    assert done.code == 1
    assert token["submods"]["snp"]["attest_pipeline"]["reason"] == "challenge_missing"


# ── the stream ────────────────────────────────────────────────────────────────────────────────────────────────────────
class _Stub:
    """A verifier that does what its Evidence says."""

    tee = "stub"
    media_types: frozenset[str] = frozenset()
    challenge_bytes = 64

    def endorsements_for(self, evidence: Evidence) -> tuple[()]:
        del evidence
        return ()

    def verify(self, evidence: Evidence, endorsements: Endorsements, *, challenge: bytes | None, now: object) -> Claims:
        del now
        if "bug" in evidence.items:
            raise ZeroDivisionError("a bug")
        return Claims(
            tee="stub",
            hardware_id=None,
            debug=False,
            tcb_status="UpToDate",
            measurements={},
            signer=None,
            challenge_verified=challenge is not None,
            endorsements={},
            fields={"documents": len(endorsements.items.get("ca", ()))},
            checks=("none",),
        )


STUBS: Mapping[str, Verifier] = {"stub": _Stub()}


def _request(**changes: object) -> bytes:
    request = {"id": "1", "tee": "stub", "evidence": {"a": ""}, "endorsements": {}, "challenge": None, "at": AT}
    return msgspec.json.encode(request | changes)


def _answer(line: bytes) -> dict[str, Any]:
    [answer] = answers(STUBS, [line])
    assert answer.endswith(b"\n")
    decoded: dict[str, Any] = msgspec.json.decode(answer)
    return decoded


def test_a_proven_evidence_is_answered_with_its_claims() -> None:
    assert _answer(_request(challenge="00", endorsements={"ca": ["", ""]})) == {
        "id": "1",
        "outcome": "verified",
        "reason": "ok",
        "tcb_status": "UpToDate",
        "debug": False,
        "claims": {"documents": 2, "challenge_verified": True},
    }


def test_a_single_endorsement_needs_no_list() -> None:
    answer = _answer(_request(endorsements={"ca": ""}))
    assert answer["claims"] == {"documents": 1, "challenge_verified": False}


def test_a_bug_of_ours_is_an_error_and_no_rejection() -> None:
    assert _answer(_request(evidence={"bug": ""}))["outcome"] == "error"


def test_an_unknown_tee_is_unsupported() -> None:
    answer = _answer(_request(tee="abacus"))
    assert (answer["outcome"], answer["reason"]) == ("unsupported", "unknown_tee")


@pytest.mark.parametrize(
    "changes",
    [
        {"challenge": "xyz"},
        {"at": "2026-11-23T12:00:00"},
        {"at": None},
        {"evidence": {"a": "*"}},
        {"evidence": []},
        {"tee": 7},
    ],
)
def test_a_malformed_request_with_an_id_is_rejected(changes: dict[str, object]) -> None:
    answer = _answer(_request(**changes))
    assert (answer["id"], answer["outcome"], answer["reason"]) == ("1", "rejected", "malformed")


@pytest.mark.parametrize("line", [b"\n", b"{", b"[]", b"\xff", b'{"id": 7}', b"[" * 100_000], ids=range(6))
def test_a_line_without_an_id_has_no_answer(line: bytes) -> None:
    assert list(answers(STUBS, [line])) == []


def test_a_bad_line_does_not_stop_the_stream(attest: Attest) -> None:
    done = attest("verify", "--stream", stdin=b"{\n" + _request(tee="snp", evidence={"report": ""}) + b"\n")
    assert done.code == 0
    [answer] = done.out.splitlines()
    assert msgspec.json.decode(answer)["outcome"] == "rejected"


def test_every_answer_is_flushed_before_the_next_request() -> None:
    command = [COMMAND, "verify", "--stream"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        for number in ("1", "2"):
            process.stdin.write(_request(id=number) + b"\n")
            process.stdin.flush()
            assert msgspec.json.decode(process.stdout.readline())["id"] == number
        process.stdin.close()
    assert process.returncode == 0


def test_a_proof_raises_nothing() -> None:
    evidence = Evidence("stub", {"bug": b""})
    proof = prove(STUBS, evidence, Endorsements({}), challenge=None, now=msgspec.convert(AT, Moment))
    assert (proof.outcome, proof.reason, proof.claims) == (Outcome.ERROR, Reason.INTERNAL, None)
    assert "a bug" in proof.detail
