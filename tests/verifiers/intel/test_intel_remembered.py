"""What is remembered of a quote is never taken for anything else: whatever a proof depends on is looked at."""

import hashlib
import json
import struct
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

import pytest
from fuzz.memory import memories
from intel_lab import (
    CHALLENGE,
    KEY,
    MODULE_1,
    NOW,
    VERSIONS,
    collateral,
    enclave_body,
    pki,
    platform,
    quote,
    td_body,
    verifier,
)

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.simulator.intel_pki import CURRENT_SVN, Platform, svn_levels, tcb_level
from attest_pipeline.simulator.intel_quote import certify
from attest_pipeline.verifiers._intel.abi import parse_quote
from attest_pipeline.verifiers.sgx import SgxVerifier
from attest_pipeline.verifiers.tdx import TdxVerifier

NONCE = CHALLENGE[::-1]
Outcome = Claims | tuple[Reason, str]


class Case(NamedTuple):
    """One proof: a good one, but for the parts given."""

    data: bytes
    document: bytes
    challenge: bytes | None = CHALLENGE
    days: int = 0
    log: bytes | None = None
    options: Mapping[str, Any] = {}


def outcome(tee: str, case: Case) -> Outcome:
    """Claims, or how the Evidence was refused."""
    judge = TdxVerifier({}) if case.options.get("untrusted") else verifier(tee, **case.options)
    assert isinstance(judge, TdxVerifier | SgxVerifier)
    items = {"quote": case.data} if case.log is None else {"quote": case.data, "event_log": case.log}
    evidence, endorsements = Evidence(tee, items), Endorsements({"collateral": (case.document,)})
    try:
        judge.endorsements_for(evidence)
        return judge.verify(evidence, endorsements, challenge=case.challenge, now=NOW + timedelta(days=case.days))
    except BadEvidence as error:
        return error.reason, error.detail


def document(tee: str, *arguments: Any) -> bytes:
    return json.dumps(collateral(tee, *arguments)).encode()


def revoking(tee: str) -> bytes:
    """Collateral that revokes the PCK of the platform."""
    return json.dumps(
        pki().collateral(pki().tcb_info(tee), pki().qe_identity(tee), (platform().pck.certificate,))
    ).encode()


@cache
def certification(tee: str, machine: Platform, version: int) -> bytes:
    """The same for all quotes of a machine."""
    return certify(tee, version, machine, KEY)


def made(tee: str, body: bytes, *, version: int = 0, machine: Platform | None = None) -> bytes:
    """Quote over the body, of a machine that makes them time and again."""
    version = version or VERSIONS[tee]
    return quote(tee, body, version=version, certification=certification(tee, machine or platform(), version))


def log_of(register: int) -> bytes:
    """A CCEL with one event in that register."""
    spec = b"Spec ID Event03\0" + struct.pack("<IBBBBIHHB", 0, 0, 2, 0, 2, 1, 0x000C, 48, 0)
    header = struct.pack("<II20xI", 0, 3, len(spec)) + spec
    return header + struct.pack("<IIIH48sI", register, 8, 1, 0x000C, hashlib.sha384(b"event").digest(), 5) + b"event"


def logged(register: int) -> bytes:
    """TD report whose RTMR holds what that log says."""
    body = bytearray(td_body())
    value = hashlib.sha384(bytes(48) + hashlib.sha384(b"event").digest()).digest()
    at = 328 + 48 * (register - 1)
    body[at : at + 48] = value
    return bytes(body)


def cases(tee: str) -> list[Case]:
    """Proofs each of which differs from the first in one thing."""
    body = td_body() if tee == "tdx" else enclave_body()
    good, genuine = made(tee, body), document(tee)
    older, twin = pki().platform(bytes(16), svn=CURRENT_SVN - 1), pki().platform(bytes(range(1, 17)))
    debug = td_body(attributes=b"\1" + bytes(7)) if tee == "tdx" else enclave_body(debug=True)
    levels = [tcb_level(tee, 0, "Revoked", advisories=("INTEL-SA-1",))]
    return [
        Case(good, genuine),
        Case(made(tee, body), genuine),
        Case(quote(tee, body), genuine),
        Case(good, genuine, challenge=None),
        Case(good, genuine, challenge=NONCE),
        Case(made(tee, body.replace(CHALLENGE, NONCE)), genuine, challenge=NONCE),
        Case(made(tee, body.replace(CHALLENGE, bytes(64))), genuine, challenge=bytes(64)),
        Case(good + bytes(8), genuine),
        Case(made(tee, debug), genuine),
        Case(made(tee, body, machine=older), genuine),
        Case(made(tee, body, machine=twin), genuine),
        Case(good, document(tee, {"tcbLevels": levels})),
        Case(good, document(tee, None, {"tcbLevels": svn_levels("Revoked")})),
        Case(good, document(tee, {"tcbEvaluationDataNumber": 99})),
        Case(good, document(tee, {"fmspc": "00" * 6})),
        Case(good, document(tee, None, {"isvprodid": 77})),
        Case(good, document("sgx" if tee == "tdx" else "tdx")),
        Case(good, revoking(tee)),
        Case(made(tee, body, machine=twin), revoking(tee)),
        Case(good, genuine, options={"minimum_evaluation": 10_000}),
        Case(good, genuine, options={"untrusted": True}),
        Case(good, genuine, days=400),
        Case(good, genuine, days=-400),
    ]


def cases_of_td(genuine: bytes) -> list[Case]:
    """Proofs that differ in what a TD alone has."""
    later, earlier = logged(1), logged(2)
    return [
        Case(made("tdx", later), genuine),
        Case(made("tdx", later), genuine, log=log_of(1)),
        Case(made("tdx", later), genuine, log=log_of(2)),
        Case(made("tdx", earlier), genuine, log=log_of(2)),
        Case(made("tdx", td_body(), version=5), genuine),
        Case(made("tdx", td_body(extra=MODULE_1 + bytes(48)), version=5), genuine),
        Case(made("tdx", td_body(extra=MODULE_1 + b"\1" * 48), version=5), genuine),
    ]


@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_whatever_a_proof_depends_on_is_looked_at_when_all_else_is_known(tee: str) -> None:
    every = [*cases(tee), *(cases_of_td(document(tee)) if tee == "tdx" else ())]
    cold: list[Outcome] = []
    forgetting = memories()
    for case in every:
        for forget in forgetting:
            forget()
        cold.append(outcome(tee, case))
    assert [outcome(tee, case) for case in every] == cold
    assert [outcome(tee, case) for case in reversed(every)] == cold[::-1]
    alike = 3  # two with other signatures over the same, and one with zeros behind it
    assert len({str(one) for one in cold}) == len(every) - alike


@pytest.mark.parametrize("report_data", [bytes(64), b"\x11" * 64], ids=["zeros", "the byte before it"])
def test_report_data_that_seems_to_stand_elsewhere_too_is_read_where_it_is(report_data: bytes) -> None:
    body = td_body()
    before = body[:472] + b"\x11" * 48 + report_data  # RTMR3 and report_data, the last of a TD report
    behind = body[:472] + NONCE + report_data[16:]
    for body in (before, behind):
        assert parse_quote(made("tdx", body)).report_data == body[520:]
