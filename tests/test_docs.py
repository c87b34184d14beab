"""The Python of README.md and of the pages on embedding, Evidence and freshness runs and does what they say."""

import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import token_lab as lab

from attest_pipeline import freshness, wire
from attest_pipeline.adapters.site import issuer
from attest_pipeline.freshness import Tick
from attest_pipeline.model import EpochChallenge, Evidence, EvidenceCollection

ROOT = Path(__file__).parent.parent


def blocks(page: str, language: str = "python") -> list[str]:
    """Fenced blocks of a page, in its order."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def block(page: str, words: str) -> str:
    """The one block of Python that has these words."""
    (found,) = [one for one in blocks(page) if words in one]
    return found


def run(code: str, **given: object) -> dict[str, Any]:
    names: dict[str, Any] = dict(given)
    exec(code, names)  # noqa: S102 - our own page
    return names


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory with the project's policies, as the current one."""
    (tmp_path / "policies").symlink_to(ROOT / "policies")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readmes_five_lines_verify_a_token(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "state").mkdir()
    (checkout / "state" / "jwks.json").write_text(json.dumps({"keys": lab.KEYS}))
    config = msgspec.structs.replace(lab.CONFIG, issuer=issuer("default"), audience="default")
    code = block("README.md", "result.status")
    assert len([line for line in code.splitlines() if line]) == 5
    run(code, token=lab.token(of=lab.context(received_at=int(time.time())), config=config))
    assert capsys.readouterr().out == "affirming\n"


def test_the_readmes_embedding_is_a_part_of_the_page_it_points_to() -> None:
    brief, whole = block("README.md", "pipeline.run"), block("docs/embedding.md", "pipeline.run")
    assert "from attest_pipeline.pipeline import Pipeline" in brief
    for call in re.findall(r"(?:Pipeline|pipeline\.run)\(", brief):
        assert call in whole


@pytest.mark.usefixtures("checkout")
def test_the_embedded_pipeline_affirms_a_simulated_device(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(block("docs/embedding.md", "pipeline.run"))
    assert capsys.readouterr().out == "affirming\n"
    (submod,) = found["result"].submods.values()
    assert submod.details.replayed
    assert not submod.details.fresh


def test_messagepack_and_json_of_the_envelope_are_one_attestation() -> None:
    names = run(block("docs/evidence.md", "wire.encode"))
    (text,) = blocks("docs/evidence.md", "json")
    packed, read = wire.decode_collection(names["message"]), wire.decode_collection(text.encode(), wire.JSON)
    assert packed == read == names["collection"]


def test_the_attestation_id_is_the_documented_hash() -> None:
    collection = EvidenceCollection(
        evidence=(Evidence("snp", {"report": b"r", "leaf": b"lf"}), Evidence("gpu", {})),
        challenge=EpochChallenge(7, "job"),
        attester_key=b"spki",
        as_of=9,
        endorsements={"b": (b"2", b"1"), "a": ()},
    )

    def number(value: int, size: int = 4) -> bytes:
        return value.to_bytes(size, "big")

    parts = [b"acme", b"node-1", b"e" + number(7, 8) + b"job", b"kspki", number(9, 8)]
    parts += [number(2), b"snp", number(2), b"leaf", b"lf", b"report", b"r", b"gpu", number(0)]
    parts += [b"a", number(0), b"b", number(2), b"2", b"1"]
    wanted = hashlib.sha256(b"".join(number(len(part)) + part for part in parts)).digest()
    assert wire.attestation_id("acme", "node-1", collection) == wanted


def test_the_table_of_limits_has_the_limits_of_the_wire() -> None:
    rows = {
        "message": f"{wire.MAX_MESSAGE // 1024} KiB",
        "item": f"{wire.MAX_ITEM // 1024} KiB",
        "items of one Evidence": wire.MAX_ITEMS,
        "pieces of Evidence in a collection": wire.MAX_EVIDENCE,
        "name of a TEE": f"{wire.MAX_TEE} characters",
        "entries of a gateway's message": wire.MAX_BATCH,
    }
    page = (ROOT / "docs" / "evidence.md").read_text()
    for what, limit in rows.items():
        assert f"| {what} | {limit} |" in page


def test_the_worked_example_of_a_challenge_is_what_the_library_expects() -> None:
    names = run(block("docs/freshness.md", "hashlib.sha512"))
    tick = Tick("default", 5983397, bytes(range(32)), 0, 1)
    assert names["report_data"] == freshness.epoch_challenge("agent-1", "tdx", tick, "", None)
    (printed,) = blocks("docs/freshness.md", "text")
    assert "".join(printed.split()) == names["report_data"].hex()
    page = (ROOT / "docs" / "freshness.md").read_text()
    begins = re.search(r"`message` has (\d+) bytes and begins `([0-9a-f ]+)`", page)
    assert begins
    assert int(begins[1]) == len(names["message"])
    assert names["message"].hex().startswith(begins[2].replace(" ", ""))
