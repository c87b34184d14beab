"""What is remembered of an Azure VM is never taken for anything else, however its JSON is written."""

import json
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

import pytest
from azure_lab import CHALLENGE, HARDWARE, NOW, Lab, b64, rebuilt, runtime_of
from fuzz.memory import memories
from tpm_lab import flipped

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.simulator.device import Fault
from attest_pipeline.verifiers._azure import document, hcl
from attest_pipeline.verifiers._intel.abi import parse_quote
from attest_pipeline.verifiers.az_tdx_vtpm import abi

TEES = ("az-snp-vtpm", "az-tdx-vtpm")
OTHER = CHALLENGE[::-1]
USER_DATA = (
    CHALLENGE.hex().ljust(128, "0"),
    CHALLENGE.hex().upper().ljust(128, "0"),
    OTHER.hex().upper().ljust(128, "0"),
    "z".ljust(128, "0"),
    " ".ljust(128, "0"),
    '"'.ljust(127, "0"),
    "é".ljust(127, "0"),
    "",
    None,
)
"""Most of as many bytes as that of the first VM."""


class Case(NamedTuple):
    """One proof, of all that the VM was asked for unless said otherwise."""

    evidence: Evidence
    challenge: bytes | None = CHALLENGE
    days: int = 0


@cache
def lab(tee: str) -> Lab:
    return Lab(tee)


def outcome(site: Lab, case: Case, documents: Endorsements) -> Claims | tuple[Reason, str]:
    """Claims, or how the Evidence was refused."""
    try:
        now = NOW + timedelta(days=case.days)
        return site.verifier.verify(case.evidence, documents, challenge=case.challenge, now=now)
    except BadEvidence as error:
        return error.reason, error.detail


def written(site: Lab, change: Callable[[str], str], *path: str) -> Evidence:
    """Evidence one of whose texts is written otherwise."""
    whole = site.document()
    member: Any = whole
    for name in path[:-1]:
        member = member[name]
    member[path[-1]] = change(member[path[-1]])
    return site.evidence(whole)


def about(site: Lab, user_data: object) -> Evidence:
    """Evidence whose hardware vouches for that user-data."""
    runtime = json.dumps(runtime_of(site) | {"user-data": user_data}, ensure_ascii=False).encode()
    return site.evidence(**rebuilt(site, runtime))


def cases(site: Lab) -> list[Case]:
    """Proofs each of which differs from the first in one thing."""
    parts, hardware = site.parts, HARDWARE[site.tee]
    again, other = site.vendor.evidence(1, CHALLENGE), site.split(site.vendor.evidence(2, CHALLENGE))
    place = 636 * 4 // 3  # where the signature begins in the text of a TD quote
    return [
        Case(site.evidence()),
        Case(again),
        Case(site.evidence(), challenge=None),
        Case(site.evidence(), challenge=OTHER),
        Case(site.vendor.evidence(1, OTHER), challenge=OTHER),
        Case(site.vendor.evidence(2, CHALLENGE)),
        Case(site.vendor.evidence(1, CHALLENGE, Fault.UNKNOWN_MEASUREMENT)),
        Case(site.vendor.evidence(1, CHALLENGE, Fault.DEBUG)),
        Case(site.evidence(), days=400),
        Case(site.evidence(), days=-400),
        *(Case(site.evidence(**{name: getattr(other, name)})) for name in ("message", "signature", "hcl_report")),
        Case(site.evidence(hardware=other.hardware)),
        Case(site.evidence(pcrs=[flipped(value, 0) for value in parts.pcrs])),
        *(Case(written(site, str.upper, "tpm_quote", name)) for name in ("message", "signature")),
        *(
            Case(written(site, lambda text, at=at, what=what: text[:at] + what + text[at + len(what) :], "hcl_report"))  # type: ignore[misc]
            for at in (0, 1000, len(b64(parts.hcl_report)) - 1)
            for what in ("=", "+", "/", "A", "B", "-", " ", "é", '"')
        ),
        *(Case(about(site, user_data)) for user_data in USER_DATA),
        *(Case(about(site, user_data), challenge=None) for user_data in USER_DATA),
        *(Case(written(site, lambda text: " " + text[1:], "tpm_quote", name)) for name in ("message", "signature")),
        *(Case(written(site, lambda text: "g" + text[1:], "tpm_quote", name)) for name in ("message", "signature")),
        *(Case(written(site, lambda text: text[:-1] + "é", "tpm_quote", name)) for name in ("message", "signature")),
        *(
            Case(written(site, lambda text, at=at, what=what: text[:at] + what + text[at + len(what) :], hardware))  # type: ignore[misc]
            for at in (place, place + 40, place + 86, place + 87)
            for what in ("=", "==", "+", "/", "A", "-", " ", "é", '"')
        ),
    ]


@pytest.mark.parametrize("tee", TEES)
def test_whatever_a_proof_depends_on_is_looked_at_when_all_else_is_known(tee: str) -> None:
    site, cold = lab(tee), list[Claims | tuple[Reason, str]]()
    every, documents, forgetting = cases(site), site.documents(site.evidence()), memories()
    for case in every:
        for forget in forgetting:
            forget()
        cold.append(outcome(site, case, documents))
    outcome(site, every[0], documents)
    assert [outcome(site, case, documents) for case in every] == cold
    assert [outcome(site, case, documents) for case in reversed(every)] == cold[::-1]


@pytest.mark.parametrize("tee", TEES)
def test_run_time_data_is_read_as_if_it_were_the_first_whatever_byte_is_another(tee: str) -> None:
    start, data = hcl.RUNTIME + 20, lab(tee).parts.hcl_report.rstrip(b"\0")
    for at in range(start, len(data)):
        for byte in b'F f\\"z\xc3\0':
            changed = data[start:at] + bytes([byte]) + data[at + 1 :]
            assert said(hcl.read_runtime, changed) == said(hcl._read_runtime, changed)


def said(read: Callable[[bytes], hcl.RuntimeData], data: bytes) -> tuple[object, ...]:
    """What that reader makes of run-time data."""
    try:
        vm, *user_data = read(data)
    except BadEvidence as error:
        return error.reason, error.detail
    return vm.ak.spki, vm.fields, *user_data


def test_base64url_is_what_an_encoder_writes() -> None:
    whole = bytes(range(248, 256)) + bytes(range(5))
    for size in range(len(whole)):
        text = b64(whole[:size])
        padded = text + "=" * (-len(text) % 4)
        assert document.decode_base64url(text) == document.decode_base64url(padded) == whole[:size]
        altered = {f"{text[:at]}{letter}{text[at + 1 :]}" for at in range(len(text)) for letter in "AB_-+/= \n.é"}
        for forged in {*altered, padded + "=", text + "A", "=" + text} - {text, padded}:
            try:
                found = document.decode_base64url(forged)
            except BadEvidence:
                continue
            assert b64(found) == forged.rstrip("=")
            assert len(forged) in (len(b64(found)), -(-len(found) // 3) * 4)


def read(tee: str, data: bytes, *, anew: bool = False) -> dict[str, object]:
    """The document, read by whoever remembers or as if it were the first; PCRs are compared by their values."""
    if tee == "az-snp-vtpm":
        found = (document._read_snp if anew else document.read_snp)(data)
    else:
        found = (abi._read_td if anew else abi.read_td)(data).document
    return {**found._asdict(), "pcrs": found.pcrs.claims}


@pytest.mark.parametrize("tee", TEES)
@pytest.mark.parametrize("write", [str.upper, lambda text: "\\u0066" + text[1:]], ids=["capitals", "an escape"])
def test_a_text_that_stands_elsewhere_too_is_not_taken_for_the_one_that_changes(
    tee: str, write: Callable[[str], str]
) -> None:
    """The message is written otherwise, and as it would be otherwise where the HCL report should be."""
    site = lab(tee)
    text = site.parts.message.hex()
    decoy, changed = text + "AA", text.replace("ff", "00", 1) + "AA"
    assert text.startswith("ff")
    whole = site.document() | {"hcl_report": "HCL"}
    data = json.dumps(whole).replace(text, write(text))
    for hcl_report in (decoy, changed):
        forged = data.replace('"HCL"', f'"{hcl_report}"').encode()
        assert read(tee, forged) == read(tee, forged, anew=True)


@pytest.mark.parametrize(("version", "at"), [(4, 636), (5, 642)])
def test_every_signature_of_a_td_quote_is_read_as_it_stands(version: int, at: int) -> None:
    site = lab("az-tdx-vtpm")
    quote = site.parts.hardware
    if version == 5:
        quote = b"\5" + quote[1:48] + b"\2\0\x48\2\0\0" + quote[48:]
    for signature in (bytes(range(64)), bytes(range(1, 65)), b"\xff" * 64):
        changed = quote[:at] + signature + quote[at + 64 :]
        found = abi.read_td(site.evidence(hardware=changed).items["evidence"])
        assert found.quote == parse_quote(changed)
        assert found.quote.signature == signature
