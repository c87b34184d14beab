"""What the verifiers of both kinds of NVIDIA devices do alike."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache

from attest_pipeline.model import Claims, EndorsementKind, EndorsementRef, Endorsements, Evidence
from attest_pipeline.verifiers._nvidia import spdm
from attest_pipeline.verifiers._nvidia.claims import make_claims
from attest_pipeline.verifiers._nvidia.device import chain_of, chip_of, prove_device
from attest_pipeline.verifiers._nvidia.firmware import Firmware
from attest_pipeline.verifiers._nvidia.proof import OCSP, Given, prove
from attest_pipeline.verifiers._nvidia.rim import prove_rim
from attest_pipeline.verifiers._nvidia.roots import trusted_roots
from attest_pipeline.verifiers._nvidia.spdm import Report, State
from attest_pipeline.verifiers._nvidia.status import references
from attest_pipeline.verifiers._shared.ocsp import unanswered


class NvidiaVerifier(ABC):
    """Proves `report` (SPDM request and response) under `cert_chain` (PEM, leaf first).

    Endorsements, all optional: RIMs (signed XML) of the report's own versions, which every active measurement must
    equal, and `ocsp` (DER responses), which the host keeps by chip or by certificate. `trust_anchors` may name further
    roots under `nvidia` and `nvidia-rim` (development only). A kind of device adds its name and how its firmware is
    read.
    """

    tee: str
    challenge_bytes = spdm.NONCE_BYTES

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        self._roots = trusted_roots(trust_anchors)

    @staticmethod
    @abstractmethod
    def read(state: State, chip: str) -> Firmware:
        """Firmware of a device on that chip, such as `gh100`. Raises BadEvidence for the report of another kind."""

    def endorsements_for(self, evidence: Evidence) -> tuple[EndorsementRef, ...]:
        """RIMs of the versions that the report names, and OCSP responses for its chip. Raises BadEvidence.

        The chip is proven, so that nobody is spared its responses by the name of another.
        """
        _, firmware = self._read(evidence)
        return _wanted(firmware, prove_device(chain_of(evidence), self._roots.device).name)

    def further_endorsements(self, evidence: Evidence, endorsements: Endorsements) -> tuple[EndorsementRef, ...]:
        """OCSP responses for what NVIDIA may revoke of the device and of the RIMs at hand, unless they are at hand too.

        Asks about certificates under a pinned root alone, so that nobody can have questions made up.
        Raises BadEvidence.
        """
        _, firmware = self._read(evidence)
        rims = (document for rim in firmware.rims for document in endorsements.items.get(rim.item, ()))
        device = prove_device(chain_of(evidence), self._roots.device)
        links = (*device.links, *(link for document in rims for link in prove_rim(document, self._roots.rim).links))
        return references(unanswered(endorsements.items.get(OCSP, ()), links), OCSP)

    def verify(
        self, evidence: Evidence, endorsements: Endorsements, *, challenge: bytes | None, now: datetime
    ) -> Claims:
        """Prove the report at `now`; `challenge` is the request's nonce, 32 bytes. Raises BadEvidence."""
        report, firmware = self._read(evidence)
        proof = prove(report, firmware.rims, Given(evidence, endorsements, challenge, now), self._roots)
        return make_claims(self.tee, report, firmware, proof)

    def _read(self, evidence: Evidence) -> tuple[Report, Firmware]:
        """Report and firmware, not proven."""
        chain = chain_of(evidence)
        report = spdm.parse(evidence.items.get("report", b""))
        return report, _firmware(type(self), report.state, chip_of(chain))


@lru_cache(maxsize=4096)
def _firmware(kind: type[NvidiaVerifier], state: State, chip: str) -> Firmware:
    """Firmware, not proven; of about as many devices as the reader of reports knows."""
    return kind.read(state, chip)


@lru_cache(maxsize=8192)
def _wanted(firmware: Firmware, name: str | None) -> tuple[EndorsementRef, ...]:
    """References to the RIMs of that firmware, and to the OCSP responses of a chip that has a name."""
    wanted = [(rim.item, EndorsementKind.NVIDIA_RIM, rim.key) for rim in firmware.rims]
    if name is not None:
        wanted.append((OCSP, EndorsementKind.NVIDIA_OCSP, name))
    return tuple(EndorsementRef(item=item, kind=kind, key=key, required=False) for item, kind, key in wanted)
