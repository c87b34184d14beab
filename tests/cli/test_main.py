"""What holds for every sub-command: exit codes, one line for an error, and a quick start."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from command import Attest
from rich.console import Console

from attest_pipeline.cli import COMMANDS
from attest_pipeline.cli.output import TimedOut, exit_code, plain, table
from attest_pipeline.errors import BadEvidence, Misconfigured, Reason, Unavailable
from attest_pipeline.jws import BadToken

COMMAND = str(Path(sys.executable).parent / "attest")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadEvidence(Reason.EMPTY, "nothing"), 1),
        (BadToken("expired"), 1),
        (Misconfigured("say --state"), 2),
        (TimedOut("30 s"), 3),
        (Unavailable("no broker"), 4),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exit_codes_never_change(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_a_table_shows_what_is_long_to_its_last_character() -> None:
    told, digest = io.StringIO(), "".join(f"{number:04x}" for number in range(32))
    Console(file=told, width=80).print(table("t", ("", ""), [("digest", digest)]))
    assert digest in "".join(line.split("│")[-2].strip() for line in told.getvalue().splitlines() if "│" in line)


def test_help_lists_every_sub_command_and_what_it_does(attest: Attest) -> None:
    done = attest("--help")
    assert done.code == 0
    for name in COMMANDS:
        assert any(line.split()[1:2] == [name] and len(line.split()) > 3 for line in done.out.splitlines()), name


@pytest.mark.parametrize("name", ["compose", "schemas"])
def test_what_is_as_the_tables_say_is_told_to_machines_too(attest: Attest, name: str) -> None:
    done = attest(name, "--output", "json")
    assert (done.code, done.json()["written"]) == (0, False)
    assert all(Path(file).is_file() for file in done.json()["files"])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_sub_command_explains_itself(attest: Attest, name: str) -> None:
    assert f"attest {name} " in attest(name, "--help").out


@pytest.mark.parametrize("arguments", [["nonsense"], ["verify", "--nonsense"], ["token", "verify"], ["submit"]])
def test_wrong_usage_ends_with_2(attest: Attest, arguments: list[str]) -> None:
    done = attest(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Usage" in done.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["verify", "absent.json"], 2),
        (["verify", "-"], 1),
        (["token", "verify", "eyJ.e30.e30", "--jwks", "absent", "--audience", "a", "--issuer", "i"], 2),
        (["token", "decode", "eyJ.e30.e30"], 1),
        (["submit", "absent.json", "--agent", "a1", "--state", "absent"], 2),
        (["up", "--state", "/dev/null/state"], 4),
        (["provision", "--url", "nats://127.0.0.1:1", "--credentials", "absent", "--webhooks", "absent"], 2),
    ],
)
def test_a_real_process_ends_with_one_line_and_its_code(tmp_path: Path, arguments: list[str], code: int) -> None:
    done = subprocess.run(
        [COMMAND, *arguments], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.splitlines()[-1].startswith("attest: ")
    assert "Traceback" not in done.stderr


def test_what_evidence_says_cannot_steer_a_terminal() -> None:
    assert plain("a\x1b[31mb\r\nc\u202ed é") == "a\ufffd[31mb\ufffd\ufffdc\ufffdd é"


def test_the_stream_starts_without_broker_network_and_tables() -> None:
    script = (
        "import sys; from attest_pipeline.cli import main\n"
        "sys.argv = ['attest', 'verify', '--stream']\n"
        "try: main()\n"
        "except SystemExit: print([n for n in ('nats', 'aiohttp', 'regorus', 'rich.table') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
