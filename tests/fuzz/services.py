"""Targets: what comes over the broker, from a vendor's server, out of an operator's files, or from a token's bearer."""

import json
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
import token_lab
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from attest_pipeline import freshness, result, subjects, webhook, wire
from attest_pipeline.adapters import collateral_sources, config_dir
from attest_pipeline.adapters.pem import read_public_key, write_public_key
from attest_pipeline.collateral import exchange, imports
from attest_pipeline.collateral.book import Book
from attest_pipeline.collateral.recipes import BadCollateral, NotThere, Response
from attest_pipeline.errors import Misconfigured, Unavailable
from attest_pipeline.freshness import Tick
from attest_pipeline.jws import BadToken
from attest_pipeline.model import (
    EndorsementKind,
    EndorsementRef,
    EpochChallenge,
    Evidence,
    EvidenceCollection,
    NonceChallenge,
    Policy,
    ReferenceValueSet,
    SuppliedChallenge,
    TrustAnchor,
    Verified,
)
from attest_pipeline.owner.policies import vet
from attest_pipeline.owner.tenant import TenantSettings
from attest_pipeline.ports import Message, PolicyFailed
from attest_pipeline.verifiers._nvidia.device import prove_device
from attest_pipeline.verifiers._nvidia.status import references
from attest_pipeline.verifiers._shared.x509 import load_certificate
from fuzz import resign
from fuzz.case import Case, Target
from fuzz.parsers import reader
from fuzz.verifiers import NOW, evidence_case, vendor

_TENANT, _AGENT, _KEY = "acme", "node-1", bytes(32)
_NOW: Final = int(NOW.timestamp())
_TICK: Final = Tick(_TENANT, 7, bytes(32), _NOW - 60, _NOW + 60)


# ── the broker ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _collections() -> list[EvidenceCollection]:
    nonce = freshness.issue_nonce(_KEY, _TENANT, _AGENT, expires=_NOW + 60, salt=bytes(16))
    evidence = (Evidence("tdx", {"quote": b"\1" * 64, "event_log": b""}), Evidence("snp", {"report": b"\2" * 64}))
    challenges = (None, NonceChallenge(nonce), EpochChallenge(7, "job"), SuppliedChallenge(bytes(32)))
    return [
        EvidenceCollection(
            evidence=evidence, challenge=challenge, attester_key=b"k", as_of=_NOW, endorsements={"a": (b"b",)}
        )
        for challenge in challenges
    ]


def _receive(collection: EvidenceCollection) -> None:
    """What parse does with every submission before it asks a verifier."""
    wire.attestation_id(_TENANT, _AGENT, collection)
    freshness.expect(
        collection, _TENANT, _AGENT, received_at=_NOW, nonce_key=_KEY, ticks={7: _TICK}, sizes={"tdx": 64, "snp": 64}
    )
    wire.encode(collection)


def _receive_msgpack(data: bytes) -> None:
    _receive(wire.decode_collection(data))


def _receive_json(data: bytes) -> None:
    _receive(wire.decode_collection(data, wire.JSON))


def _receive_batch(data: bytes) -> None:
    for entry in wire.decode_batch(data):
        _receive(wire.decode_entry(entry).collection)


def _batches() -> list[bytes]:
    entries = [msgspec.Raw(wire.encode(wire.BatchEntry(_AGENT, collection))) for collection in _collections()]
    return [wire.encode(wire.EvidenceBatch((entry,))) for entry in entries] + [
        wire.encode(wire.EvidenceBatch(tuple(entries)))
    ]


def _frames() -> list[bytes]:
    item = wire.Item(token_lab.context(), (Verified(token_lab.CLAIMS), token_lab.appraised()), "reply", "ack")
    return [wire.encode(wire.Frame(_TENANT, "v", (item,)))]


def _read_subject(data: bytes) -> None:
    subject = data.decode("utf-8", "surrogateescape")
    subjects.matches("ingest.*.evidence.>", subject)
    subjects.origin(subject)


def _read_reply(data: bytes) -> None:
    subjects.reply(_TENANT, _AGENT, data.decode("utf-8", "surrogateescape"))


def _asks() -> list[bytes]:
    return [exchange.encode_ask(exchange.Ask((EndorsementRef("crl", EndorsementKind.AMD_CRL, "milan"),), 1.0))]


def _replies() -> list[bytes]:
    held = exchange.Held(documents=(b"d",), valid_from=0, valid_until=1, stale_at=1)
    return [exchange.encode_reply({"amd-crl/milan": held, "a": exchange.Absent(1.0), "b": exchange.Later(1.0)}, 100)]


_BROKER: Final = (
    reader("Evidence in MessagePack", _receive_msgpack, lambda: [*map(wire.encode, _collections())]),
    reader("Evidence in JSON", _receive_json, lambda: [*map(msgspec.json.encode, _collections())]),
    reader("Evidence batch", _receive_batch, _batches),
    reader("frame", wire.decode_frame, _frames, msgspec.MsgspecError, UnicodeDecodeError, RecursionError),
    reader("subject", _read_subject, lambda: [b"ingest.acme.evidence.node-1", b"verify.acme.node-1"]),
    reader("reply subject", _read_reply, lambda: [b"_INBOX_node-1.abc.def"]),
    reader("collateral request", exchange.decode_ask, _asks),
    reader("collateral answer", exchange.decode_reply, _replies, Unavailable),
)  # fmt: skip


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _check_marker(data: bytes) -> None:
    freshness.decode_marker(data, token_lab.KEYS, _TENANT)


def _check_result(data: bytes) -> None:
    result.check(data, token_lab.KEYS, audience=token_lab.AUDIENCE, issuer=token_lab.ISSUER, now=token_lab.NOW)


def _deliver(data: bytes) -> None:
    secret = webhook.Secret("whsec_" + b64encode(bytes(24)).decode())
    endpoint = webhook.Endpoint(id="a", url="https://example.org", tenant=_TENANT, secrets=(secret,))
    webhook.delivery_of(Message(subject=f"result.{_TENANT}.{_AGENT}", data=data, reply="", received_at=_NOW), endpoint)


def _signed(target: Target) -> Target:
    return target._replace(resign=resign.resign(resign.jws("data", token_lab.SIGNER.sign)))


_TOKENS: Final = (
    _signed(
        reader("epoch marker", _check_marker, lambda: [freshness.encode_marker([_TICK], token_lab.SIGNER)], BadToken)
    ),
    _signed(reader("Attestation Result", _check_result, lambda: [token_lab.token()], BadToken)),
    reader("stored result", _deliver, lambda: [token_lab.token()], ValueError),
)


# ── vendors' servers, and what an operator fetched from them ──────────────────────────────────────────────────────────
class Asked(Struct, frozen=True):
    """What was asked for, whom the worker trusts, and what it holds already."""

    name: str
    anchors: tuple[TrustAnchor, ...]
    held: dict[str, tuple[bytes, ...]]


def _fetch(case: Case) -> None:
    """Documents out of the answers, each proven, as the collateral worker does."""
    asked = msgspec.msgpack.decode(case.given, type=Asked)
    book = Book(asked.anchors)
    recipe, key = book.of(asked.name)
    responses = [_response(case, str(number)) for number, _ in enumerate(recipe.requests(key))]
    for name, documents in recipe.documents(key, responses).items():
        held = {need: asked.held[need] for need in book.needs(name)}
        book.record(name, documents, held, source="vendor", now=_NOW)


def _response(case: Case, number: str) -> Response:
    parts = {name.partition("/")[2]: part for name, part in case.items.items() if name.startswith(f"{number}/")}
    body = parts.pop("body", b"")
    return Response({name: part.decode("utf-8", "surrogateescape") for name, part in parts.items()}, body)


def _answers(tee: str, kind: EndorsementKind, serve: Callable[[str, bytes], Mapping[str, bytes]]) -> list[Case]:
    """A case for the first document of a kind; `serve` says how a vendor's server would answer for it."""
    maker = vendor(tee)
    maker.evidence(0, bytes(64))
    held = dict(maker.endorsements())
    name, (document,) = next((name, found) for name, found in held.items() if name.startswith(f"{kind}/"))
    return [Case(serve(name, document), msgspec.msgpack.encode(Asked(name, maker.trust_anchors(), held)))]


def _from_pcs(name: str, document: bytes) -> dict[str, bytes]:
    del name
    parts: dict[str, str] = json.loads(document)
    tcb = f'{{"tcbInfo":{parts["tcb_info"]},"signature":"{parts["tcb_info_signature"]}"}}'
    identity = f'{{"enclaveIdentity":{parts["qe_identity"]},"signature":"{parts["qe_identity_signature"]}"}}'
    return {
        "0/body": tcb.encode(),
        "0/tcb-info-issuer-chain": quote(parts["tcb_info_issuer_chain"]).encode(),
        "1/body": identity.encode(),
        "1/sgx-enclave-identity-issuer-chain": quote(parts["qe_identity_issuer_chain"]).encode(),
        "2/body": bytes.fromhex(parts["pck_crl"]),
        "2/sgx-pck-crl-issuer-chain": quote(parts["pck_crl_issuer_chain"]).encode(),
        "3/body": bytes.fromhex(parts["root_ca_crl"]),
    }


def _as_body(name: str, document: bytes) -> dict[str, bytes]:
    del name
    return {"0/body": document}


def _from_kds(name: str, document: bytes) -> dict[str, bytes]:
    del document
    home = vendor("snp").endorsements()
    both = (home[name], home[f"{name.rpartition('/')[0]}/ark"])
    return {"0/body": b"".join(load_certificate(one).public_bytes(Encoding.PEM) for (one,) in both)}


def _from_rim_service(name: str, document: bytes) -> dict[str, bytes]:
    return {"0/body": json.dumps({"id": name, "rim": b64encode(document).decode()}).encode()}


def _chip_answers() -> list[Case]:
    """Hygon's answer for a chip; its Evidence brings the same."""
    maker = vendor("csv")
    asked = Asked(f"{EndorsementKind.HYGON_HSK_CEK}/sim00000000", maker.trust_anchors(), {})
    return [Case({"0/body": maker.evidence(0, bytes(64)).items["hsk_cek"]}, msgspec.msgpack.encode(asked))]


def _leaf_answers() -> list[Case]:
    """The KDS's answer for a chip; its Evidence brings the same."""
    maker: Any = vendor("snp")
    chip = maker.chip(0)
    name = f"{EndorsementKind.AMD_LEAF}/milan/{chip.chip_id.hex()}/{chip.tcb.hex()}"
    asked = Asked(name, maker.trust_anchors(), dict(maker.endorsements()))
    return [Case({"0/body": chip.leaf}, msgspec.msgpack.encode(asked))]


def _status_answers() -> list[Case]:
    """What NVIDIA's responder says of the first certificate of a device that can be revoked."""
    maker: Any = vendor("nvidia-gpu")
    chain = evidence_case(maker).items["evidence/cert_chain"]
    wanted, *_ = references(prove_device(chain, frozenset({maker.pki.root.spki})).links, "ocsp")
    asked = Asked(f"{wanted.kind}/{wanted.key}", maker.trust_anchors(), {})
    answers = maker.pki.ocsp(maker._chips[0, None], revoked=False)
    return [Case({"0/body": answer}, msgspec.msgpack.encode(asked)) for answer in reversed(answers)]


def _files() -> list[bytes]:
    """Files for `attest collateral import`."""
    amd, intel = dict(vendor("snp").endorsements()), dict(vendor("tdx").endorsements())
    return [document for found in (*amd.values(), *intel.values()) for document in found]


def _vendor_target(name: str, seeds: Callable[[], list[Case]]) -> Target:
    return Target(name, _fetch, seeds, (BadCollateral, NotThere, Unavailable))


_VENDORS: Final = (
    _vendor_target("Intel PCS answers", lambda: _answers("tdx", EndorsementKind.INTEL_DCAP, _from_pcs)),
    _vendor_target("AMD KDS chain", lambda: _answers("snp", EndorsementKind.AMD_CHAIN, _from_kds)),
    _vendor_target("AMD KDS CRL", lambda: _answers("snp", EndorsementKind.AMD_CRL, _as_body)),
    _vendor_target("AMD KDS leaf", _leaf_answers),
    _vendor_target("Hygon answer", _chip_answers),
    _vendor_target("NVIDIA RIM answer", lambda: _answers("nvidia-gpu", EndorsementKind.NVIDIA_RIM, _from_rim_service)),
    _vendor_target("NVIDIA OCSP answer", _status_answers),
    reader("collateral file", imports.recognise, _files, BadCollateral),
)


# ── the operator's files ──────────────────────────────────────────────────────────────────────────────────────────────
_POLICY: Final = Policy(id="appraisal/tdx", tee="tdx", text="", digest="", reads=(), allow_unfresh=False)
_REGO: Final = (
    b'package appraisal.tdx\nreads := ["debug"]\nvector := {"hardware": [2, "x"]} if { input.debug == false }\n'
)
_SECRET: Final = "whsec_" + b64encode(bytes(range(24))).decode()


class _NoEngine:
    """A sandbox whose engine refuses: what a text must pass before any engine sees it is under test."""

    def load(self, text: str) -> str:
        raise PolicyFailed(text[:9])

    def names(self) -> frozenset[str]:
        return frozenset()

    def evaluate(self, rule: str, view: Mapping[str, object]) -> object:
        raise PolicyFailed(f"{rule} {view}"[:9])


def _vet(data: bytes) -> None:
    vet(data.decode("utf-8", "replace"), _NoEngine())


def _read_directory(case: Case) -> None:
    with tempfile.TemporaryDirectory() as root:
        directory = Path(root) / "acme"
        for name, content in case.items.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        config_dir.read(directory, Path(root), lambda _: _POLICY)


def _directories() -> list[Case]:
    settings = TenantSettings(issuer="urn:x", audience="x", tees=("tdx",), environment="development")
    references = ReferenceValueSet(name="a", version="1", tee="tdx", values={"mrtd": ("00", 1, True, None)})
    anchor = vendor("tdx").trust_anchors()[0].spki
    items = {
        "tenant.json": msgspec.json.encode(settings),
        "policies/tdx.rego": _REGO,
        "reference-values/a.json": msgspec.json.encode(references),
        "trust-anchors/intel/a.pem": write_public_key(anchor),
        "endorsements/amd-crl/milan": vendor("snp").endorsements()["amd-crl/milan"][0],
    }
    return [Case(items), Case({**items, "tenant.json": items["tenant.json"].replace(b"development", b"production")})]


def _read_settings(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / collateral_sources.SETTINGS).write_bytes(data)
        collateral_sources.read_settings(Path(root))


def _settings() -> list[bytes]:
    return [msgspec.json.encode(collateral_sources.CollateralSettings(trust_anchors=vendor("tdx").trust_anchors()))]


def _endpoints() -> list[bytes]:
    endpoint = {"id": "a", "url": "https://example.org", "tenant": _TENANT, "secrets": [_SECRET], "statuses": ["none"]}
    return [json.dumps({"endpoints": [endpoint]}).encode()]


def _keys() -> list[bytes]:
    return [write_public_key(vendor(tee).trust_anchors()[0].spki) for tee in ("tdx", "snp", "csv")]


def _targets_of_operator() -> Iterator[Target]:
    yield Target("configuration directory", _read_directory, _directories, (Misconfigured,))
    yield reader("policy text", _vet, lambda: [_REGO], Misconfigured)
    yield reader("public key file", read_public_key, _keys, ValueError)
    yield reader("webhook endpoints", webhook.read_endpoints, _endpoints, Misconfigured)
    yield reader("collateral settings", _read_settings, _settings, Misconfigured)


TARGETS: Final = (*_BROKER, *_TOKENS, *_VENDORS, *_targets_of_operator())
