"""`attest schemas`: JSON Schema and AsyncAPI, written from the Structs that encode and decode."""

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
import typer

from attest_pipeline import webhook
from attest_pipeline.attester.client import Nonce
from attest_pipeline.cli.asyncapi import asyncapi
from attest_pipeline.cli.output import Output, OutputOption, emit
from attest_pipeline.cli.stack import ROOT
from attest_pipeline.cli.yaml_text import yaml_text
from attest_pipeline.errors import Misconfigured
from attest_pipeline.freshness import Tick
from attest_pipeline.model import EvidenceCollection, ReferenceValueSet
from attest_pipeline.owner.tenant import TenantSettings
from attest_pipeline.result import AttestationResult
from attest_pipeline.webhook import ResultEvent, Secret
from attest_pipeline.wire import BatchEntry, EvidenceBatch

DIRECTORY: Final = ROOT / "schemas" / "v1"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TEMPLATE: Final = "#/$defs/{name}"
_ECMA: Final = {r"\A": "^", r"\Z": "$"}
"""Anchors of Python's regular expressions → those of JSON Schema."""


ROOTS: Final[Mapping[str, tuple[str, Any]]] = {
    "evidence-collection": ("Evidence as an agent sends it", EvidenceCollection),
    "evidence-batch": (
        "Evidence of many agents as a gateway sends it (MessagePack: bytes instead of base64)",
        EvidenceBatch,
    ),
    "challenge": ("Answer to a request for a challenge", Nonce),
    "epoch-ticks": ("Payload of an epoch marker, a compact JWS of type att-epoch+jwt", tuple[Tick, ...]),
    "attestation-result": ("Payload of an Attestation Result, a compact JWS of type eat+jwt", AttestationResult),
    "webhook-event": ("Body of a webhook", ResultEvent),
    "webhook-endpoints": ("File of webhook endpoints", webhook._Configuration),  # noqa: SLF001 - that module reads the file
    "tenant": ("tenant.json", TenantSettings),
    "reference-value-set": ("A baseline", ReferenceValueSet),
}
"""File name → title and type."""


def schemas(
    write: Annotated[bool, typer.Option("--write", help="Write schemas/ instead of comparing it.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Fail if schemas/ is not what the Structs say.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write schemas/, or fail (as it does unless told otherwise) if it is not what the Structs say."""
    if write and check:
        raise Misconfigured("say either --write or --check")
    if write:
        _write()
    elif found := drifted():
        raise Misconfigured(f"schemas/ is not what the Structs say ({', '.join(found)}): run `attest schemas --write`")
    if output is Output.JSON:
        emit({"written": write, "files": [str(DIRECTORY / name) for name in documents()]})


def drifted() -> list[str]:
    """Files of schemas/v1 that are missing, different, or too many."""
    wanted = documents()
    present = {path.name: path.read_text() for path in DIRECTORY.glob("*")}
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def documents() -> dict[str, str]:
    """File name → text of everything in schemas/v1."""
    made = {f"{name}.schema.json": _pretty(_schema(name, title, kind)) for name, (title, kind) in ROOTS.items()}
    return made | {"asyncapi.yaml": yaml_text(asyncapi())}


def _write() -> None:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name, text in documents().items():
        (DIRECTORY / name).write_text(text)


def _schema(name: str, title: str, kind: Any) -> dict[str, Any]:
    (root, *entry), components = msgspec.json.schema_components(
        (kind, BatchEntry) if kind is EvidenceBatch else (kind,), schema_hook=_secret, ref_template=_TEMPLATE
    )
    if entry:  # entries are decoded one by one, so their type does not say what they are
        components["EvidenceBatch"]["properties"]["entries"]["items"] = entry[0]
    root = components.pop(kind.__name__) if "$ref" in root else root
    head = {"$schema": _DIALECT, "$id": f"{name}.schema.json"}
    document: dict[str, Any] = _tidy({**head, **root, "title": title, "$defs": components})
    return document


def _secret(kind: type) -> dict[str, object]:
    if kind is not Secret:
        raise NotImplementedError(kind)
    longest = len("whsec_") + (webhook.MAX_SECRET + 2) // 3 * 4
    return {"type": "string", "pattern": "^whsec_[A-Za-z0-9+/]+=*$", "maxLength": longest}


def _tidy(node: Any) -> Any:
    """Descriptions without the indentation of docstrings, patterns as JSON Schema reads them, no empty $defs."""
    if isinstance(node, list | tuple):
        return [_tidy(one) for one in node]
    if not isinstance(node, dict):
        return node
    tidy = {name: _tidy(one) for name, one in node.items() if (name, one) != ("$defs", {})}
    if isinstance(tidy.get("description"), str):
        tidy["description"] = inspect.cleandoc(tidy["description"])
    if isinstance(tidy.get("pattern"), str):
        for ours, theirs in _ECMA.items():
            tidy["pattern"] = tidy["pattern"].replace(ours, theirs)
    return tidy


def _pretty(document: object) -> str:
    encoded = msgspec.json.encode(document)
    return msgspec.json.format(encoded, indent=2).decode() + "\n"
