"""Proof of Azure SEV-SNP Evidence: item `evidence`, endorsements `ask`, `ark` and `crl`."""

from collections.abc import Mapping
from datetime import datetime

from attest_pipeline.model import Claims, EndorsementRef, Endorsements, Evidence
from attest_pipeline.verifiers._amd import abi
from attest_pipeline.verifiers._amd.proof import VENDOR, chain_of, chain_refs, check_current
from attest_pipeline.verifiers._azure.document import Document, read_snp
from attest_pipeline.verifiers._azure.hcl import SNP, parse_hcl
from attest_pipeline.verifiers._azure.vtpm import prove_vtpm
from attest_pipeline.verifiers._tpm.quote import CHALLENGE_BYTES
from attest_pipeline.verifiers.az_snp_vtpm.claims import make_claims
from attest_pipeline.verifiers.az_snp_vtpm.paravisor import prove_paravisor


class AzSnpVerifier:
    """Proves the item `evidence`, the JSON of an Azure confidential VM in any of its three versions.

    Endorsements: `ask`, and if present `ark` and `crl`; the VCEK is in the JSON. `trust_anchors` may name further roots
    under `amd` (development only).
    """

    tee = "az-snp-vtpm"
    media_types = frozenset({"application/vnd.microsoft.azure.snp-vtpm+json"})
    challenge_bytes = CHALLENGE_BYTES

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        self._anchors = frozenset(trust_anchors.get(VENDOR, ()))

    def endorsements_for(self, evidence: Evidence) -> tuple[EndorsementRef, ...]:
        """Chain and CRL of the product, under lower-case keys such as `milan/ask`. Raises BadEvidence."""
        document = _document(evidence)
        return chain_refs(abi.parse(parse_hcl(document.hcl_report, SNP).hardware).guest, document.hardware)

    def verify(
        self, evidence: Evidence, endorsements: Endorsements, *, challenge: bytes | None, now: datetime
    ) -> Claims:
        """Prove the Evidence at `now`; `challenge` is all of the TPM quote's extraData. Raises BadEvidence."""
        document = _document(evidence)
        paravisor = prove_paravisor(document.hcl_report, chain_of(document.hardware, endorsements), self._anchors)
        check_current(paravisor.endorsed, now)
        vtpm = prove_vtpm(document, paravisor.hcl, challenge)
        return make_claims(paravisor, vtpm, document.version, bound=challenge is not None)


def _document(evidence: Evidence) -> Document:
    return read_snp(evidence.items.get("evidence", b""))
