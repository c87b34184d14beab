"""The proof of a vTPM's quote under the AK that the paravisor names."""

from typing import Final

from attest_pipeline.verifiers._azure.document import Document
from attest_pipeline.verifiers._azure.hcl import Hcl
from attest_pipeline.verifiers._tpm.abi import RSASSA, Scheme, Signature
from attest_pipeline.verifiers._tpm.quote import CHECKS as QUOTE_CHECKS
from attest_pipeline.verifiers._tpm.quote import Proof, prove_quote

SCHEME: Final = Scheme(RSASSA, "sha256")
CHECKS: Final = ("runtime_data_of_hardware_report", "ak_of_runtime_data", *QUOTE_CHECKS)
"""What holds once the run-time data is bound and `prove_vtpm` has returned; `challenge` may follow."""


def prove_vtpm(document: Document, hcl: Hcl, challenge: bytes | None) -> Proof:
    """Prove the quote of the document, whose signature is bare RSASSA over SHA-256. Raises BadEvidence."""
    return prove_quote(document.message, Signature(SCHEME, (document.signature,)), document.pcrs, hcl.ak, challenge)
