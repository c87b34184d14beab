"""Proof of a machine by its TPM: the endorsed AK, its quote over the PCRs, and the logs that explain these.

Items of the Evidence: `attest`, `signature`, `pcrs`, and if given `event_log`, `ak_cert`, `ak_public`.
"""

from datetime import datetime
from functools import lru_cache

from msgspec import Struct

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import EndorsementKind, EndorsementRef, Endorsements, Evidence
from attest_pipeline.verifiers._tpm.abi import parse_quote, parse_signature
from attest_pipeline.verifiers._tpm.ak import Ak, endorsed_ak, key_name
from attest_pipeline.verifiers._tpm.logs import Explained, check_logs
from attest_pipeline.verifiers._tpm.quote import Proof, prove_quote, read_pcrs


class Machine(Struct, frozen=True):
    """A proven quote, the AK that signed it, and the logs that replay to its PCRs."""

    proof: Proof
    ak: Ak
    logs: Explained


def endorsement_refs(evidence: Evidence) -> tuple[EndorsementRef, ...]:
    """The AK, enrolled or certified, and the certificates of manufacturers' authorities with their CRL.

    The AK goes by the SHA-256 of its SubjectPublicKeyInfo if the Evidence brings it, else by the qualified name
    that the quote gives. Raises BadEvidence.
    """
    public = evidence.items.get("ak_public")
    if public is not None:
        return _named(key_name(public))
    return _qualified(parse_quote(evidence.items.get("attest", b"")).state.qualified_signer)


@lru_cache(maxsize=8192)
def _qualified(signer: bytes) -> tuple[EndorsementRef, ...]:
    return _named(signer.hex())


def _named(name: str) -> tuple[EndorsementRef, ...]:
    return (
        EndorsementRef(item="ak", kind=EndorsementKind.TPM_AK, key=name, required=False),
        EndorsementRef(item="ak_cert", kind=EndorsementKind.TPM_AK_CERT, key=name, required=False),
        EndorsementRef(item="ca", kind=EndorsementKind.TPM_CA, key="authorities", required=False),
        EndorsementRef(item="crl", kind=EndorsementKind.TPM_CA, key="crl", required=False),
    )


def prove_machine(
    evidence: Evidence,
    ima_log: bytes | None,
    endorsements: Endorsements,
    roots: frozenset[bytes],
    challenge: bytes | None,
    now: datetime,
) -> Machine:
    """Prove the quote at `now`; `challenge` is all of extraData, or None. Raises BadEvidence."""
    items = evidence.items
    pcrs = read_pcrs(items.get("pcrs", b""))
    signature = parse_signature(items.get("signature", b""))
    ak = endorsed_ak(endorsements, items.get("ak_cert"), roots, now)
    public = items.get("ak_public")  # by itself it proves nothing
    if public is not None and key_name(public) != ak.name:
        raise BadEvidence(Reason.IDENTITY_MISMATCH, "ak_public is not the endorsed AK")
    proof = prove_quote(items.get("attest", b""), signature, pcrs, ak.key, challenge)
    return Machine(proof, ak, check_logs(proof, items.get("event_log"), ima_log))
