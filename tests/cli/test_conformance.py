import subprocess
import sys
from pathlib import Path

import pytest
from command import COMMAND


@pytest.mark.parametrize(
    "tee",
    [
        "tdx",
        "sgx",
        "snp",
        "cca",
        "psa",
        "virtcca",
        "nitro",
        "nvidia-gpu",
        "nvidia-switch",
        "csv",
        "itrustee",
        "tpm",
        "az-snp-vtpm",
        "az-tdx-vtpm",
    ],
)
def test_the_command_tells_real_evidence_from_false(conformance: Path, vectors: Path, tee: str) -> None:
    runner = [sys.executable, str(conformance / "run"), "--root", str(vectors), "--tee", tee]
    scored = subprocess.run([*runner, "--", COMMAND, "verify", "--stream"], capture_output=True, text=True, check=False)
    assert scored.returncode == 0, scored.stdout + scored.stderr
    assert " 0 failed" in scored.stdout
    assert not scored.stdout.startswith("0 passed")
