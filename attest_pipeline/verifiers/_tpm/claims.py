"""Claims of a machine with a TPM."""

from functools import lru_cache

from attest_pipeline.model import Claims
from attest_pipeline.verifiers._shared.recurring import renewed_claims
from attest_pipeline.verifiers._tpm.abi import Scheme, State
from attest_pipeline.verifiers._tpm.ak import Ak
from attest_pipeline.verifiers._tpm.logs import Explained, Summary
from attest_pipeline.verifiers._tpm.machine import Machine
from attest_pipeline.verifiers._tpm.quote import CHECKS, Pcrs, lasting_fields, momentary_fields


def make_claims(tee: str, machine: Machine, logs: Explained, *, bound: bool) -> Claims:
    """Claims of a proven machine, its quote and the logs that explain it, with what they say to this TEE.

    The AK names the hardware, which says nothing of its debug state. `bound` says whether a challenge was equal.
    """
    quote = machine.quote
    lasting = _lasting(tee, quote.state, machine.measured.pcrs, machine.scheme, machine.ak, logs.summary, bound)
    return renewed_claims(lasting, momentary_fields(quote), logs.logs)


@lru_cache(maxsize=8192)
def _lasting(
    tee: str,
    state: State,
    pcrs: Pcrs,
    scheme: Scheme,
    ak: Ak,
    logs: Summary,
    bound: bool,  # noqa: FBT001 - see above
) -> Claims:
    """Claims that a machine makes until it measures something new, without its logs, which may be large."""
    checks = (*ak.checks, *CHECKS, *logs.checks)
    return Claims(
        tee=tee,
        hardware_id=ak.name,
        debug=None,
        tcb_status=None,
        measurements={**pcrs.claims, **logs.measurements},
        signer=ak.name,
        challenge_verified=bound,
        endorsements=dict(ak.documents),
        fields={
            **lasting_fields(state, pcrs, scheme),
            **logs.fields,
            "ak_source": ak.source,
            "revocation_checked": "crl" in ak.documents,
        },
        checks=(*checks, "challenge") if bound else checks,
    )
