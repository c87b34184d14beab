"""The `attest` command for tests: a run in the test's process (fixture `attest` in cli/conftest.py), or a process."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

COMMAND: Final = str(Path(sys.executable).parent / "attest")
_PATIENCE: Final = 30.0


class Done(NamedTuple):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """What it wrote on standard output, decoded."""
        return msgspec.json.decode(self.out)


Attest = Callable[..., Done]


class Up:
    """`attest up` as a process on free ports; Ctrl-C at the end."""

    def __init__(self, state: Path, *options: str) -> None:
        self.port = port_of_a_stack()
        self._process = subprocess.Popen(
            [COMMAND, "up", "--state", str(state), "--port", str(self.port), "--process-kill-only", *options],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = self._until("Try next:")

    def rest(self, lines: int) -> list[str]:
        """The next lines that it says."""
        assert self._process.stderr
        return [self._process.stderr.readline() for _ in range(lines)]

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self._process.send_signal(signal.SIGINT)
        _, said = self._process.communicate(timeout=_PATIENCE)
        self.said += said
        return self._process.returncode

    def _until(self, word: str) -> str:
        assert self._process.stderr
        said = ""
        for line in self._process.stderr:
            said += line
            if word in line:
                return said
        raise AssertionError(said)


def port_of_a_stack() -> int:
    """A port P for `attest up`: its monitor is on P + 4000 and its workers from P + 4878 on."""
    return next(port for port in range(14000 + os.getpid() % 1000 * 10, 40000, 20) if _all_free(port))


def _all_free(port: int) -> bool:
    return all(_free(one) for one in (port, port + 4000, *range(port + 4878, port + 4888)))


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
