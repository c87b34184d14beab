"""The process in which Rego runs: regorus can hang, abort or crash, and has no limits of its own.

Started by `rego.py` as a program; one JSON array a line on stdin, `[operation, argument, …]`, gives one on stdout,
`[succeeded, text]`. It imports neither msgspec nor the library's core, so that a new one is ready in 20 ms. It holds no
secrets, keeps nothing but policies, and its parent kills it when an answer is late.
"""

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

MEMORY_BYTES: Final = 512 * 2**20
CPU_SECONDS: Final = 2
"""CPU time one request may take at the most, should the parent not be there to watch."""


class Policies:
    """The loaded policies, one engine each: engines share nothing, and a prepared one answers in 20 to 90 us.

    `engine` makes an empty `regorus.Engine`.
    """

    def __init__(self, engine: Callable[[], Any]) -> None:
        self._engine = engine
        self._engines: dict[str, Any] = {}

    def load(self, key: str, *modules: str) -> str:
        """Parse the modules of one policy. The package of the last, such as `data.appraisal.tdx`."""
        engine = self._engine()
        packages = [engine.add_policy(f"{index}.rego", module) for index, module in enumerate(modules)]
        self._engines[key] = engine
        return str(packages[-1])

    def names(self, key: str) -> str:
        """Every variable and reference in the last module, dotted, as a sorted JSON list: `["ear", "http.send"]`."""
        module = json.loads(self._engines[key].get_ast_as_json())[-1]
        return json.dumps(sorted(_names(module["ast"])))

    def evaluate(self, key: str, rule: str, view: str) -> str:
        """The document of a rule such as `data.appraisal.tdx.vector` as JSON; `null` if it has no value or is none."""
        engine = self._engines[key]
        engine.set_input_json(view)
        try:
            document = str(engine.eval_rule_as_json(_bracketed(rule)))
        except RuntimeError as error:
            if "not a valid rule path" in str(error):
                return "null"
            raise
        return "null" if document == '"<undefined>"' else document


def _bracketed(rule: str) -> str:
    """The rule's path with its members in brackets, because a TEE's name may hold a dash."""
    root, *members = rule.split(".")
    return root + "".join(f"[{json.dumps(member)}]" for member in members)


def _names(syntax: object) -> set[str]:
    found: set[str] = set()
    pending = [syntax]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            found |= {_path(node)} - {""}
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
    return found


def _path(node: Mapping[str, Any]) -> str:
    """`a.b["c"]` as `a.b.c`, a computed member as `*`; empty if the node is no reference."""
    members: list[str] = []
    while True:
        if "Var" in node:
            return ".".join([str(node["Var"]["value"]), *reversed(members)])
        if "RefDot" in node:
            node = node["RefDot"]
            members.append(node["field"][1])
        elif "RefBrack" in node:
            node = node["RefBrack"]
            literal = node["index"].get("String") or node["index"].get("RawString") or {"value": "*"}
            members.append(literal["value"])
        else:
            return ""
        node = node["refr"]


def serve(policies: Policies, requests: Iterable[bytes], answer: Callable[[bytes], object]) -> None:
    """Answer requests until they end. A failure of a policy is an answer; a panic of the engine ends the process."""
    operations: dict[str, Callable[..., str]] = {
        "load": policies.load,
        "names": policies.names,
        "evaluate": policies.evaluate,
    }
    for request in requests:
        operation, *arguments = json.loads(request)
        _limit_cpu()
        try:
            reply = [True, operations[operation](*arguments)]
        except (RuntimeError, ValueError, TypeError) as error:
            reply = [False, str(error).partition("\n\nStack backtrace")[0].strip()]
        answer(json.dumps(reply).encode() + b"\n")


def _limit_cpu() -> None:
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + CPU_SECONDS, hard))


def main() -> None:
    """Limit this process, say that it is ready, and serve until the parent goes."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # only now: without the limit its allocator reserves 1 GiB, and would then neither fit into it nor be held by it
    regorus = importlib.import_module("regorus")
    _write(b"\n")
    serve(Policies(regorus.Engine), sys.stdin.buffer, _write)


def _write(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
