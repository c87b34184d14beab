"""The black-box cases over real quotes, played against the two classes."""

from pathlib import Path

from verifiers_conformance import run_cases

from attest_pipeline.verifiers.sgx import SgxVerifier
from attest_pipeline.verifiers.tdx import TdxVerifier


def test_every_tdx_case_gets_its_expected_answer(conformance: Path) -> None:
    assert run_cases(conformance, "tdx", lambda: TdxVerifier({})) == []


def test_every_sgx_case_gets_its_expected_answer(conformance: Path) -> None:
    assert run_cases(conformance, "sgx", lambda: SgxVerifier({})) == []
