"""Each target in a process of its own, so that a crash, a hang or a memory bomb is a finding and not the end."""

import mmap
import multiprocessing
import os
import resource
import struct
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from random import Random
from typing import Final

import msgspec
from msgspec import Struct

from fuzz.campaign import Campaign, Finding, Tally
from fuzz.case import Case, Target

MEMORY_LIMIT: Final = 256 * 1024 * 1024
"""Bytes of address space beyond what the process had before its first input, caches included.

A limit of the address space binds native code too (CBOR, JSON, XML, X.509), of which tracemalloc sees nothing, and
costs nothing: who breaks it gets a MemoryError, or dies.
"""
HANG_LIMIT: Final = 120.0
"""Seconds without a new input after which a process is killed: the machine may be busy, so they are many."""
_BOARD_SIZE: Final = 16 * 1024 * 1024
_HEADER: Final = struct.Struct("<QI")
_fork: Final = multiprocessing.get_context("fork")


class Outcome(Struct, frozen=True):
    """A finished campaign; `grown` are bytes that its process has grown by at most, `seconds` how long it ran."""

    target: str
    tally: Tally
    seconds: float
    grown: int


class _Board:
    """Memory shared with the process under test: how far it is, and the input it is at."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _BOARD_SIZE)

    def write(self, executions: int, case: Case) -> None:
        encoded = msgspec.msgpack.encode(case)[: _BOARD_SIZE - _HEADER.size]
        _HEADER.pack_into(self._shared, 0, executions, len(encoded))
        self._shared[_HEADER.size : _HEADER.size + len(encoded)] = encoded

    @property
    def executions(self) -> int:
        """Executions so far; nonsense for a moment while the other process writes."""
        return int(_HEADER.unpack_from(self._shared)[0])

    def case(self) -> Case:
        """The input that it is at, in one item if it was cut down while it wrote."""
        size = _HEADER.unpack_from(self._shared)[1]
        encoded = self._shared[_HEADER.size : _HEADER.size + size]
        try:
            return msgspec.msgpack.decode(encoded, type=Case)
        except msgspec.MsgspecError:
            return Case({"unreadable": encoded})


def fuzz(target: Target, seconds: float, seed: int, on_progress: Callable[[int], None]) -> Outcome:
    """Run a campaign of that many seconds in a process of its own. `on_progress` is told its executions."""
    board, start = _Board(), time.monotonic()
    receiver, sender = _fork.Pipe(duplex=False)
    child = _fork.Process(target=_campaign, args=(target, seconds, seed, board, sender))
    child.start()
    sender.close()
    seen, since = 0, start
    while not receiver.poll(0.2):
        executions = board.executions
        if executions != seen:
            on_progress(executions)
            seen, since = executions, time.monotonic()
        elif time.monotonic() - since > HANG_LIMIT:
            child.kill()
    try:
        outcome: Outcome = receiver.recv()
    except EOFError:  # it died
        child.join()
        outcome = _post_mortem(target, board, child.exitcode, time.monotonic() - start)
    child.join()
    return outcome


def _campaign(target: Target, seconds: float, seed: int, board: _Board, sender: Connection) -> None:
    warnings.simplefilter("error")  # whoever sends bytes shall not write into a log by what a parser warns of
    campaign = Campaign(target, Random(f"{seed} {target.name}"))
    size, resident = _memory()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_LIMIT, resource.RLIM_INFINITY))
    start = time.monotonic()
    campaign.run(seconds, lambda case: board.write(campaign.tally.executions + 1, case))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - resident
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    sender.send(Outcome(target.name, campaign.tally, time.monotonic() - start, max(0, grown)))


def _memory() -> tuple[int, int]:
    """Address space and resident memory of this process (bytes)."""
    with open("/proc/self/statm") as file:  # noqa: PTH123 - no file on any disk
        size, resident, *_ = map(int, file.read().split())
    page = os.sysconf("SC_PAGE_SIZE")
    return size * page, resident * page


def _post_mortem(target: Target, board: _Board, code: int | None, seconds: float) -> Outcome:
    what = f"its process was killed after {HANG_LIMIT:.0f} s" if code == -9 else f"its process died with status {code}"
    finding = Finding(target.name, what, what, board.case())
    return Outcome(target.name, Tally(board.executions, 0.0, 0, [finding]), seconds, 0)
