"""Claims of a machine with a TPM."""

from attest_pipeline.model import Claims
from attest_pipeline.verifiers._tpm.quote import CHECKS, Proof, pcr_claims, quote_fields
from attest_pipeline.verifiers.tpm.ak import Ak


def make_claims(proof: Proof, ak: Ak, explained: tuple[int, ...], *, ima: bool, bound: bool) -> Claims:
    """Claims of a proven quote; `explained` are the PCRs that an event log replays to, `ima` says whether a log did.

    The AK names the hardware, which says nothing of its debug state. `bound` says whether a challenge was equal.
    """
    measurements = pcr_claims(proof)
    replayed = tuple(f"event_log_pcr{number}" for number in explained)
    checks = (*ak.checks, *CHECKS, *replayed, *(("ima_log",) if ima else ()))
    return Claims(
        tee="tpm",
        hardware_id=ak.name,
        debug=None,
        tcb_status=None,
        measurements=measurements,
        signer=ak.name,
        challenge_verified=bound,
        endorsements=dict(ak.documents),
        fields={
            **measurements,
            **quote_fields(proof),
            "ak_source": ak.source,
            "revocation_checked": "crl" in ak.documents,
            "event_log_pcrs": ",".join(map(str, explained)),
            "ima_log": ima,
        },
        checks=(*checks, "challenge") if bound else checks,
    )
