"""Child processes of the embedded stack: out of reach of the terminal's Ctrl-C, and not outliving their parent."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


async def start(
    *command: str, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> asyncio.subprocess.Process:
    """Start a process that writes to that file and ends when its parent says so, or (on Linux) is killed."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def end_with_parent() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *command, env=env, cwd=cwd, stdout=output, stderr=output,
            start_new_session=True, preexec_fn=end_with_parent,
        )  # fmt: skip


def cores() -> int:
    """Cores that this process and its children may use; where only Linux could tell, those of the machine."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
