"""Differential tests: dcap-qvl, Intel's rules implemented by others, must not give another status."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import dcap_qvl
import pytest
from intel_lab import collateral, oracle, prove, quote, td_body

from attest_pipeline.errors import BadEvidence
from attest_pipeline.model import Endorsements, Evidence
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


def real_runs(vectors: Path) -> Iterator[tuple[str, bytes, bytes, dict[str, Any]]]:
    """TEE, quote, collateral and the recorded expectation of each run whose collateral is at hand."""
    root = vectors / "evidence"
    for tee in ("tdx", "sgx"):
        for expect in sorted((root / tee).glob("v*.expect.json")):
            data = expect.with_name(expect.name.replace(".expect.json", ".bin")).read_bytes()
            for run in json.loads(expect.read_text()).get("expectations", []):
                document = root / run["collateral"]
                if document.is_file():
                    yield tee, data, document.read_bytes(), run


def test_no_real_quote_gets_a_status_that_dcap_qvl_gives_differently(vectors: Path) -> None:
    compared = 0
    for tee, data, document, run in real_runs(vectors):
        verifier = TdxVerifier({}) if tee == "tdx" else SgxVerifier({})
        now = datetime.fromtimestamp(run["verify_at"], UTC)
        try:
            report = dcap_qvl.verify(data, dcap_qvl.QuoteCollateralV3.from_json(document.decode()), run["verify_at"])
            endorsements = Endorsements({"collateral": (document,)})
            claims = verifier.verify(Evidence(tee, {"quote": data}), endorsements, challenge=None, now=now)
        except (BadEvidence, ValueError):
            continue
        assert claims.tcb_status == report.status, run
        assert set(filter(None, str(claims.fields["advisories"]).split(","))) == set(report.advisory_ids), run
        assert claims.hardware_id == report.ppid.hex()
        compared += 1
    assert compared > 30


def test_recorded_parts_of_the_status_of_real_quotes_are_found_again(vectors: Path) -> None:
    compared = 0
    for tee, data, document, run in real_runs(vectors):
        verifier = TdxVerifier({}) if tee == "tdx" else SgxVerifier({})
        now = datetime.fromtimestamp(run["verify_at"], UTC)
        try:
            endorsements = Endorsements({"collateral": (document,)})
            claims = verifier.verify(Evidence(tee, {"quote": data}), endorsements, challenge=None, now=now)
        except BadEvidence as error:
            assert error.reason in {"tcb_not_found", "malformed"}, (run, error)  # noqa: PT017 - not every run raises
            continue
        assert claims.fields["platform_tcb_status"] == run["own_platform"], run
        assert claims.fields["qe_tcb_status"] == run["own_qe"], run
        compared += 1
    assert compared > 40


def assert_agreement(data: bytes, document: dict[str, str], tee: str = "tdx") -> None:
    """Same status and advisories; dcap-qvl refuses a revoked TCB, which is reported here and left to policy."""
    claims, expected = prove(tee, data, document), oracle(data, document)
    if claims.tcb_status == "Revoked":
        assert expected == "Verification failed: TCB status is invalid: Revoked"
    else:
        assert (claims.tcb_status, set(filter(None, str(claims.fields["advisories"]).split(",")))) == expected


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
