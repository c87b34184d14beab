"""A simulated AMD for the tests: one vendor of each kind, its verifier, and reports altered before they are signed."""

from datetime import UTC, datetime
from functools import cache
from typing import Final, NamedTuple

from awscrt.crypto import ECExportFormat

from attest_pipeline.model import Claims, EndorsementKind, EndorsementRef, Endorsements, Evidence
from attest_pipeline.simulator.amd import GUEST_POLICY, MEASUREMENT, AmdVendor, Chip, make_report, sign_report
from attest_pipeline.simulator.amd_pki import SILICON
from attest_pipeline.verifiers.snp import SnpVerifier

NOW: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
CHALLENGE: Final = bytes(range(64))
KINDS: Final = [f"{product} {key}" for product in SILICON for key in ("VCEK", "VLEK")]


class Lab(NamedTuple):
    """A vendor and the verifier that trusts it."""

    product: str
    vlek: bool
    vendor: AmdVendor
    verifier: SnpVerifier

    def chip(self, serial: int = 1) -> Chip:
        """A healthy chip."""
        return self.vendor.chip(serial)

    def report(self, *patches: tuple[int, bytes], chip: Chip | None = None) -> bytes:
        """A report over CHALLENGE with bytes replaced at offsets before it is signed."""
        chip = chip or self.chip()
        body = bytearray(
            make_report(
                SILICON[self.product],
                chip,
                report_data=CHALLENGE,
                measurement=MEASUREMENT,
                policy=GUEST_POLICY,
                vlek=self.vlek,
            )
        )
        for offset, value in patches:
            body[offset : offset + len(value)] = value
        return sign_report(chip.key, bytes(body))

    def leaf(self, changes: dict[str, bytes | None] | None = None) -> bytes:
        """A leaf for the healthy chip's key, its extensions replaced or (None) left out."""
        chip = self.chip()
        extensions = self.vendor.pki.extensions(chip.tcb, chip.chip_id)
        kept = {oid: value for oid, value in {**extensions, **(changes or {})}.items() if value is not None}
        return self.vendor.pki.leaf(chip.key.export_key(ECExportFormat.SPKI), kept)

    def documents(self, **changes: bytes | None) -> Endorsements:
        """What the host hands over: `ask`, `ark`, `crl` of the vendor, with some replaced, added or (None) missing."""
        published = self.vendor.endorsements()
        crl = published[f"{EndorsementKind.AMD_CRL}/{self.product.lower()}"][0]
        found = {"ask": self.vendor.pki.ask, "ark": self.vendor.pki.ark, "crl": crl, **changes}
        return Endorsements({name: (value,) for name, value in found.items() if value is not None})

    def verify(
        self,
        report: bytes,
        endorsements: Endorsements | None = None,
        *,
        leaf: bytes | None = None,
        challenge: bytes | None = CHALLENGE,
        now: datetime = NOW,
    ) -> Claims:
        """Prove a report of the healthy chip, whose leaf rides along unless another is given."""
        evidence = Evidence("snp", {"report": report, "leaf": leaf or self.chip().leaf})
        return self.verifier.verify(evidence, endorsements or self.documents(), challenge=challenge, now=now)

    def found(self, refs: tuple[EndorsementRef, ...]) -> Endorsements:
        """The vendor's Endorsements under the references that a verifier asked for."""
        published = self.vendor.endorsements()
        return Endorsements({ref.item: published.get(f"{ref.kind}/{ref.key}", ()) for ref in refs})


def lab_of(kind: str) -> Lab:
    """The lab of one of KINDS."""
    product, key = kind.split()
    return lab(product, vlek=key == "VLEK")


@cache
def lab(product: str, *, vlek: bool = False) -> Lab:
    """The lab of that product and kind of key, made once (its RSA keys take half a second)."""
    vendor = AmdVendor(NOW, product, vlek=vlek)
    anchors = tuple(anchor.spki for anchor in vendor.trust_anchors())
    return Lab(product, vlek, vendor, SnpVerifier({"amd": anchors}))
