"""Differential tests: dcap-qvl, Intel's rules implemented by others, must not give another status."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import dcap_qvl
import pytest
from intel_lab import collateral, oracle, prove, quote, td_body

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.simulator.intel_pki import CURRENT_SVN, svn_levels, tcb_level, tdx_module
from attest_pipeline.verifiers.sgx import SgxVerifier
from attest_pipeline.verifiers.tdx import TdxVerifier

STATUSES = [
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
]


class Run(NamedTuple):
    """A real quote under real collateral at a recorded time: what is expected, and what comes out."""

    quote: bytes
    collateral: bytes
    recorded: dict[str, Any]
    outcome: Claims | BadEvidence


def real_runs(vectors: Path) -> Iterator[Run]:
    """Each recorded run whose collateral is at hand."""
    root = vectors / "evidence"
    for tee, verifier in (("tdx", TdxVerifier({})), ("sgx", SgxVerifier({}))):
        for expect in sorted((root / tee).glob("v*.expect.json")):
            data = expect.with_name(expect.name.replace(".expect.json", ".bin")).read_bytes()
            for recorded in json.loads(expect.read_text()).get("expectations", []):
                if (root / recorded["collateral"]).is_file():
                    document = (root / recorded["collateral"]).read_bytes()
                    yield Run(data, document, recorded, judged(verifier, tee, data, document, recorded["verify_at"]))


def judged(
    verifier: TdxVerifier | SgxVerifier, tee: str, data: bytes, document: bytes, at: int
) -> Claims | BadEvidence:
    endorsements = Endorsements({"collateral": (document,)})
    now = datetime.fromtimestamp(at, UTC)
    try:
        return verifier.verify(Evidence(tee, {"quote": data}), endorsements, challenge=None, now=now)
    except BadEvidence as error:
        return error


def advisories(claims: Claims) -> set[str]:
    return set(filter(None, str(claims.fields["advisories"]).split(",")))


def test_no_real_quote_gets_a_status_that_dcap_qvl_gives_differently(vectors: Path) -> None:
    compared = 0
    for run in real_runs(vectors):
        parts = dcap_qvl.QuoteCollateralV3.from_json(run.collateral.decode())
        try:
            report = dcap_qvl.verify(run.quote, parts, run.recorded["verify_at"])
        except ValueError:
            continue  # refused on its policy, on TCB info v2, or because no level matches
        if isinstance(run.outcome, BadEvidence):
            assert run.outcome.reason is Reason.MALFORMED  # the quote with text behind it
            continue
        claims = run.outcome
        assert (claims.tcb_status, advisories(claims)) == (report.status, set(report.advisory_ids)), run.recorded
        assert claims.hardware_id == report.ppid.hex()
        compared += 1
    assert compared > 30


def test_recorded_parts_of_the_status_of_real_quotes_are_found_again(vectors: Path) -> None:
    compared = 0
    for run in real_runs(vectors):
        if isinstance(run.outcome, BadEvidence):
            assert run.outcome.reason in {Reason.TCB_NOT_FOUND, Reason.MALFORMED}, (run.recorded, run.outcome)
            continue
        fields = run.outcome.fields
        assert fields["platform_tcb_status"] == run.recorded["own_platform"], run.recorded
        assert fields["qe_tcb_status"] == run.recorded["own_qe"], run.recorded
        compared += 1
    assert compared > 40


def assert_agreement(data: bytes, document: dict[str, str], tee: str = "tdx") -> None:
    """Same status and advisories; dcap-qvl refuses a revoked TCB, which is reported here and left to policy."""
    claims, expected = prove(tee, data, document), oracle(data, document)
    if claims.tcb_status == "Revoked":
        assert expected == "Verification failed: TCB status is invalid: Revoked"
    else:
        assert (claims.tcb_status, advisories(claims)) == expected


@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_every_pair_of_platform_and_qe_status_comes_to_what_dcap_qvl_says(tee: str) -> None:
    data = quote(tee)
    for platform, enclave in product(STATUSES, ["UpToDate", "OutOfDate", "Revoked"]):
        levels = [tcb_level(tee, CURRENT_SVN, platform, advisories=["INTEL-SA-1"])]
        assert_agreement(data, collateral(tee, {"tcbLevels": levels}, {"tcbLevels": svn_levels(enclave)}), tee)


def test_every_pair_of_platform_and_module_status_comes_to_what_dcap_qvl_says() -> None:
    data = quote("tdx")
    for platform, module in product(STATUSES, ["UpToDate", "OutOfDate", "Revoked"]):
        changes = {
            "tcbLevels": [tcb_level("tdx", CURRENT_SVN, platform)],
            "tdxModuleIdentities": [tdx_module(1, svn_levels(module))],
        }
        assert_agreement(data, collateral("tdx", changes))


@pytest.mark.parametrize("loaded", [bytes([5, 1, 5]), bytes([3, 1, 5]), bytes([5, 1, 4]), bytes([5, 0, 5]), bytes(3)])
@pytest.mark.parametrize("status", STATUSES)
def test_relaunch_is_advised_where_dcap_qvl_advises_it(loaded: bytes, status: str) -> None:
    """A TD 1.5 launched under module SVN 3, with the loaded module given."""
    body = td_body(svn=bytes([3, 1]).ljust(16, b"\x05"), extra=loaded.ljust(16, b"\x05") + bytes(48))
    levels = [tcb_level("tdx", CURRENT_SVN, status), tcb_level("tdx", 0, "OutOfDate")]
    assert_agreement(quote("tdx", body, version=5), collateral("tdx", {"tcbLevels": levels}))


@pytest.mark.parametrize("module", [bytes([5, 0]), bytes([4, 0])])
def test_a_module_of_version_0_is_judged_by_the_first_two_svns_as_dcap_qvl_does(module: bytes) -> None:
    assert_agreement(quote("tdx", td_body(svn=module.ljust(16, b"\x05"))), collateral("tdx"))
