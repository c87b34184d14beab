from collections.abc import Callable
from pathlib import Path

import pytest
from verifiers_conformance import run_cases

from attest_pipeline.ports import Verifier
from attest_pipeline.verifiers.az_snp_vtpm import AzSnpVerifier
from attest_pipeline.verifiers.az_tdx_vtpm import AzTdxVerifier


@pytest.mark.parametrize(
    ("tee", "factory"), [("az-snp-vtpm", lambda: AzSnpVerifier({})), ("az-tdx-vtpm", lambda: AzTdxVerifier({}))]
)
def test_every_conformance_case_of_azure_has_its_expected_outcome(
    conformance: Path, tee: str, factory: Callable[[], Verifier]
) -> None:
    assert run_cases(conformance, tee, factory) == []
