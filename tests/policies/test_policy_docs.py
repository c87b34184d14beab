"""The snippets of docs/policies.md do what the page says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from attest_pipeline.adapters.rego import RegoEngine
from attest_pipeline.appraisal import findings, overall

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "policies.md").read_text()


def snippet(language: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 1
    return str(blocks[0])


@pytest.mark.parametrize(
    ("number", "status"),
    [(18, "affirming"), (17, "contraindicated"), ("18", "contraindicated"), (None, "contraindicated")],
)
def test_example_policy_sets_a_floor_on_the_evaluation_number(engine: RegoEngine, number: object, status: str) -> None:
    view = {
        "debug": False,
        "tcb_status": "UpToDate",
        "match": {"matched": True},
        "fields": {"tcb_evaluation_data_number": number},
    }

    vector = engine.evaluate(engine.vet(snippet("rego")), view)

    assert overall(findings(vector)) == status


def test_example_program_vets_a_file(tmp_path: Path) -> None:
    (tmp_path / "tdx.rego").write_text(snippet("rego"))

    done = subprocess.run(
        [sys.executable, "-c", snippet("python")], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=20
    )

    assert done.stdout.startswith("appraisal/tdx ('debug', ")
    assert "tcb_refused" in done.stdout
