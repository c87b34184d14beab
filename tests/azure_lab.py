"""Azure evidence for the tests: the parts of a simulated VM's JSON, altered and put together again."""

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.ports import Verifier
from attest_pipeline.simulator.amd import AmdVendor
from attest_pipeline.simulator.azure import AzureVendor, make_hcl, td_report
from attest_pipeline.simulator.device import Vendor
from attest_pipeline.simulator.intel import IntelVendor
from attest_pipeline.verifiers._azure.hcl import RUNTIME, SNP, TDX
from attest_pipeline.verifiers.az_snp_vtpm import AzSnpVerifier
from attest_pipeline.verifiers.az_tdx_vtpm import AzTdxVerifier

NOW: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
CHALLENGE: Final = bytes(range(32))
HARDWARE: Final = {"az-snp-vtpm": "vcek", "az-tdx-vtpm": "td_quote"}
CLAIMS: Final = RUNTIME + 20


class Parts(NamedTuple):
    """Evidence of version 2, decoded."""

    message: bytes
    signature: bytes
    pcrs: list[bytes]
    hcl_report: bytes
    hardware: bytes


class Lab:
    """A simulated Azure on one kind of hardware, and the verifier that trusts it."""

    def __init__(self, tee: str) -> None:
        self.tee = tee
        self.vendor = AzureVendor(_hardware(tee))
        self.anchors = {anchor.vendor: (anchor.spki,) for anchor in self.vendor.trust_anchors()}
        self.verifier = _verifier(tee, self.anchors)
        self.ak = self.vendor.attestation_key(1)
        self.parts = self.split(self.vendor.evidence(1, CHALLENGE))

    def split(self, evidence: Evidence) -> Parts:
        document = json.loads(evidence.items["evidence"])
        quote = document["tpm_quote"]
        return Parts(
            bytes.fromhex(quote["message"]),
            bytes.fromhex(quote["signature"]),
            [bytes.fromhex(value) for value in quote["pcrs"]],
            unb64(document["hcl_report"]),
            unb64(document[HARDWARE[self.tee]]),
        )

    def document(self, **changes: Any) -> dict[str, Any]:
        """The JSON of the parts, some replaced."""
        parts = self.parts._replace(**changes)
        quote = {
            "message": parts.message.hex(),
            "signature": parts.signature.hex(),
            "pcrs": [value.hex() for value in parts.pcrs],
        }
        return {
            "version": 2,
            "tpm_quote": quote,
            "hcl_report": b64(parts.hcl_report),
            HARDWARE[self.tee]: b64(parts.hardware),
        }

    def evidence(self, document: dict[str, Any] | bytes | None = None, **changes: Any) -> Evidence:
        chosen = self.document(**changes) if document is None else document
        data = chosen if isinstance(chosen, bytes) else json.dumps(chosen).encode()
        return Evidence(self.tee, {"evidence": data})

    def signed(self, message: bytes) -> dict[str, bytes]:
        """That quote and its signature by the VM's AK."""
        return {"message": message, "signature": self.ak.sign(message, padding.PKCS1v15(), hashes.SHA256())}

    def documents(self, evidence: Evidence) -> Endorsements:
        published = self.vendor.endorsements()
        refs = self.verifier.endorsements_for(evidence)
        return Endorsements({ref.item: published[f"{ref.kind}/{ref.key}"] for ref in refs})

    def verify(
        self, evidence: Evidence, *, challenge: bytes | None = CHALLENGE, now: datetime = NOW, **changes: bytes
    ) -> Claims:
        documents = self.documents(self.evidence()).items | {name: (value,) for name, value in changes.items()}
        return self.verifier.verify(evidence, Endorsements(documents), challenge=challenge, now=now)


def _hardware(tee: str) -> Vendor:
    return AmdVendor(NOW) if tee == "az-snp-vtpm" else IntelVendor("tdx", NOW)


def _verifier(tee: str, anchors: Mapping[str, tuple[bytes, ...]]) -> Verifier:
    return AzSnpVerifier(anchors) if tee == "az-snp-vtpm" else AzTdxVerifier(anchors)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def runtime_of(site: Lab) -> dict[str, Any]:
    """Run-time data of the VM's HCL report."""
    found: dict[str, Any] = json.loads(site.parts.hcl_report[CLAIMS:].rstrip(b"\0"))
    return found


def rebuilt(site: Lab, runtime: bytes, report_data: bytes | None = None) -> dict[str, bytes]:
    """HCL report and hardware evidence over other run-time data, as the hardware would give them."""
    bound = hashlib.sha256(runtime).digest().ljust(64, b"\0") if report_data is None else report_data
    items = site.vendor._hardware.evidence(1, bound).items
    if site.tee == "az-snp-vtpm":
        return {"hcl_report": make_hcl(SNP, items["report"], runtime), "hardware": items["leaf"]}
    return {"hcl_report": make_hcl(TDX, td_report(items["quote"], bound), runtime), "hardware": items["quote"]}
