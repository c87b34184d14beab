"""Proof of an NVIDIA report: Device Identity CA → device → report, and the RIMs that its measurements must equal."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Endorsements, Evidence
from attest_pipeline.verifiers._nvidia.device import Device, chain_of, prove_device
from attest_pipeline.verifiers._nvidia.firmware import WantedRim
from attest_pipeline.verifiers._nvidia.rim import Rim, check_measurements, prove_rim
from attest_pipeline.verifiers._nvidia.roots import Roots
from attest_pipeline.verifiers._nvidia.spdm import FWID, Report
from attest_pipeline.verifiers._shared.ocsp import check_responses
from attest_pipeline.verifiers._shared.x509 import check_window

CHECKS: Final = ("report_format", "device_chain_to_pinned_root", "device_chain_current", "report_signature")
"""What always holds. `fwid_of_device`, `challenge`, the item of each RIM, and `chain_not_revoked` may follow."""
OCSP: Final = "ocsp"
NOT_REVOKED: Final = "chain_not_revoked"


class Proof(NamedTuple):
    """What holds of a report; `documents` maps each Endorsement used to its SHA-256 in hexadecimal."""

    device: Device
    documents: Mapping[str, str]
    checks: tuple[str, ...]


class Given(NamedTuple):
    """What a verifier is given besides the report."""

    evidence: Evidence
    endorsements: Endorsements
    challenge: bytes | None
    now: datetime


def prove(report: Report, wanted: tuple[WantedRim, ...], given: Given, roots: Roots) -> Proof:
    """Prove a report, and its measurements under those of the wanted RIMs that are given. Raises BadEvidence."""
    device = prove_device(chain_of(given.evidence), roots.device)
    check_window(device.not_before, device.not_after, given.now, "device certificate chain")
    if given.challenge is not None and report.nonce != given.challenge:
        raise BadEvidence(Reason.CHALLENGE_MISMATCH, "nonce is not the challenge")
    signed = given.evidence.items["report"][: report.signed]
    if not device.key.verify_raw(report.signature, signed, "sha384"):
        raise BadEvidence(Reason.BAD_SIGNATURE, "report is not signed by its device")
    rims = _prove_rims(report, wanted, given, roots.rim)
    documents = {item: rim.digest for item, rim in rims.items()}
    held = (
        ("fwid_of_device", _check_fwid(report, device)),
        ("challenge", given.challenge is not None),
        *((item, True) for item in rims),
        (NOT_REVOKED, _check_revocation(device, rims, given)),
    )
    answers = given.endorsements.items.get(OCSP, ())
    documents |= {f"{OCSP}/{number}": _digest(one) for number, one in enumerate(answers)}
    return Proof(device, documents, (*CHECKS, *(name for name, made in held if made)))


@lru_cache(maxsize=1024)
def _digest(document: bytes) -> str:
    """SHA-256 of an OCSP response, which is the same for a whole day."""
    return hashlib.sha256(document).hexdigest()


def _check_fwid(report: Report, device: Device) -> bool:
    """Whether the report names the firmware that its key belongs to: older drivers and switches leave that out."""
    fwid = report.opaque.get(FWID)
    if fwid is not None and fwid != device.fwid:
        raise BadEvidence(Reason.IDENTITY_MISMATCH, "firmware id of the report is not that of the device certificate")
    return fwid is not None


def _prove_rims(report: Report, wanted: tuple[WantedRim, ...], given: Given, roots: frozenset[bytes]) -> dict[str, Rim]:
    rims = {}
    for item, version, _ in wanted:
        documents = given.endorsements.items.get(item, ())
        if len(documents) > 1:
            raise BadEvidence(Reason.BAD_ENDORSEMENT, f"{len(documents)} documents for {item}")
        for document in documents:
            rims[item] = rim = prove_rim(document, roots)
            check_window(rim.not_before, rim.not_after, given.now, f"certificate chain of {item}")
            if rim.version.upper() != version:
                raise BadEvidence(Reason.IDENTITY_MISMATCH, f"{item} is of another version than the report")
            check_measurements(report.measurements, rim, item)
    return rims


def _check_revocation(device: Device, rims: Mapping[str, Rim], given: Given) -> bool:
    """Whether OCSP responses were given, all good, for every certificate that NVIDIA may revoke."""
    answers = given.endorsements.items.get(OCSP, ())
    links = (*device.links, *(link for rim in rims.values() for link in rim.links))
    return bool(answers) and check_responses(answers, links, given.now)
