"""The committed schemas say what the Structs say, and real messages fit them."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import token_lab as lab
import yaml
from jsonschema import Draft202012Validator, ValidationError

from attest_pipeline import subjects, wire
from attest_pipeline.attester.client import Nonce
from attest_pipeline.cli.asyncapi import asyncapi
from attest_pipeline.cli.schemas import DIRECTORY, _secret, documents, drifted, schemas
from attest_pipeline.ear import Status
from attest_pipeline.errors import Misconfigured
from attest_pipeline.freshness import Tick
from attest_pipeline.model import (
    EpochChallenge,
    Evidence,
    EvidenceCollection,
    NonceChallenge,
    ReferenceValueSet,
    Rejection,
    SuppliedChallenge,
)
from attest_pipeline.owner.tenant import TenantSettings
from attest_pipeline.webhook import ResultData, ResultEvent
from attest_pipeline.wire import BatchEntry

COLLECTION = EvidenceCollection(
    evidence=(Evidence("tdx", {"quote": b"\xfb\xff"}), Evidence("snp", {"report": b""})),
    challenge=EpochChallenge(7, "job"),
    attester_key=b"key",
    as_of=lab.NOW,
    endorsements={"ca": (b"1", b"2")},
)
EVENT = ResultEvent(
    type="attestation.result.v1",
    timestamp="2026-11-18T10:26:40Z",
    data=ResultData(tenant="acme", agent="a1", attestation_id="07", status=Status.NONE, token="e.e.e"),
)
ENDPOINT = {
    "id": "siem", "url": "https://siem.example.com/hook", "tenant": "acme",
    "secrets": ["whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3A="], "statuses": ["none"],
}  # fmt: skip


def document(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DIRECTORY / f"{name}.schema.json").read_text())
    return found


def validate(name: str, message: object) -> None:
    encoded = message if isinstance(message, bytes) else msgspec.json.encode(message)
    Draft202012Validator(document(name)).validate(json.loads(encoded))


def test_the_committed_schemas_are_what_the_structs_say() -> None:
    assert drifted() == [], "run `attest schemas --write`"


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("*.schema.json")), ids=lambda path: path.name)
def test_every_schema_is_one_and_names_itself(path: Path) -> None:
    schema = json.loads(path.read_text())
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == path.name
    assert not re.search(r'\\\\[AZ]|"_', path.read_text()), "a Python regular expression or a private name"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("evidence-collection", COLLECTION),
        ("evidence-collection", EvidenceCollection(evidence=(Evidence("tdx", {}),))),
        ("evidence-collection", msgspec.structs.replace(COLLECTION, challenge=NonceChallenge(b"n"))),
        ("evidence-collection", msgspec.structs.replace(COLLECTION, challenge=SuppliedChallenge(b"s"))),
        ("evidence-batch", {"entries": [BatchEntry("a1", COLLECTION)]}),
        ("challenge", Nonce(b"n" * 56, lab.NOW)),
        ("epoch-ticks", (Tick("acme", 7, bytes(32), 1, 2),)),
        ("attestation-result", json.dumps(lab.payload(lab.token())).encode()),
        ("attestation-result", json.dumps(lab.payload(lab.token(lab.MISMATCHED))).encode()),
        ("attestation-result", json.dumps(lab.payload(lab.token(Rejection("snp", "revoked", "no")))).encode()),
        ("attestation-result", json.dumps(lab.payload(lab.token(of=lab.context(nonce=lab.NONCE)))).encode()),
        ("webhook-event", EVENT),
        ("webhook-endpoints", {"endpoints": [ENDPOINT]}),
        ("tenant", TenantSettings(issuer="i", audience="a", tees=("tdx",))),
        ("reference-value-set", ReferenceValueSet(name="n", version="1", tee="tdx", values={"f": ("a", 1, True)})),
    ],
)  # fmt: skip
def test_what_the_library_encodes_fits_its_schema(name: str, message: object) -> None:
    validate(name, message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("evidence-collection", {"evidence": [], "more": 1}),
        ("evidence-collection", {"challenge": None}),
        ("evidence-collection", {"evidence": [{"tee": 1, "items": {}}]}),
        ("evidence-collection", {"evidence": [], "challenge": {"type": "other"}}),
        ("evidence-batch", {"entries": [{"agent": "a1"}]}),
        ("attestation-result", {"iss": "i"}),
        ("webhook-endpoints", {"endpoints": [ENDPOINT | {"secrets": ["short"]}]}),
        ("webhook-endpoints", {"endpoints": [ENDPOINT | {"id": "a b"}]}),
        ("tenant", {"issuer": "i", "audience": "a", "tees": [], "environment": "test"}),
        ("reference-value-set", {"name": "n", "version": "1", "tee": "tdx", "values": {"f": "a"}}),
    ],
)  # fmt: skip
def test_what_the_library_refuses_does_not_fit(name: str, message: object) -> None:
    with pytest.raises(ValidationError):
        validate(name, message)


def test_json_that_fits_is_what_the_wire_reads() -> None:
    encoded = msgspec.json.encode(COLLECTION)
    validate("evidence-collection", encoded)
    assert wire.decode_collection(encoded, wire.JSON) == COLLECTION


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for schemas that may be spoiled."""
    monkeypatch.setattr("attest_pipeline.cli.schemas.DIRECTORY", tmp_path / "v1")
    schemas(write=True)
    return tmp_path / "v1"


def test_what_was_written_passes_the_check(elsewhere: Path) -> None:
    schemas(check=True)
    assert {path.name: path.read_text() for path in elsewhere.iterdir()} == documents()


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("spoil", ["change", "remove", "add"])
def test_drift_fails_with_the_command_that_mends_it(elsewhere: Path, spoil: str, check: bool) -> None:  # noqa: FBT001 - a table
    path = elsewhere / ("more.schema.json" if spoil == "add" else "tenant.schema.json")
    if spoil == "remove":
        path.unlink()
    else:
        path.write_text("{}")
    with pytest.raises(Misconfigured, match=rf"{path.name}.*attest schemas --write"):
        schemas(check=check)


def test_the_command_does_not_write_and_check_at_once() -> None:
    with pytest.raises(Misconfigured, match="either"):
        schemas(write=True, check=True)


def test_a_type_that_has_no_schema_is_not_passed_over() -> None:
    with pytest.raises(NotImplementedError):
        _secret(complex)


# ── AsyncAPI ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_asyncapi_document_is_yaml() -> None:
    assert yaml.safe_load(documents()["asyncapi.yaml"]) == asyncapi()


def references(node: object) -> list[str]:
    if isinstance(node, dict):
        return [str(one) for name, one in node.items() if name == "$ref"] + references(list(node.values()))
    return [found for one in node for found in references(one)] if isinstance(node, list) else []


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    found = asyncapi()
    for reference in references(found):
        if reference.startswith("./"):
            assert (DIRECTORY / reference).is_file(), reference
            continue
        node: Any = found
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_the_asyncapi_document_has_every_subject_of_a_tenant_but_the_inbox() -> None:
    addresses = {
        re.sub(r"{\w+}", "*", channel["address"]) for channel in asyncapi()["channels"].values() if channel["address"]
    }
    assert addresses == {imported.to for imported in subjects.imports("acme")} - {">"}


def test_parameters_are_those_of_the_address() -> None:
    for channel in asyncapi()["channels"].values():
        assert set(re.findall(r"{(\w+)}", channel["address"] or "")) == set(channel.get("parameters", {}))


def test_the_durable_lane_answers_where_its_header_says() -> None:
    operations = asyncapi()["operations"]
    assert operations["evidence"]["reply"]["address"] == {"location": f"$message.header#/{wire.REPLY_HEADER}"}
    assert operations["verify"]["reply"]["x-nats-reply"] is True
