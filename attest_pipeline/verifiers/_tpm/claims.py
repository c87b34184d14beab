"""Claims of a machine with a TPM."""

from attest_pipeline.model import Claims, LogName
from attest_pipeline.verifiers._shared.eventlog.replay import log_fields
from attest_pipeline.verifiers._tpm.machine import Machine
from attest_pipeline.verifiers._tpm.quote import CHECKS, quote_fields


def make_claims(tee: str, machine: Machine, *, bound: bool) -> Claims:
    """Claims of a proven machine, its quote and the logs that explain it.

    The AK names the hardware, which says nothing of its debug state. `bound` says whether a challenge was equal.
    """
    proof, ak, logs = machine
    measurements = proof.pcrs.claims
    registers = {log.name: log.registers for log in logs.explained}
    ima = LogName.IMA in registers
    explained = registers.get(LogName.TCG2, ())
    replayed = tuple(f"event_log_pcr{number}" for number in explained)
    of_ima = (*(("ima_log",) if ima else ()), *(("ima_boot_aggregate",) if logs.boot_aggregate else ()))
    checks = (*ak.checks, *CHECKS, *replayed, *of_ima)
    return Claims(
        tee=tee,
        hardware_id=ak.name,
        debug=None,
        tcb_status=None,
        measurements={**measurements},
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
            "ima_boot_aggregate": logs.boot_aggregate,
            **log_fields(logs.explained),
        },
        checks=(*checks, "challenge") if bound else checks,
        logs=logs.explained,
    )
