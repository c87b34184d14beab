"""The pages on tokens, Evidence and freshness: snippets run, links and subjects exist."""

import json
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import token_lab as lab

from attest_pipeline import subjects, wire
from attest_pipeline.adapters.site import DEFAULT_TEES, issuer
from attest_pipeline.jws import BadToken
from attest_pipeline.result import AttestationResult

DOCS = Path(__file__).parent.parent / "docs"


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


def snippet(name: str, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", page(name), re.DOTALL)
    assert found, f"docs/{name}.md has no {language}"
    return found[1]


def run(name: str, **given: object) -> dict[str, Any]:
    names: dict[str, Any] = dict(given)
    exec(snippet(name, "python"), names)  # noqa: S102 - our own page
    return names


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A token of the default tenant, issued now, with the JWKS where the page expects it."""
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": lab.KEYS}))
    monkeypatch.chdir(tmp_path)
    config = msgspec.structs.replace(lab.CONFIG, issuer=issuer("default"), audience="default")
    return lab.token(of=lab.context(received_at=int(time.time())), config=config)


def test_a_token_is_verified_in_five_lines(token: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    statements = [line for line in snippet("tokens", "python").splitlines() if line]
    assert len(statements) == 5
    assert isinstance(run("tokens", token=token)["result"], AttestationResult)
    assert capsys.readouterr().out == "affirming\n"


def test_the_five_lines_refuse_a_token_that_was_changed(token: bytes) -> None:
    with pytest.raises(BadToken):
        run("tokens", token=token[:-8] + b"AAAAAAAA")


def test_the_example_envelope_is_what_the_wire_reads() -> None:
    collection = wire.decode_collection(snippet("evidence", "json").encode(), wire.JSON)
    assert [evidence.tee for evidence in collection.evidence] == ["snp"]


def test_every_tee_has_its_row_and_its_page() -> None:
    for tee in DEFAULT_TEES:
        assert f"[`{tee}`](verifiers/{tee}.md)" in page("evidence")


@pytest.mark.parametrize("name", ["tokens", "evidence", "freshness"])
def test_every_link_leads_to_a_file(name: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page(name))
    missing = [link for link in links if not (DOCS / link).is_file()]
    assert not missing


def test_every_subject_on_the_pages_exists() -> None:
    known = {imported.to for imported in subjects.imports("acme")}
    named = re.findall(r"attest\.v1\.[a-z.-]+(?:<\w+>)?", page("evidence") + page("freshness"))
    assert {re.sub(r"<\w+>", "*", subject) for subject in named} <= known
