from pathlib import Path

from verifiers_conformance import run_cases

from attest_pipeline.verifiers.tpm import TpmVerifier


def test_every_conformance_case_of_a_tpm_has_its_expected_outcome(conformance: Path) -> None:
    assert run_cases(conformance, "tpm", lambda: TpmVerifier({})) == []
