"""Proof of Hygon CSV Evidence: HRK → HSK → CEK → PEK → report, every signature SM2 with SM3.

Hygon's certificates have no dates and no CRL, so nothing here depends on the time. Version 1 of the report masks its
fields with `anonce`, which no signature covers: whoever passes a report on can shift all unmasked fields by one
four-byte pattern. A measurement that is a Reference Value pins the pattern, and with it the other fields.
"""

import hashlib
from functools import lru_cache
from typing import Final, NamedTuple

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.gm import Sm2Key
from attest_pipeline.model import Endorsements, EventLog, Evidence, LogName
from attest_pipeline.verifiers._shared.eventlog.replay import explain
from attest_pipeline.verifiers._shared.eventlog.tcg2 import read_tcg2
from attest_pipeline.verifiers.csv import abi
from attest_pipeline.verifiers.csv.abi import Certificate, Report
from attest_pipeline.verifiers.csv.roots import USER_ID

CHECKS: Final = ("hsk-signature", "cek-signature", "pek-signature", "report-signature")


class Chain(NamedTuple):
    """A PEK under a pinned root: the key that signs reports, its user id, and SHA-256 names of chip and signer."""

    key: Sm2Key
    user_id: bytes
    chip: str
    signer: str
    documents: dict[str, str]


def find_hsk_cek(evidence: Evidence, endorsements: Endorsements) -> bytes:
    """Certificates of HSK and CEK: endorsed, or else brought by the Evidence. Raises BadEvidence."""
    endorsed = endorsements.items.get("hsk_cek", ())
    if len(endorsed) > 1:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"{len(endorsed)} documents for hsk_cek")
    found = endorsed[0] if endorsed else evidence.items.get("hsk_cek")
    if found is None:
        raise BadEvidence(Reason.MISSING_ENDORSEMENT, "no certificates of HSK and CEK for this chip")
    if len(found) != abi.CA_CERT + abi.CSV_CERT:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"certificates of HSK and CEK in {len(found)} bytes")
    return found


@lru_cache(maxsize=8192)
def prove_chain(hsk_cek: bytes, pek: bytes, roots: tuple[Sm2Key, ...]) -> Chain:
    """PEK proven up to a pinned root; remembered by content. Raises BadEvidence(BAD_SIGNATURE | BAD_CHAIN | …)."""
    cek, signer = prove_chip(hsk_cek, roots), abi.read_csv(pek)
    _require_kind(signer, abi.PEK, "PEK")
    if not _is_signed_by(signer, cek.key, cek.user_id, abi.CEK):
        raise BadEvidence(Reason.BAD_SIGNATURE, "PEK certificate is not signed by the CEK of this chip")
    documents = {"hsk_cek": hashlib.sha256(hsk_cek).hexdigest()}
    return Chain(signer.key, signer.user_id, _name(cek.key), _name(signer.key), documents)


@lru_cache(maxsize=8192)
def prove_chip(hsk_cek: bytes, roots: tuple[Sm2Key, ...]) -> Certificate:
    """CEK proven up to a pinned root. Raises BadEvidence(BAD_SIGNATURE | BAD_CHAIN | …)."""
    hsk, cek = abi.read_ca(hsk_cek[: abi.CA_CERT]), abi.read_csv(hsk_cek[abi.CA_CERT :])
    _require_kind(hsk, abi.HSK, "HSK")
    _require_kind(cek, abi.CEK, "CEK")
    if not any(_is_signed_by(hsk, root, USER_ID, abi.HRK) for root in roots):
        raise BadEvidence(Reason.BAD_SIGNATURE, "HSK certificate is not signed by a trusted HRK")
    if not _is_signed_by(cek, hsk.key, hsk.user_id, abi.HSK):
        raise BadEvidence(Reason.BAD_SIGNATURE, "CEK certificate is not signed by the HSK")
    return cek


def _require_kind(certificate: Certificate, usage: int, name: str) -> None:
    if certificate.usage != usage:
        raise BadEvidence(Reason.BAD_CHAIN, f"certificate in the place of the {name} is of another kind")


def _is_signed_by(certificate: Certificate, issuer: Sm2Key, user_id: bytes, usage: int) -> bool:
    return any(
        issuer.verify(signature.r, signature.s, certificate.signed, user_id)
        for signature in certificate.signatures
        if signature.usage == usage
    )


def _name(key: Sm2Key) -> str:
    return hashlib.sha256(key.spki).hexdigest()


def check_report(report: Report, chain: Chain, challenge: bytes | None) -> None:
    """Require the challenge, if there is one, and the PEK's signature.

    Raises BadEvidence(CHALLENGE_MISMATCH | BAD_SIGNATURE).
    """
    if challenge is not None and report.report_data != challenge:
        raise BadEvidence(Reason.CHALLENGE_MISMATCH, "report_data is not the challenge")
    if not chain.key.verify(report.signature.r, report.signature.s, report.signed, chain.user_id):
        raise BadEvidence(Reason.BAD_SIGNATURE, "report is not signed by its PEK")


def check_event_log(report: Report, log: bytes) -> EventLog:
    """What the log, whose register i is RTMR i, explains of RTMR 1 to 4. Version 1 has none.

    Source: confidential-containers/trustee, deps/verifier/src/csv/mod.rs. Raises BadEvidence(LOG_MISMATCH | MALFORMED |
    TOO_LARGE).
    """
    rtmrs = () if report.extension is None else report.extension.rtmrs[1:]
    return explain(LogName.CCEL, log, read_tcg2(log, "sm3"), dict(enumerate(rtmrs, 1)))
