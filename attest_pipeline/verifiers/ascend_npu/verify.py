"""Proof of Ascend NPU Evidence: item `firmware_log`, and the items of the host that binds it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, EndorsementRef, Endorsements, Evidence
from attest_pipeline.verifiers._huawei import quoter, report_claims
from attest_pipeline.verifiers._huawei import roots as huawei_roots
from attest_pipeline.verifiers._huawei.report import Report, read_evidence
from attest_pipeline.verifiers._shared.eventlog.ima import read_ima
from attest_pipeline.verifiers._tpm import claims as machine_claims
from attest_pipeline.verifiers._tpm import machine
from attest_pipeline.verifiers._tpm import roots as tpm_roots
from attest_pipeline.verifiers._tpm.quote import CHALLENGE_BYTES
from attest_pipeline.verifiers.ascend_npu.claims import ITRUSTEE, TPM, explained_with_firmware, with_firmware

_ANY_PCR: Final = frozenset(range(24))
"""A report says nothing of PCRs: it does not matter which an entry names, or what a boot aggregate says of them."""


class AscendNpuVerifier:
    """Proves which firmware a host gave its NPUs, as far as the host's own Evidence binds that.

    Evidence: `firmware_log` (IMA log, binary or ASCII), and the items of the host, as its own verifier has them:
    `report` of iTrustee, whose nonce ends with the log's SHA-256 (secGear's envelope around report and log will do for
    both); or `attest`, `signature`, `pcrs` and what may come with them of a TPM, whose PCR 10 the log replays to.
    Endorsements and `trust_anchors` are those of the host. Nothing speaks for the NPU itself, which has no key.
    """

    tee = "ascend-npu"
    media_types = frozenset({"application/vnd.huawei.ascend-npu"})
    challenge_bytes = CHALLENGE_BYTES
    """What a TPM takes, and what is left of an iTrustee nonce."""

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        """Trust Huawei's and TPM manufacturers' roots, and the development anchors of vendors `huawei` and `tpm`."""
        self._huawei, self._tpm = huawei_roots.trusted_roots(trust_anchors), tpm_roots.trusted_roots(trust_anchors)

    def endorsements_for(self, evidence: Evidence) -> tuple[EndorsementRef, ...]:
        """Those of the host. Raises BadEvidence."""
        if _binding(evidence) == TPM:
            return machine.endorsement_refs(evidence)
        report, _ = _read_report(evidence)
        return quoter.endorsement_refs(report)

    def verify(
        self, evidence: Evidence, endorsements: Endorsements, *, challenge: bytes | None, now: datetime
    ) -> Claims:
        """Prove the host at `now`, then that it vouches for the list; `challenge` is as for the host's own verifier.

        Raises BadEvidence.
        """
        if _binding(evidence) == TPM:
            return self._on_tpm(evidence, endorsements, challenge, now)
        return self._on_itrustee(evidence, endorsements, challenge, now)

    def _on_itrustee(
        self, evidence: Evidence, endorsements: Endorsements, challenge: bytes | None, now: datetime
    ) -> Claims:
        report, log = _read_report(evidence)
        signer, bound = quoter.prove_report(report, log, endorsements, self._huawei, challenge, now)
        host = report_claims.make_claims(self.tee, report, signer, bound)
        replay, aggregate = read_ima(log, "sha256", _ANY_PCR)
        files = replay.events if aggregate is None else replay.events[1:]
        return with_firmware(host, files)

    def _on_tpm(self, evidence: Evidence, endorsements: Endorsements, challenge: bytes | None, now: datetime) -> Claims:
        log = evidence.items.get("firmware_log")
        if not log:
            raise _no_list()
        host = machine.prove_machine(evidence, log, endorsements, self._tpm, challenge, now)
        logs = explained_with_firmware(host.measured.logs)
        return machine_claims.make_claims(self.tee, host, logs, bound=challenge is not None)


def _binding(evidence: Evidence) -> str:
    """Which kind of host the Evidence is of, by the one item that each must have."""
    quote = "attest" in evidence.items
    if quote != ("report" in evidence.items):
        return TPM if quote else ITRUSTEE
    if quote:
        raise BadEvidence(Reason.MALFORMED, "a report of iTrustee and a quote of a TPM: which host?")
    raise BadEvidence(Reason.EMPTY, "neither a report of iTrustee nor a quote of a TPM")


def _read_report(evidence: Evidence) -> tuple[Report, bytes]:
    report, log = read_evidence(evidence.items["report"], evidence.items.get("firmware_log"))
    if not log:
        raise _no_list()
    return report, log


def _no_list() -> BadEvidence:
    """Without a list, what the host's verifier calls optional would bind no firmware, and pass."""
    return BadEvidence(Reason.EMPTY, "no firmware measurement list")
