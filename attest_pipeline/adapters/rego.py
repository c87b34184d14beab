"""Rego behind its port: regorus in a child process that is killed when it is late (docs/adr/0005)."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import msgspec

import attest_pipeline
from attest_pipeline.errors import Misconfigured
from attest_pipeline.model import Policy
from attest_pipeline.owner import policies
from attest_pipeline.owner.policies import Exhausted
from attest_pipeline.ports import PolicyFailed

SECONDS: Final = 0.25
"""Wall time that one request to the child may take."""
START_SECONDS: Final = 20.0
"""Wall time that a new child may take to be ready on a loaded host."""
REST_SECONDS: Final = 10.0
"""How long a policy that exhausted two children in a row is refused without a try: it must not stall its neighbours."""
MAX_ANSWER: Final = 2**20
MAX_LOADED: Final = 256
"""Policies that one child keeps before a new one replaces it."""

_COMMAND: Final = (sys.executable, "-P", "-s", "-S", "-m", "attest_pipeline.adapters.rego_child")
_T = TypeVar("_T")
_answer: Final = msgspec.json.Decoder(tuple[bool, str])


class Child:
    """One child process, for one policy at a time or many; not for two threads. A context manager that kills it."""

    def __init__(self) -> None:
        """Start it; it gets ready while the caller goes on."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                _COMMAND,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                env=_environment(),
            )
        self.pid = process.pid
        self.loaded: set[str] = set()
        self._socket = ours
        self._lines = ours.makefile("rb")
        self._ready = False
        self.close = weakref.finalize(self, _end, process, ours, self._lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, *request: str) -> str:
        """The answer to a request. Raises PolicyFailed if the policy is at fault, Exhausted if the child is lost."""
        if not self._ready:
            self._exchange(b"", START_SECONDS)
            self._ready = True
        succeeded, text = _answer.decode(self._exchange(msgspec.json.encode(request) + b"\n", SECONDS))
        if not succeeded:
            raise PolicyFailed(" ".join(text.split())[:300])
        return text

    def _exchange(self, request: bytes, seconds: float) -> bytes:
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(request)
            line = self._lines.readline(MAX_ANSWER)
        except TimeoutError:
            raise Exhausted(f"no answer in {seconds} s") from None
        except (OSError, ValueError):
            line = b""
        if not line.endswith(b"\n"):
            raise Exhausted("its engine ended without an answer (recursion, memory, or an answer beyond the limit)")
        return line


def _end(process: subprocess.Popen[bytes], *connections: contextlib.AbstractContextManager[object]) -> None:
    process.kill()
    process.wait()
    for connection in connections:
        with connection:
            pass


def _environment() -> dict[str, str]:
    """What Python needs to find its modules, and nothing else: no secret of the parent reaches a policy."""
    package = Path(attest_pipeline.__file__).parent.parent
    return {"PYTHONPATH": ":".join([*(path for path in sys.path if path.startswith("/")), str(package)])}


class Sandbox:
    """One policy in one child, as `owner.policies.vet` wants it."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def load(self, text: str) -> str:
        """Parse a policy and return its package."""
        return self._child.ask("load", "", policies.rego_constants(), text)

    def names(self) -> frozenset[str]:
        """Every variable and reference in the policy."""
        return frozenset(msgspec.json.decode(self._child.ask("names", ""), type=list[str]))

    def evaluate(self, rule: str, view: Mapping[str, object]) -> object:
        """The document of a rule; None if undefined."""
        return _evaluate(self._child, "", rule, view)


def _evaluate(child: Child, key: str, rule: str, view: Mapping[str, object]) -> object:
    return msgspec.json.decode(child.ask("evaluate", key, rule, msgspec.json.encode(view).decode()))


def _vet(text: str) -> Policy:
    with Child() as child:
        return policies.vet(text, Sandbox(child))


def _twice(work: Callable[[], _T]) -> _T:
    """A loaded host stalls a good policy too: what exhausted one child gets a second."""
    with contextlib.suppress(Exhausted):
        return work()
    return work()


class RegoEngine:
    """Evaluates policies in one child process; a `PolicyEngine`. Usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child = Child()
        self._rested: dict[str, float] = {}

    def evaluate(self, policy: Policy, view: Mapping[str, object]) -> object:
        """The `vector` document of the policy for that input; None if undefined. Raises PolicyFailed."""
        with self._lock:
            if time.monotonic() < self._rested.get(policy.digest, 0):
                raise PolicyFailed(f"exhausted its limits less than {REST_SECONDS} s ago")
            try:
                return _twice(lambda: self._attempt(policy, view))
            except Exhausted:
                self._rested[policy.digest] = time.monotonic() + REST_SECONDS
                raise

    def _attempt(self, policy: Policy, view: Mapping[str, object]) -> object:
        try:
            if policy.digest not in self._child.loaded:
                self._load(policy)
            return _evaluate(self._child, policy.digest, f"data.{policy.id.replace('/', '.')}.vector", view)
        except Exhausted:
            self._replace()
            raise

    def _load(self, policy: Policy) -> None:
        if len(self._child.loaded) >= MAX_LOADED:
            self._replace()
        self._child.ask("load", policy.digest, policies.rego_constants(), policy.text)
        self._child.loaded.add(policy.digest)

    def _replace(self) -> None:
        self._child.close()
        self._child = Child()

    def vet(self, text: str) -> Policy:
        """The policy if it may be used (`owner.policies.vet`), judged in a child of its own. Raises Misconfigured."""
        try:
            return _twice(lambda: _vet(text))
        except Exhausted as error:
            raise Misconfigured(f"policy refused: {error}") from None

    def close(self) -> None:
        """End the child; a later evaluation starts another."""
        with self._lock:
            self._child.close()
