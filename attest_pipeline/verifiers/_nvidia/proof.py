"""Proof of an NVIDIA report: Device Identity CA → device → report, and the RIMs that its measurements must equal."""

import hashlib
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Endorsements, Evidence
from attest_pipeline.verifiers._nvidia.device import Device, chain_of, prove_device
from attest_pipeline.verifiers._nvidia.firmware import WantedRim
from attest_pipeline.verifiers._nvidia.rim import Rim, check_measurements, prove_rim
from attest_pipeline.verifiers._nvidia.roots import Roots
from attest_pipeline.verifiers._nvidia.spdm import FWID, Report, State
from attest_pipeline.verifiers._shared.ocsp import Link, check_responses
from attest_pipeline.verifiers._shared.x509 import check_window

CHECKS: Final = ("report_format", "device_chain_to_pinned_root", "device_chain_current", "report_signature")
"""What always holds. `fwid_of_device`, `challenge`, the item of each RIM, and `chain_not_revoked` may follow."""
OCSP: Final = "ocsp"
NOT_REVOKED: Final = "chain_not_revoked"


ProvenRims = tuple[tuple[str, Rim], ...]
"""RIMs by their item."""


class Proof(NamedTuple):
    """What holds of a report, whatever its nonces: `rims` are those that it was compared with, and equal to.

    `responses` are OCSP's, as given. `names_firmware` says whether the report has the firmware id of its device,
    `bound` whether its nonce was equal to a challenge, `not_revoked` whether OCSP says so of every certificate.
    """

    device: Device
    rims: ProvenRims
    responses: tuple[bytes, ...]
    names_firmware: bool
    bound: bool
    not_revoked: bool

    @property
    def checks(self) -> tuple[str, ...]:
        """Names of what was checked, and held."""
        further = (
            ("fwid_of_device", self.names_firmware),
            ("challenge", self.bound),
            *((item, True) for item, _ in self.rims),
            (NOT_REVOKED, self.not_revoked),
        )
        return (*CHECKS, *(name for name, made in further if made))

    @property
    def documents(self) -> dict[str, str]:
        """SHA-256, in hexadecimal, of each Endorsement used."""
        responses = {f"{OCSP}/{number}": hashlib.sha256(one).hexdigest() for number, one in enumerate(self.responses)}
        return {item: rim.digest for item, rim in self.rims} | responses


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
    signed = given.evidence.items["report"][: report.state.signed]
    if not device.key.verify_raw(report.signature, signed, "sha384"):
        raise BadEvidence(Reason.BAD_SIGNATURE, "report is not signed by its device")
    rims = _prove_rims(report.state, wanted, given, roots.rim)
    names_firmware = _check_fwid(report.state, device)
    responses = given.endorsements.items.get(OCSP, ())
    not_revoked = bool(responses) and check_responses(responses, _links(device, rims), given.now)
    return Proof(device, rims, responses, names_firmware, given.challenge is not None, not_revoked)


def _check_fwid(state: State, device: Device) -> bool:
    """Whether the report names the firmware that its key belongs to: older drivers and switches leave that out."""
    fwid = state.opaque.get(FWID)
    if fwid is not None and fwid != device.fwid:
        raise BadEvidence(Reason.IDENTITY_MISMATCH, "firmware id of the report is not that of the device certificate")
    return fwid is not None


def _prove_rims(state: State, wanted: tuple[WantedRim, ...], given: Given, roots: frozenset[bytes]) -> ProvenRims:
    rims = []
    for one in wanted:
        documents = given.endorsements.items.get(one.item, ())
        if len(documents) > 1:
            raise BadEvidence(Reason.BAD_ENDORSEMENT, f"{len(documents)} documents for {one.item}")
        for document in documents:
            rim = prove_rim(document, roots)
            check_window(rim.not_before, rim.not_after, given.now, f"certificate chain of {one.item}")
            _check_rim(state, one, rim)
            rims.append((one.item, rim))
    return tuple(rims)


@lru_cache(maxsize=8192)
def _check_rim(state: State, wanted: WantedRim, rim: Rim) -> None:
    """Require the RIM of the report's own version, and its values; only that they are equal is remembered."""
    if rim.version.upper() != wanted.version:
        raise BadEvidence(Reason.IDENTITY_MISMATCH, f"{wanted.item} is of another version than the report")
    check_measurements(state.measurements, rim, wanted.item)


@lru_cache(maxsize=8192)
def _links(device: Device, rims: ProvenRims) -> tuple[Link, ...]:
    """Every certificate that NVIDIA may revoke."""
    return (*device.links, *(link for _, rim in rims for link in rim.links))
