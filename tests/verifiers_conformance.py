"""Plays the black-box conformance cases of one TEE against a verifier class, without a process in between."""

import base64
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Endorsements, Evidence
from attest_pipeline.ports import Verifier

Request = dict[str, Any]


def run_cases(conformance: Path, tee: str, verifier_factory: Callable[[], Verifier]) -> list[str]:
    """One line for every case of the TEE that fails, empty if all pass.

    `conformance` is the directory that holds `cases.jsonl` and `run`; the vectors are expected beside it. Any
    exception but BadEvidence escapes, so a crash fails the test with its own traceback.
    """
    runner = load_runner(conformance)
    verifier = verifier_factory()
    failures = []
    for case in cases(conformance, tee):
        request = runner.request(case, str(conformance.parent / "vectors"))
        faults = runner.faults(case["expect"], answer(verifier, request))
        failures += [f"{case['id']} ({case.get('why', '')}): {fault}" for fault in faults]
    return failures


def cases(conformance: Path, tee: str) -> Iterator[dict[str, Any]]:
    """The cases of one TEE. Raises AssertionError if there is none, because then nothing would be tested."""
    found = [json.loads(line) for line in (conformance / "cases.jsonl").read_text().splitlines() if line.strip()]
    chosen = [case for case in found if case["tee"] == tee]
    assert chosen, f"no conformance case of {tee}"
    return iter(chosen)


def load_runner(conformance: Path) -> ModuleType:
    """The conformance runner, a script without suffix, as a module."""
    loader = SourceFileLoader("conformance_runner", str(conformance / "run"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def inputs(request: Request) -> tuple[Evidence, Endorsements, bytes | None, datetime]:
    """What `Verifier.verify` takes, out of a request line."""
    evidence = {name: base64.b64decode(text) for name, text in request["evidence"].items()}
    endorsements = {
        name: tuple(base64.b64decode(text) for text in ([value] if isinstance(value, str) else value))
        for name, value in request["endorsements"].items()
    }
    challenge = None if request["challenge"] is None else bytes.fromhex(request["challenge"])
    return (
        Evidence(request["tee"], evidence),
        Endorsements(endorsements),
        challenge,
        datetime.fromisoformat(request["at"]),
    )


def answer(verifier: Verifier, request: Request) -> dict[str, Any]:
    """The response that the product gives for the verifier's answer."""
    evidence, endorsements, challenge, now = inputs(request)
    try:
        claims = verifier.verify(evidence, endorsements, challenge=challenge, now=now)
    except BadEvidence as error:
        outcome = "unsupported" if error.reason is Reason.UNSUPPORTED_FORMAT else "rejected"
        return {"outcome": outcome, "reason": str(error.reason)}
    named = {**claims.measurements, **claims.fields, "challenge_verified": claims.challenge_verified}
    return {"outcome": "verified", "tcb_status": claims.tcb_status, "debug": claims.debug, "claims": named}
