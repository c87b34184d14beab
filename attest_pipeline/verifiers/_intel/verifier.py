"""What the verifiers of Intel TEEs do alike: name the collateral they need, and prove a quote under it."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import EndorsementKind, EndorsementRef, Endorsements, Evidence, FieldValue
from attest_pipeline.verifiers._intel.abi import BodyType, Quote, State, parse_certification, parse_quote
from attest_pipeline.verifiers._intel.pck import load_pck
from attest_pipeline.verifiers._intel.quote import Proof, prove_quote
from attest_pipeline.verifiers._intel.roots import trusted_roots
from attest_pipeline.verifiers._intel.tcb import Svns, Verdict, judge_tcb

COLLATERAL: Final = "collateral"


class DcapVerifier:
    """Base of the verifiers of DCAP quotes.

    `trust_anchors` may name further root keys under `intel` (development only). Collateral whose TCB evaluation data
    number is below `minimum_evaluation` is refused.
    """

    tee: str

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]], *, minimum_evaluation: int = 0) -> None:
        self._roots = trusted_roots(trust_anchors)
        self._minimum = minimum_evaluation

    def endorsements_for(self, evidence: Evidence) -> tuple[EndorsementRef, ...]:
        """The collateral of the platform that the (unproven) PCK certificate names. Raises BadEvidence."""
        return _named(self._quote(evidence).state)

    def _quote(self, evidence: Evidence) -> Quote:
        return parse_quote(evidence.items.get("quote", b""))

    def _prove(self, quote: Quote, endorsements: Endorsements, now: datetime) -> Proof:
        document = endorsements.one(COLLATERAL)
        if document is None:
            raise BadEvidence(Reason.MISSING_ENDORSEMENT, "no DCAP collateral for this platform")
        return prove_quote(quote, document, self._roots, now=now, minimum=self._minimum)


@lru_cache(maxsize=2048)
def _named(state: State) -> tuple[EndorsementRef, ...]:
    """Reference to the collateral that an unproven certification asks for."""
    pck = load_pck(parse_certification(state.certification, state.version).pck_chain)
    key = f"{'sgx' if state.body_type is BodyType.SGX else 'tdx'}/{pck.platform.fmspc.hex()}/{pck.authority}"
    return (EndorsementRef(item=COLLATERAL, kind=EndorsementKind.INTEL_DCAP, key=key),)


def check_challenge(report_data: bytes, challenge: bytes | None) -> bool:
    """Whether report_data carries the challenge, all 64 bytes; None binds nothing.

    Raises BadEvidence(CHALLENGE_MISMATCH).
    """
    if challenge is not None and report_data != challenge:
        raise BadEvidence(Reason.CHALLENGE_MISMATCH, "report_data is not the challenge")
    return challenge is not None


@lru_cache(maxsize=8192)
def judge_platform(proof: Proof, tdx: bytes | None = None, tdx_loaded: bytes | None = None) -> Verdict:
    """TCB of the proven platform, with a TD's own SVNs if there is one. Raises BadEvidence(TCB_NOT_FOUND)."""
    platform = proof.attestation.pck.platform
    svns = Svns(platform.components, platform.pcesvn, proof.attestation.qe.isvsvn, tdx, tdx_loaded)
    return judge_tcb(proof.collateral.tcb_info, proof.collateral.qe_identity, svns)


def platform_fields(proof: Proof, verdict: Verdict) -> dict[str, FieldValue]:
    """Claims about the platform and its TCB that TDX and SGX share; `advisories` are joined by commas."""
    platform, collateral = proof.attestation.pck.platform, proof.collateral
    return {
        "quote_version": proof.state.version,
        "fmspc": platform.fmspc.hex(),
        "ppid": platform.ppid.hex(),
        "pceid": platform.pceid.hex(),
        "pcesvn": platform.pcesvn,
        "sgx_tcb_components": platform.components.hex(),
        "sgx_type": platform.sgx_type,
        "pck_authority": proof.attestation.pck.authority,
        "dynamic_platform": platform.dynamic_platform,
        "cached_keys": platform.cached_keys,
        "smt_enabled": platform.smt_enabled,
        "platform_tcb_status": verdict.platform.value,
        "qe_tcb_status": verdict.qe.value,
        "tcb_date": verdict.tcb_date,
        "advisories": ",".join(verdict.advisories),
        "tcb_evaluation_data_number": collateral.tcb_info.tcb_evaluation_data_number,
    }
