"""NVIDIA devices for the tests: real reports with what endorses them, simulated ones with any part changed."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes

from attest_pipeline import verifiers
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.simulator.nvidia import KINDS, NvidiaVendor, make_report
from attest_pipeline.simulator.nvidia_rim import make_rim, sign_rim

NOW: Final = datetime(2026, 11, 23, tzinfo=UTC)
REAL_NOW: Final = datetime(2025, 6, 1, tzinfo=UTC)
CHALLENGE: Final = bytes(range(64))
NONCE: Final = CHALLENGE[:32]
GPU: Final = "nvidia-gpu"
SWITCH: Final = "nvidia-switch"
FWID: Final = KINDS[GPU].opaque(False)[20]
Documents = Mapping[str, tuple[bytes, ...]]
NOTHING: Final[Documents] = {}


class Lab:
    """A simulated vendor, its verifier, and one of its devices."""

    def __init__(self, tee: str) -> None:
        self.tee = tee
        self.vendor = NvidiaVendor(tee, NOW)
        self.kind = self.vendor.kind
        anchors = {anchor.vendor: (anchor.spki,) for anchor in self.vendor.trust_anchors()}
        self.verifier = verifiers.load([tee], anchors)[tee]
        self.device = self.vendor._chip(1, None)

    @property
    def opaque(self) -> dict[int, bytes]:
        """Opaque data of a healthy device."""
        return dict(self.kind.opaque(False))

    @property
    def measurements(self) -> list[bytes]:
        """Measurements of a healthy device, by index from 0."""
        return [self.vendor.measurement(index) for index in range(self.kind.blocks)]

    def body(self, opaque: Mapping[int, bytes] | None = None, measurements: list[bytes] | None = None) -> bytes:
        """What the signature of a report covers."""
        return make_report(NONCE, measurements or self.measurements, self.opaque if opaque is None else opaque)

    def signed(self, body: bytes) -> bytes:
        """A report with that body."""
        return body + self.device.firmware.sign_raw(body, hashes.SHA384())

    def evidence(self, report: bytes, chain: bytes | None = None) -> Evidence:
        """Evidence with that report, under the device's chain unless another is given."""
        return Evidence(self.tee, {"report": report, "cert_chain": self.device.chain if chain is None else chain})

    def verify(
        self,
        report: bytes | None = None,
        documents: Documents = NOTHING,
        *,
        chain: bytes | None = None,
        challenge: bytes | None = NONCE,
        now: datetime = NOW,
    ) -> Claims:
        """Prove a report, the healthy device's unless another is given."""
        evidence = self.evidence(self.signed(self.body()) if report is None else report, chain)
        return self.verifier.verify(evidence, Endorsements(dict(documents)), challenge=challenge, now=now)

    def found(self) -> dict[str, tuple[bytes, ...]]:
        """What a host finds for the healthy device."""
        published = self.vendor.endorsements()
        refs = self.verifier.endorsements_for(self.evidence(self.signed(self.body())))
        return {ref.item: published[f"{ref.kind}/{ref.key}"] for ref in refs}

    def golden(self) -> dict[int, tuple[bytes, ...]]:
        """Allowed values at the indexes of the first RIM."""
        return {index: (self.vendor.measurement(index),) for index in self.kind.rims[0].indexes}

    def tag(self, golden: Mapping[int, tuple[bytes, ...]] | None = None) -> str:
        """The first RIM, unsigned."""
        allowed = self.golden() if golden is None else golden
        return make_rim(self.kind.chip, self.kind.rims[0].version, allowed, self.kind.blocks)

    def rim(self, tag: str) -> Documents:
        """The tag signed as a RIM, under the item where the first RIM belongs."""
        item = "rim_driver" if self.tee == GPU else "rim_vbios"
        return {item: (sign_rim(tag, self.vendor.pki.signer.key, self.vendor.pki.rim_chain()),)}


def real(vectors: Path, name: str) -> Evidence:
    """A real GPU's report and chain."""
    directory = vectors / "evidence" / "nvidia"
    items = {"report": f"{name}.spdm.bin", "cert_chain": f"{name}.chain.pem"}
    return Evidence(GPU, {item: (directory / file).read_bytes() for item, file in items.items()})


def real_switch(vectors: Path) -> Evidence:
    """A real switch's report and chain."""
    (device,) = json.loads((vectors / "evidence/nvidia/switch_evidence_ls10.json").read_bytes())
    parts = {"report": device["evidence"], "cert_chain": device["certificate"]}
    return Evidence(SWITCH, {item: base64.b64decode(text) for item, text in parts.items()})


def real_rims(vectors: Path) -> dict[str, tuple[bytes, ...]]:
    """RIMs of the device `hopper_550.90.07`."""
    directory = vectors / "evidence/nvidia/rim"
    names = {
        "rim_driver": "NV_GPU_DRIVER_GH100_550.90.07.xml",
        "rim_vbios": "NV_GPU_VBIOS_1010_0200_882_96009F0001.xml",
    }
    return {item: ((directory / name).read_bytes(),) for item, name in names.items()}
