"""The `attest` command inside the test's process, so that what it does is measured and quick."""

import io
import sys

import pytest
from command import Attest, Done

from attest_pipeline.cli import main


@pytest.fixture
def attest(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Attest:
    """Run `attest ARGUMENTS` with that standard input."""
    monkeypatch.setenv("COLUMNS", "250")

    def run(*arguments: object, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "argv", ["attest", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return run
