"""The proof of a vTPM's quote under the AK that the paravisor names."""

from functools import lru_cache
from typing import Final, NamedTuple

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._azure.document import Document
from attest_pipeline.verifiers._azure.hcl import Hcl
from attest_pipeline.verifiers._tpm.abi import RSASSA, Quote, Scheme, Signature, State
from attest_pipeline.verifiers._tpm.quote import CHECKS as QUOTE_CHECKS
from attest_pipeline.verifiers._tpm.quote import Pcrs, check_pcrs, prove_quote

SCHEME: Final = Scheme(RSASSA, "sha256")
CHECKS: Final = ("runtime_data_of_hardware_report", "ak_of_runtime_data", *QUOTE_CHECKS)
"""What holds once the run-time data is bound and `prove_vtpm` has returned; `conditional_checks` may follow."""
_USER_DATA_SINCE: Final = 2
_USER_DATA_BYTES: Final = 64


class Vtpm(NamedTuple):
    """A proven quote, and the values of the PCRs that it is over."""

    quote: Quote
    pcrs: Pcrs


def prove_vtpm(document: Document, hcl: Hcl, challenge: bytes | None) -> Vtpm:
    """Prove the quote of the document, whose signature is bare RSASSA over SHA-256. Raises BadEvidence."""
    if challenge is not None and document.version >= _USER_DATA_SINCE:
        _check_user_data(hcl, challenge)
    quote = prove_quote(document.message, Signature(SCHEME, (document.signature,)), hcl.runtime.vm.ak, challenge)
    _check_pcrs(quote.state, document.pcrs)
    return Vtpm(quote, document.pcrs)


@lru_cache(maxsize=8192)
def _check_pcrs(state: State, pcrs: Pcrs) -> None:
    check_pcrs(state.registers, pcrs, SCHEME.hash_name)


def _check_user_data(hcl: Hcl, challenge: bytes) -> None:
    """From version 2 on the challenge stands in the run-time data too: the hardware's report is as new as the quote.

    Before, a VM may show a report that its hardware gave long ago.
    """
    if hcl.runtime.user_data != challenge.ljust(_USER_DATA_BYTES, b"\0").hex():
        raise BadEvidence(Reason.CHALLENGE_MISMATCH, "user-data of the run-time data is not the challenge")


def conditional_checks(version: int, *, bound: bool) -> tuple[str, ...]:
    """Checks beyond CHECKS that were made of a document of that version, if a challenge was equal."""
    if not bound:
        return ()
    return ("user_data", "challenge") if version >= _USER_DATA_SINCE else ("challenge",)
