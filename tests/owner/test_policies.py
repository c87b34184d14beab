"""What is demanded of a policy before it may judge, with a sandbox of canned answers."""

import hashlib
import re
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from attest_pipeline.ear import CLAIM_VALUES
from attest_pipeline.errors import Misconfigured
from attest_pipeline.owner.policies import MAX_BYTES, MAX_NESTING, Exhausted, rego_constants, vet
from attest_pipeline.ports import PolicyFailed

GENERATED = Path(__file__).resolve().parents[2] / "policies" / "ear" / "ear.rego"
BAD = {"hardware": {"value": 97, "reason": "unknown"}}
GOOD = {"hardware": {"value": 2, "reason": "fine"}}


class CannedSandbox:
    """A policy that is what its attributes say; `vector` maps a view to an answer or an error."""

    package = "data.appraisal.tdx"
    referenced = frozenset({"vector", "reads", "input.debug", "ear.hardware.genuine"})
    reads: object = ["debug", "match", "match.set", "fields.vmpl", "fields.smt"]
    allow_unfresh: object = None

    def __init__(self, **changes: object) -> None:
        self.vector: object = BAD
        self.views: list[Mapping[str, object]] = []
        self.__dict__.update(changes)

    def load(self, text: str) -> str:
        assert text
        return self.package

    def names(self) -> frozenset[str]:
        return self.referenced

    def evaluate(self, rule: str, view: Mapping[str, object]) -> object:
        package, _, name = rule.rpartition(".")
        assert package == self.package
        if name == "vector":
            self.views.append(view)
        answer = getattr(self, name)
        answer = answer(view) if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        return answer


def refusal(text: str = "package appraisal.tdx", **changes: object) -> str:
    with pytest.raises(Misconfigured, match="policy refused: ") as raised:
        vet(text, CannedSandbox(**changes))
    return str(raised.value)


def test_committed_constants_are_the_generated_ones() -> None:
    assert GENERATED.read_text() == rego_constants()


def test_constants_hold_every_value_of_every_claim() -> None:
    for claim, values in CLAIM_VALUES.items():
        block = re.search(rf"^{claim.replace('-', '_')} := {{(.*?)}}", rego_constants(), re.MULTILINE | re.DOTALL)
        assert block
        assert values.items() <= {name: int(value) for name, value in re.findall(r'"(\w+)": (\d+)', block[1])}.items()


def test_vetted_policy_knows_what_it_declared() -> None:
    policy = vet("package appraisal.tdx", CannedSandbox(allow_unfresh=True))

    assert (policy.id, policy.tee, policy.allow_unfresh) == ("appraisal/tdx", "tdx", True)
    assert policy.reads == ("debug", "match", "match.set", "fields.vmpl", "fields.smt")
    assert policy.digest == hashlib.sha256(b"package appraisal.tdx").hexdigest()


def test_unfresh_evidence_is_not_allowed_unless_declared() -> None:
    assert vet("package", CannedSandbox()).allow_unfresh is False
    assert vet("package", CannedSandbox(allow_unfresh=False)).allow_unfresh is False
    assert "allow_unfresh" in refusal(allow_unfresh="yes")


def test_text_is_bounded() -> None:
    assert f"longer than {MAX_BYTES} bytes" in refusal("é" * (MAX_BYTES // 2 + 1))
    assert vet("é" * (MAX_BYTES // 2), CannedSandbox())


@pytest.mark.parametrize("brackets", ["[]", "{}", "()"])
def test_nesting_is_bounded_before_the_parser_sees_it(brackets: str) -> None:
    opened, closed = brackets[0], brackets[1]

    assert vet(opened * MAX_NESTING + closed * MAX_NESTING, CannedSandbox())
    assert "brackets are open in line 2" in refusal("\n" + opened * (MAX_NESTING + 1))


@pytest.mark.parametrize("inert", ['"]"', '"\\"]"', "`]\n]`", "#]\n"])
def test_brackets_in_text_and_comments_close_nothing(inert: str) -> None:
    assert "brackets are open" in refusal(f"[ {inert} " * (MAX_NESTING + 1))


@pytest.mark.parametrize("inert", ['"[[[["', "`{{{{\n{{{{`", "# [[[[((((\n"])
def test_brackets_in_text_and_comments_open_nothing(inert: str) -> None:
    assert vet(f"{inert} " * 10, CannedSandbox())


def test_a_text_that_is_not_closed_is_refused_at_once() -> None:
    start = time.process_time()
    assert "a text is not closed in line 2" in refusal('\n"' + '\\"' * (MAX_BYTES // 2 - 2))
    assert time.process_time() - start < 0.2


@pytest.mark.parametrize("package", ["data.ear", "data.appraisal", "data.appraisal.tdx.x", "data.appraisal.TDX", ""])
def test_package_names_its_tee(package: str) -> None:
    assert "expected appraisal.<tee>" in refusal(package=package)


@pytest.mark.parametrize(
    "name", ["http.send", "rand.intn", "rand.*", "time.now_ns", "uuid.rfc4122", "trace", "opa.runtime", "http"]
)
def test_names_that_reach_outside_or_vary_are_refused(name: str) -> None:
    assert f"it names {name}" in refusal(referenced=frozenset({"vector", name}))


@pytest.mark.parametrize("name", ["input.http", "time.parse_rfc3339_ns", "tracer", "input.trace", "random"])
def test_names_that_only_look_alike_are_allowed(name: str) -> None:
    assert vet("package", CannedSandbox(referenced=frozenset({"vector", name})))


def test_policy_without_a_vector_is_refused() -> None:
    assert "no rule `vector`" in refusal(referenced=frozenset({"reads", "vectors"}))


@pytest.mark.parametrize("reads", [None, "debug", [1], {"debug": True}, [["debug"]]])
def test_reads_are_a_list_of_paths(reads: object) -> None:
    assert "declare what it sees" in refusal(reads=reads)


def test_reads_name_paths_that_exist() -> None:
    assert "'claims', which is no path" in refusal(reads=["debug", "claims"])


def test_policy_is_probed_without_input_and_with_every_wrong_type() -> None:
    sandbox = CannedSandbox()

    vet("package", sandbox)

    wrong: list[object] = [None, "zzz", [], {}]
    assert sandbox.views == [
        {},
        *({"debug": value, "match": value, "fields": {"vmpl": value, "smt": value}} for value in wrong),
        {"match": True, "fields": {"vmpl": True, "smt": True}},
    ]


@pytest.mark.parametrize("wrong", [None, "zzz", [], {}, True])
def test_policy_that_affirms_a_wrong_type_is_refused(wrong: object) -> None:
    def vector(view: Mapping[str, object]) -> object:
        return GOOD if view.get("fields") == {"vmpl": wrong, "smt": wrong} else BAD

    assert "affirming for the input" in refusal(vector=vector)


def test_policy_that_affirms_anything_is_refused() -> None:
    assert "affirming for the input {}" in refusal(vector=GOOD)


def test_policy_may_be_undefined_or_object_to_wrong_input() -> None:
    assert vet("package", CannedSandbox(vector=None))
    assert vet("package", CannedSandbox(vector=PolicyFailed("expects numeric argument")))


def test_policy_whose_vector_is_malformed_is_refused() -> None:
    assert "`vector` is malformed" in refusal(vector={"hardware": 97})


def test_policy_that_exhausts_its_limits_is_not_judged() -> None:
    with pytest.raises(Exhausted):
        vet("package", CannedSandbox(vector=Exhausted("no answer")))
