"""Claims of proven CSV Evidence under canonical names."""

from typing import Final

from attest_pipeline.model import Claims, EventLog, FieldValue
from attest_pipeline.verifiers._shared.eventlog.replay import log_fields
from attest_pipeline.verifiers.csv.abi import Extension, Report
from attest_pipeline.verifiers.csv.verify import CHECKS, Chain

_POLICY_BITS: Final = {
    "nodbg": 0, "noks": 1, "es": 2, "nosend": 3, "domain": 4, "csv": 5, "csv3": 6, "asid_reuse": 7,
}  # fmt: skip
"""Bits of the guest policy (csv-rs, GuestPolicy): `nodbg` forbids debugging, `es` encrypts registers (CSV2)."""


def claims_of(report: Report, chain: Chain, logs: tuple[EventLog, ...], *, bound: bool) -> Claims:
    """Claims of the guest. The hardware is named by its CEK; the serial number in a report is signed by nobody."""
    measurements = {"measure": report.measure.hex(), **_registers(report.extension)}
    replayed = (f"event-log-rtmr{register}" for log in logs for register in log.registers)
    checks = (*CHECKS, *replayed)
    return Claims(
        tee="csv",
        hardware_id=chain.chip,
        debug=not report.policy & 1,
        tcb_status=None,
        measurements=measurements,
        signer=chain.signer,
        challenge_verified=bound,
        endorsements=dict(chain.documents),
        fields={**measurements, **_fields(report), **log_fields(logs)},
        checks=(*checks, "challenge") if bound else checks,
        logs=logs,
    )


def _registers(extension: Extension | None) -> dict[str, str]:
    rtmrs = () if extension is None else extension.rtmrs
    return {f"rtmr{number}": value.hex() for number, value in enumerate(rtmrs)}


def _fields(report: Report) -> dict[str, FieldValue]:
    extension = report.extension
    return {
        "report_version": 1 if extension is None else 2,
        "report_data": report.report_data.hex(),
        "vm_id": report.vm_id.hex(),
        "vm_version": report.vm_version.hex(),
        "user_pubkey_digest": report.user_pubkey_digest.hex(),
        "policy": report.policy,
        **{f"policy_{name}": bool(report.policy >> bit & 1) for name, bit in _POLICY_BITS.items()},
        "build": None if extension is None else extension.build,
        "rtmr_version": None if extension is None else extension.rtmr_version,
    }
