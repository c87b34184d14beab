"""Proof of a machine by its TPM: the endorsed AK, its quote over the PCRs, and the logs that explain these.

Items of the Evidence: `attest`, `signature`, `pcrs`, and if given `event_log`, `ak_cert`, `ak_public`.
"""

from datetime import datetime
from functools import lru_cache
from typing import Final

from msgspec import Struct

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import EndorsementKind, EndorsementRef, Endorsements, Evidence
from attest_pipeline.verifiers._shared.recurring import Latest
from attest_pipeline.verifiers._tpm.abi import Quote, Registers, Scheme, parse_quote, parse_signature
from attest_pipeline.verifiers._tpm.ak import Ak, endorsed_ak, key_name
from attest_pipeline.verifiers._tpm.logs import Explained, check_logs
from attest_pipeline.verifiers._tpm.quote import Pcrs, check_pcrs, prove_quote, read_pcrs


class Measured(Struct, frozen=True, eq=False):
    """PCR values that are the quoted ones, and the logs that replay to them; one object for all machines that say so.

    They last until a machine measures something new.
    """

    pcrs: Pcrs
    logs: Explained


class Machine(Struct, frozen=True):
    """A proven quote, how it was signed and by which AK, and what was measured."""

    quote: Quote
    scheme: Scheme
    ak: Ak
    measured: Measured


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
    signature = parse_signature(items.get("signature", b""))
    ak = endorsed_ak(endorsements, items.get("ak_cert"), roots, now)
    public = items.get("ak_public")  # by itself it proves nothing
    if public is not None and key_name(public) != ak.name:
        raise BadEvidence(Reason.IDENTITY_MISMATCH, "ak_public is not the endorsed AK")
    quote, scheme = prove_quote(items.get("attest", b""), signature, ak.key, challenge), signature.scheme
    state, given = quote.state, (items.get("pcrs", b""), items.get("event_log"), ima_log)
    return Machine(quote, scheme, ak, _measured(state, state.registers, scheme.hash_name, *given))


def _measure(registers: Registers, digest_name: str, pcrs: bytes, tcg2: bytes | None, ima: bytes | None) -> Measured:
    values = read_pcrs(pcrs)
    check_pcrs(registers, values, digest_name)
    return Measured(values, check_logs(registers.bank, values, tcg2, ima))


_measured: Final = Latest(_measure)
