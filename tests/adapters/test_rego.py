"""Rego in its child: answers, limits, and what is left after a policy that breaks them."""

import hashlib
import io
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import regorus

from attest_pipeline.adapters import rego, rego_child
from attest_pipeline.adapters.rego import Child, RegoEngine
from attest_pipeline.appraisal import Appraiser
from attest_pipeline.errors import Misconfigured
from attest_pipeline.model import Claims, Match, Matched, Policy
from attest_pipeline.owner.policies import Exhausted
from attest_pipeline.ports import PolicyFailed

HEAD = 'package appraisal.tdx\nimport data.ear\nreads := ["debug", "fields.level"]\n'
GOOD = 'vector := {"hardware": {"value": ear.hardware.genuine, "reason": "fine"}}\n'
CAREFUL = HEAD + (
    'vector := {"hardware": {"value": ear.hardware.genuine, "reason": "fine"}} if { input.debug == false }\n'
    'else := {"hardware": {"value": ear.hardware.contraindicated, "reason": "debug"}}\n'
)
VIEW = {"debug": False, "fields": {"level": 7}}
BOMBS = {
    "recursion": "f(n) := f(n)\nvector := f(input.debug)",
    "range": "vector := count(numbers.range(1, 1000000000))",
    "comprehension": "vector := count([1 | some i in numbers.range(1, 30000); some j in numbers.range(1, 30000)])",
    "sprintf width": 'vector := sprintf("%1000000000d", [1])',
    "memory": 'vector := {x | some i in numbers.range(1, 9000000); x := sprintf("%64d", [i])}',
    "brackets": f"vector := {'[' * 20}{']' * 20}",
    "long answer": 'vector := sprintf("%2000000d", [1])',
}
AT_ONCE = 1.0
"""Seconds within which the next request is answered: the start of a child (20 ms), with room for a loaded host."""


def policy(text: str) -> Policy:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Policy(
        id="appraisal/tdx",
        tee="tdx",
        text=text,
        digest=digest,
        reads=("debug", "fields.level"),
        allow_unfresh=False,
    )


GOOD_POLICY = policy(HEAD + GOOD)


@pytest.fixture
def engine() -> Iterator[RegoEngine]:
    engine = RegoEngine()
    yield engine
    engine.close()


def refusal(engine: RegoEngine, text: str) -> str:
    with pytest.raises(Misconfigured, match="policy refused: ") as raised:
        engine.vet(text)
    return str(raised.value)


# ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_policy_gets_its_input_and_the_constants(engine: RegoEngine) -> None:
    assert engine.evaluate(policy(CAREFUL), VIEW) == {"hardware": {"value": 2, "reason": "fine"}}
    assert engine.evaluate(policy(CAREFUL), {"debug": True}) == {"hardware": {"value": 96, "reason": "debug"}}


def test_input_of_one_request_is_gone_in_the_next(engine: RegoEngine) -> None:
    engine.evaluate(policy(CAREFUL), VIEW)

    assert engine.evaluate(policy(CAREFUL), {}) == {"hardware": {"value": 96, "reason": "debug"}}


@pytest.mark.parametrize("rule", ["vector := 1 if false", "other := 1", "vector := input.absent", "vector := null"])
def test_rule_without_a_value_is_none(engine: RegoEngine, rule: str) -> None:
    assert engine.evaluate(policy(HEAD + rule), VIEW) is None


@pytest.mark.parametrize(
    "rule",
    ["vector := {", "vector := input.debug + 1", "vector := f(1)", "vector := 1\nvector := 2", "vector = 1 { 1 }"],
)
def test_policy_at_fault_fails_and_keeps_its_child(engine: RegoEngine, rule: str) -> None:
    engine.evaluate(GOOD_POLICY, VIEW)
    pid = engine._child.pid

    with pytest.raises(PolicyFailed, match=r"error: |conflict"):
        engine.evaluate(policy(HEAD + rule), VIEW)

    assert engine._child.pid == pid


def test_message_of_a_failure_is_short_and_shows_no_backtrace(engine: RegoEngine) -> None:
    with pytest.raises(PolicyFailed) as raised:
        engine.evaluate(policy(HEAD + "vector := f(1)"), VIEW)

    assert len(str(raised.value)) <= 300
    assert "backtrace" not in str(raised.value)


def test_policy_is_sent_once(engine: RegoEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    ask = Child.ask

    def counted(child: Child, *request: str) -> str:
        sent.append(request[0])
        return ask(child, *request)

    monkeypatch.setattr(Child, "ask", counted)
    for _ in range(3):
        engine.evaluate(GOOD_POLICY, VIEW)

    assert sent == ["load", "evaluate", "evaluate", "evaluate"]


def test_child_is_replaced_when_it_holds_too_many_policies(engine: RegoEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rego, "MAX_LOADED", 2)
    for number in range(5):
        assert engine.evaluate(policy(f"{HEAD}{GOOD}# {number}"), VIEW)

    assert len(engine._child.loaded) == 1


# ── limits ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("bomb", BOMBS)
def test_after_a_policy_bomb_the_next_request_is_answered_at_once(engine: RegoEngine, bomb: str) -> None:
    with pytest.raises(PolicyFailed):
        engine.evaluate(policy(HEAD + BOMBS[bomb]), VIEW)

    began = time.monotonic()
    assert engine.evaluate(GOOD_POLICY, VIEW) == {"hardware": {"value": 2, "reason": "fine"}}
    assert time.monotonic() - began < AT_ONCE


def test_deep_input_breaks_nothing(engine: RegoEngine) -> None:
    deep = msgspec.Raw(b"[" * 100_000 + b"]" * 100_000)

    with pytest.raises(PolicyFailed):
        engine.evaluate(GOOD_POLICY, {"fields": deep})

    assert engine.evaluate(GOOD_POLICY, VIEW)


def test_bomb_is_never_affirming_and_neighbours_are_judged(engine: RegoEngine) -> None:
    claims = Claims(
        tee="tdx",
        hardware_id=None,
        debug=False,
        tcb_status=None,
        measurements={},
        signer=None,
        challenge_verified=True,
        endorsements={},
        fields={"level": 7},
        checks=("signature",),
    )
    matched = Matched(claims, Match(matched=True, set="web", version="1"))
    appraiser = Appraiser(engine)

    bombed = appraiser.appraise(matched, policy(HEAD + BOMBS["range"]), fresh=True, replayed=False)
    neighbour = appraiser.appraise(matched, GOOD_POLICY, fresh=True, replayed=False)

    assert (bombed.appraisal.status, bombed.appraisal.reasons[0].reason) == ("none", "policy_failed")
    assert neighbour.appraisal.status == "affirming"


def test_policy_that_exhausted_two_children_rests(engine: RegoEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = policy(HEAD + BOMBS["range"])
    with pytest.raises(Exhausted):
        engine.evaluate(bomb, VIEW)
    pid = engine._child.pid

    with pytest.raises(PolicyFailed, match="exhausted its limits less than 10"):
        engine.evaluate(bomb, VIEW)
    assert engine._child.pid == pid

    later = time.monotonic() + rego.REST_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with pytest.raises(Exhausted):
        engine.evaluate(bomb, VIEW)


def test_child_that_was_killed_or_stopped_is_replaced_unnoticed(engine: RegoEngine) -> None:
    for number in (signal.SIGKILL, signal.SIGSTOP):
        engine.evaluate(GOOD_POLICY, VIEW)
        os.kill(engine._child.pid, number)

        assert engine.evaluate(GOOD_POLICY, VIEW)


# ── the process ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_closed_engine_leaves_no_process(engine: RegoEngine) -> None:
    engine.evaluate(GOOD_POLICY, VIEW)
    pid = engine._child.pid

    engine.close()
    engine.close()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_replaced_children_leave_no_zombies(engine: RegoEngine) -> None:
    pids = [engine._child.pid]
    with pytest.raises(Exhausted):
        engine.evaluate(policy(HEAD + BOMBS["range"]), VIEW)
    pids.append(engine._child.pid)
    engine.close()

    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def test_forgotten_engine_does_not_hang_the_exit_of_its_program() -> None:
    program = "from attest_pipeline.adapters.rego import RegoEngine; print(RegoEngine()._child.pid)"

    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=20)

    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


def test_child_has_no_secret_of_its_parent_and_is_limited(engine: RegoEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTEST_SECRET", "hunter2")
    engine._replace()
    engine.evaluate(GOOD_POLICY, VIEW)
    process = Path("/proc") / str(engine._child.pid)

    assert [entry.partition(b"=")[0] for entry in (process / "environ").read_bytes().split(b"\0") if entry] == [
        b"PYTHONPATH"
    ]
    limits = (process / "limits").read_text()
    assert str(rego_child.MEMORY_BYTES) in limits.partition("Max address space")[2].splitlines()[0]
    assert limits.partition("Max core file size")[2].split()[0] == "0"
    assert limits.partition("Max cpu time")[2].split()[0] in {"2", "3"}
    assert {path.resolve().name.partition(":")[0] for path in (process / "fd").iterdir()} == {"socket", "null"}


def test_child_that_cannot_start_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rego, "_COMMAND", (sys.executable, "-c", "raise SystemExit(1)"))
    broken = RegoEngine()

    with pytest.raises(PolicyFailed, match="ended without an answer"):
        broken.evaluate(GOOD_POLICY, VIEW)
    broken.close()


# ── vetting ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_tee_whose_name_has_a_dash_has_its_package_in_brackets(engine: RegoEngine) -> None:
    vetted = engine.vet(CAREFUL.replace("appraisal.tdx", 'appraisal["az-tdx-vtpm"]'))

    assert (vetted.id, vetted.tee) == ("appraisal/az-tdx-vtpm", "az-tdx-vtpm")
    assert engine.evaluate(vetted, VIEW) == {"hardware": {"value": 2, "reason": "fine"}}


def test_vetting_returns_a_policy_that_can_be_evaluated(engine: RegoEngine) -> None:
    vetted = engine.vet(CAREFUL)

    assert vetted == policy(CAREFUL)
    assert engine.evaluate(vetted, VIEW) == {"hardware": {"value": 2, "reason": "fine"}}


@pytest.mark.parametrize("bomb", BOMBS)
def test_policy_bomb_is_refused_at_the_door(engine: RegoEngine, bomb: str) -> None:
    if bomb == "recursion":  # needs an argument to run at all
        assert refusal(engine, HEAD + "f(n) := f(n)\nvector := f(1)")
    assert refusal(engine, HEAD + BOMBS[bomb].replace("input.debug", "1"))
    assert engine.evaluate(GOOD_POLICY, VIEW)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ('vector := http.send({"url": "http://127.0.0.1"})', "http.send"),
        ('vector := x if { not http.send({"url": "x"}); x := 1 }', "http.send"),
        ('vector := rand.intn("x", 5)', "rand.intn"),
        ('vector := rand["intn"]("x", 5)', "rand.intn"),
        ("vector := time.now_ns()", "time.now_ns"),
        ('vector := uuid.rfc4122("x")', "uuid.rfc4122"),
        ('vector := 1 if trace("x")', "trace"),
        ("vector := opa.runtime().env", "opa.runtime"),
        ('f(x) := y if { y := time.now_ns() + x }\nvector := {"hardware": f(1)}', "time.now_ns"),
        ("vector := [1 | {2 | time.now_ns() > 0}]", "time.now_ns"),
    ],
)
def test_builtin_that_reaches_outside_or_varies_is_refused_wherever_it_hides(
    engine: RegoEngine, rule: str, name: str
) -> None:
    assert f"it names {name}" in refusal(engine, HEAD + rule)


def test_forbidden_names_in_words_are_no_reason(engine: RegoEngine) -> None:
    assert engine.vet(f"{CAREFUL}# unlike http.send\nnote := `rand.intn`\n")


def test_reference_by_a_computed_name_is_seen() -> None:
    with Child() as child:
        child.ask("load", "", 'package appraisal.x\nvector := input.fields[input.name]["b"]')
        names = msgspec.json.decode(child.ask("names", ""))

    assert "input.fields.*.b" in names


def test_order_across_types_lets_nothing_pass(engine: RegoEngine) -> None:
    careless = HEAD + 'vector := {"hardware": {"value": 2, "reason": "fine"}} if { input.fields.level >= 7 }'
    careful = careless.replace("{ input", "{ is_number(input.fields.level); input")

    assert '"level":"zzz"' in refusal(engine, careless)
    assert engine.vet(careful)


def test_truthy_null_lets_nothing_pass(engine: RegoEngine) -> None:
    careless = HEAD + 'vector := {"hardware": {"value": 2, "reason": "fine"}} if { input.debug; input.fields.level }'

    assert '"debug":null' in refusal(engine, careless)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "package"),
        ("package appraisal.tdx\nvector := 1 {", "error"),
        ('package appraisal.tdx\nvector := {"hardware": 97}', "declare what it sees"),
        (HEAD.replace("tdx", "tdx.own") + GOOD, "its package is appraisal.tdx.own"),
        ("package ear\nreads := []\n" + GOOD, "its package is ear"),
        (HEAD, "no rule `vector`"),
        (HEAD + GOOD, "affirming for the input {}"),
        (HEAD + GOOD.replace("hardware.genuine", "hardware.unsafe").replace('"hardware"', '"hw"'), "malformed"),
    ],
)
def test_vetting_says_what_to_change(engine: RegoEngine, text: str, says: str) -> None:
    assert says in refusal(engine, text)


def test_allow_unfresh_is_read_from_the_policy(engine: RegoEngine) -> None:
    assert engine.vet(f"{CAREFUL}allow_unfresh := true\n").allow_unfresh


# ── the child's own code, in this process ─────────────────────────────────────────────────────────────────────────────
def served(*requests: list[str]) -> list[tuple[bool, str]]:
    answers: list[bytes] = []
    policies = rego_child.Policies(regorus.Engine)
    rego_child.serve(policies, [msgspec.json.encode(request) for request in requests], answers.append)
    return [msgspec.json.decode(answer, type=tuple[bool, str]) for answer in answers]


def test_child_answers_a_line_for_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _what, limit: limits.append(limit[0]))

    answers = served(
        ["load", "k", "package a\nx := input.y.z[`w`]"],
        ["names", "k"],
        ["evaluate", "k", "data.a.x", '{"y": {"z": {"w": 3}}}'],
        ["evaluate", "k", "data.a.x", "{}"],
        ["evaluate", "k", "data.a.nothing", "{}"],
        ["evaluate", "k", "data.a.x", "no JSON"],
        ["load", "k", "package a\nx := input.y + 1"],
        ["evaluate", "k", "data.a.x", '{"y": "z"}'],
    )

    assert answers[:5] == [
        (True, "data.a"),
        (True, '["a", "input", "input.y", "input.y.z", "input.y.z.w", "x"]'),
        (True, "3"),
        (True, "null"),
        (True, "null"),
    ]
    assert [succeeded for succeeded, _ in answers[5:]] == [False, True, False]
    assert len(limits) == 8


def test_child_starts_limited_and_says_that_it_is_ready(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    limits: dict[int, int] = {}
    monkeypatch.setattr(resource, "setrlimit", lambda what, limit: limits.update({what: limit[0]}))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))

    rego_child.main()

    assert capfdbinary.readouterr().out == b"\n"
    assert limits == {resource.RLIMIT_AS: 512 * 2**20, resource.RLIMIT_CORE: 0}
