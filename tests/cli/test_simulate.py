from pathlib import Path

import pytest
from command import Attest, Up

from attest_pipeline.adapters import config_dir
from attest_pipeline.adapters.rego import RegoEngine
from attest_pipeline.adapters.site import Site
from attest_pipeline.cli.stack import POLICIES


@pytest.mark.integration
def test_a_newcomer_submits_what_was_simulated_and_believes_the_token(attest: Attest, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert attest("simulate", "--state", state, "--tee", "snp", "--tee", "tpm").code == 0
    stack = Up(state, "--fused", "1", "--gateway", "rack-1")
    submit, edit, verify, batch = (line.split() for line in stack.rest(4))
    assert (submit[:2], edit[0], verify[:3]) == (["attest", "submit"], "$EDITOR", ["attest", "token", "verify"])
    token = str(tmp_path / "TOKEN")
    done = attest(*(token if word == "TOKEN" else word for word in submit[1:]))
    assert (done.code, done.err) == (0, "")
    assert attest(*(token if word == "TOKEN" else word for word in verify[1:])).code == 0
    bad = attest("submit", state / "simulated/tpm-bad-signature.json", *submit[3:9])
    assert bad.code == 1
    assert "bad_signature" in bad.out
    together = attest(*batch[1:])
    assert (together.code, together.err) == (0, "")
    assert "agent-2 is affirming" in together.out
    assert stack.interrupt() == 0


def test_the_tenant_is_one_of_development_and_made_once(attest: Attest, tmp_path: Path) -> None:
    told = attest("simulate", "--state", tmp_path, "--tee", "cca", "--output", "json").json()
    assert [Path(file).name for file in told["evidence"]] == ["cca-good.json", "cca-bad-signature.json"]
    engine = RegoEngine()
    config, _ = config_dir.read(Site(tmp_path).config / told["tenant"], POLICIES, engine.vet)
    engine.close()
    assert (config.environment, config.tees) == ("development", ("cca",))
    again = attest("simulate", "--state", tmp_path)
    assert again.code == 2
    assert "remove it first" in again.err


def test_a_tee_that_nobody_simulates_is_wrong_usage(attest: Attest, tmp_path: Path) -> None:
    assert attest("simulate", "--state", tmp_path, "--tee", "abacus").code == 2
    assert not (tmp_path / "config/simulated").exists()
