"""Targets: every installed verifier from end to end, on the simulator's Evidence."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Final, NamedTuple

import msgspec
from cryptography.hazmat.primitives import hashes
from msgspec import Struct

from attest_pipeline import verifiers
from attest_pipeline.cli.simulated import vendors
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.ports import Verifier
from attest_pipeline.simulator.arm_token import P521Key
from attest_pipeline.simulator.ascend import AscendVendor
from attest_pipeline.simulator.device import Vendor
from attest_pipeline.simulator.hygon import CsvVendor
from attest_pipeline.simulator.itrustee import ItrusteeVendor
from fuzz import resign
from fuzz.case import Case

NOW: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
CHALLENGE: Final = bytes(range(64))
NAMES: Final = tuple(sorted(point.name for point in entry_points(group=verifiers.GROUP)))
"""TEEs of the installed verifiers, whoever installed them."""
_SAMPLE: Final = b'{"challenge":"%b","measurement":"00"}' % CHALLENGE.hex().encode()


class Given(Struct, frozen=True):
    """What the Verifier brings: trust anchors by vendor, the challenge, and the time."""

    tee: str
    anchors: dict[str, tuple[bytes, ...]]
    challenge: bytes | None
    now: datetime


class Device(NamedTuple):
    """A simulated device: what its Evidence is called here, its vendor, its serial number, and who signs for it."""

    name: str
    vendor: Vendor
    serial: int
    signers: tuple[resign.Signer, ...]


@cache
def vendor(tee: str) -> Vendor:
    """The simulated vendor of a TEE; those that share hardware share its vendor."""
    return {one.tee: one for one in _vendors()}[tee]


@cache
def _vendors() -> tuple[Vendor, ...]:
    return vendors(NOW, [name for name in NAMES if name != "sample"])


def evidence_case(maker: Vendor, serial: int = 0) -> Case:
    """Evidence of a simulated device with its Endorsements, anchors and challenge."""
    evidence = maker.evidence(serial, CHALLENGE)
    anchors: dict[str, tuple[bytes, ...]] = {}
    for anchor in maker.trust_anchors():
        anchors[anchor.vendor] = (*anchors.get(anchor.vendor, ()), anchor.spki)
    verifier = verifiers.load([maker.tee], anchors)[maker.tee]
    documents = maker.endorsements()
    refs = verifier.endorsements_for(evidence)
    found = {ref.item: documents.get(f"{ref.kind}/{ref.key}", ()) for ref in refs}
    return make_case(
        evidence, Endorsements(found), Given(maker.tee, anchors, CHALLENGE[: verifier.challenge_bytes], NOW)
    )


def make_case(evidence: Evidence, endorsements: Endorsements, given: Given) -> Case:
    """Evidence and Endorsements as items of one case."""
    items = {f"evidence/{name}": item for name, item in evidence.items.items()}
    for name, documents in endorsements.items.items():
        items |= {f"endorsement/{name}/{number}": document for number, document in enumerate(documents)}
    return Case(items, msgspec.msgpack.encode(given))


def prove(case: Case) -> Claims:
    """What a host does with Evidence: ask which Endorsements it needs, prove it, and send the claims on."""
    given = _given(case.given)
    evidence, endorsements = _split(given.tee, case)
    verifier = _verifier(case.given)
    verifier.endorsements_for(evidence)
    claims = verifier.verify(evidence, endorsements, challenge=given.challenge, now=given.now)
    msgspec.msgpack.encode(claims)  # towards match
    msgspec.json.encode(claims)  # into the token
    return claims


@cache
def _given(encoded: bytes) -> Given:
    return msgspec.msgpack.decode(encoded, type=Given)


@cache
def _verifier(encoded: bytes) -> Verifier:
    given = _given(encoded)
    return verifiers.load([given.tee], given.anchors)[given.tee]


def _split(tee: str, case: Case) -> tuple[Evidence, Endorsements]:
    evidence: dict[str, bytes] = {}
    endorsements: dict[str, tuple[bytes, ...]] = {}
    for name, item in case.items.items():
        kind, _, rest = name.partition("/")
        if kind == "evidence":
            evidence[rest] = item
        else:
            document = rest.partition("/")[0]
            endorsements[document] = (*endorsements.get(document, ()), item)
    return Evidence(tee, evidence), Endorsements(endorsements)


# ── the simulated devices, and their keys ─────────────────────────────────────────────────────────────────────────────
def devices(tee: str) -> tuple[Device, ...]:
    """A device for each form of Evidence that a TEE has."""
    maker: Any = vendor(tee)
    evidence_case(maker)  # makes the keys of device 0, which the signers take out of its vendor
    return tuple(_DEVICES[tee](maker))


def _intel(maker: Any) -> Iterator[Device]:
    collateral = resign.dcap_collateral("endorsement/collateral/0", maker._pki)
    pck = maker._platforms["platform 0"].pck.key
    quote = resign.dcap_quote(maker.tee, maker._devices["0"].key, pck)
    yield Device(maker.tee, maker, 0, (quote, collateral))


def _amd(maker: Any) -> Iterator[Device]:
    chip, (crl,) = maker.chip(0), maker.endorsements()["amd-crl/milan"]
    yield Device(
        "snp",
        maker,
        0,
        (
            resign.snp_report(chip.key),
            resign.certificate("evidence/leaf", maker.pki._issuer_key, hashes.SHA384(), chip.leaf),
            resign.certificate("endorsement/crl/0", maker.pki._root_key, hashes.SHA384(), crl),
        ),
    )


def _cca(maker: Any) -> Iterator[Device]:
    for serial, generation in enumerate(("cca 1.0", "cca draft", "cca 2.0")):
        maker.evidence(serial, CHALLENGE)
        keys = maker._realms[serial, None].key, maker._platforms[0]
        yield Device(generation, maker, serial, (resign.collection(*keys),))


def _virtcca(maker: Any) -> Iterator[Device]:
    machine = P521Key(maker._machines[0].key)
    yield Device("virtcca", maker, 0, (resign.collection(maker._vms[0, None].key, machine),))


def _psa(maker: Any) -> Iterator[Device]:
    for serial, profile in enumerate(("psa", "psa legacy")):
        yield Device(profile, maker, serial, (resign.cose("evidence/token", maker._key(serial)),))


def _nitro(maker: Any) -> Iterator[Device]:
    identity, _ = maker._enclaves[0, False]
    key = resign.IdentityKey(identity, hashes.SHA384(), -35)
    yield Device("nitro", maker, 0, (resign.cose("evidence/document", key),))


def _csv(maker: Any) -> Iterator[Device]:
    for version, one in enumerate((CsvVendor(1), maker), 1):
        yield Device(f"csv {version}", one, 0, (resign.csv_report(one.chip(0)),))


def _itrustee(maker: Any) -> Iterator[Device]:
    yield Device("itrustee", maker, 0, (resign.itrustee_report(maker._machines[0, None].ak),))


def _tpm(maker: Any) -> Iterator[Device]:
    yield Device("tpm", maker, 0, (resign.tpm(maker._aks[0]),))


def _ascend(maker: Any) -> Iterator[Device]:
    yield Device("ascend-npu tpm", maker, 0, (resign.tpm(maker._host._aks[0]),))
    host: Any = ItrusteeVendor(NOW)
    on_itrustee = AscendVendor(host)
    evidence_case(on_itrustee)
    ak = host._machines[0, None].ak
    yield Device("ascend-npu itrustee", on_itrustee, 0, (resign.bound_list(), resign.itrustee_report(ak)))


def _azure(maker: Any) -> Iterator[Device]:
    yield Device(maker.tee, maker, 0, (resign.azure(maker.attestation_key(0), maker._hardware),))


def _nvidia(maker: Any) -> Iterator[Device]:
    found = evidence_case(maker).items
    rims = [name for name in found if name.startswith("endorsement/rim")]
    signed = (resign.rim(name, maker.pki, found[name]) for name in rims)
    yield Device(maker.tee, maker, 0, (resign.spdm_report(maker._chips[0, None].firmware), *signed))


_DEVICES: Final[Mapping[str, Callable[[Any], Iterator[Device]]]] = {
    "tdx": _intel,
    "sgx": _intel,
    "snp": _amd,
    "cca": _cca,
    "virtcca": _virtcca,
    "psa": _psa,
    "nitro": _nitro,
    "csv": _csv,
    "itrustee": _itrustee,
    "tpm": _tpm,
    "ascend-npu": _ascend,
    "az-snp-vtpm": _azure,
    "az-tdx-vtpm": _azure,
    "nvidia-gpu": _nvidia,
    "nvidia-switch": _nvidia,
}
