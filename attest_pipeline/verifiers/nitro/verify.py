"""Proof of a Nitro Enclaves attestation document: AWS root → region → zone → instance → enclave → document."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from attest_pipeline.crypto import EcKey
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, EndorsementRef, Endorsements, Evidence
from attest_pipeline.verifiers._shared.cose import check_signature
from attest_pipeline.verifiers._shared.x509 import check_window, load_certificate, public_key, signed_path
from attest_pipeline.verifiers.nitro.abi import read_document
from attest_pipeline.verifiers.nitro.claims import make_claims
from attest_pipeline.verifiers.nitro.roots import trusted_roots


class Signer(NamedTuple):
    """An enclave's key proven to come from AWS; its window is judged on every call.

    `name` is the SHA-256 of the key's SubjectPublicKeyInfo in hexadecimal.
    """

    key: EcKey
    name: str
    not_before: datetime
    not_after: datetime


class NitroVerifier:
    """Proves the item `document`; it carries its whole chain, so nothing needs to be endorsed.

    The chain lives three hours and is judged at `now`, not at the document's own timestamp; whether that is near `now`
    is for policies to judge. `trust_anchors` may name further roots under `aws` (development only).
    """

    tee = "nitro"
    media_types = frozenset({"application/vnd.aws.nitro-enclaves.attestation+cose"})
    challenge_bytes = 64

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        self._roots = trusted_roots(trust_anchors)

    def endorsements_for(self, evidence: Evidence) -> tuple[EndorsementRef, ...]:  # noqa: ARG002 - the same for all
        """None: AWS publishes neither CRL nor reference values, and the chain is in the document."""
        return ()

    def verify(
        self,
        evidence: Evidence,
        endorsements: Endorsements,  # noqa: ARG002 - nothing is endorsed
        *,
        challenge: bytes | None,
        now: datetime,
    ) -> Claims:
        """Prove the document at `now`; `challenge` is its whole nonce. Raises BadEvidence."""
        message, document = read_document(evidence.items.get("document", b""))
        signer = prove_signer(document.enclave.certificate, document.enclave.cabundle, self._roots)
        check_window(signer.not_before, signer.not_after, now, "certificate chain")
        if challenge is not None and document.nonce != challenge:
            raise BadEvidence(Reason.CHALLENGE_MISMATCH, "nonce is not the challenge")
        check_signature(message, signer.key, "attestation document")
        return make_claims(document, signer.name, now, bound=challenge is not None)


@lru_cache(maxsize=8192)
def prove_signer(certificate: bytes, cabundle: tuple[bytes, ...], roots: frozenset[bytes]) -> Signer:
    """Certificate proven up to a pinned root through its bundle; remembered by content, as it signs for hours.

    Raises BadEvidence(BAD_SIGNATURE | BAD_CHAIN | UNTRUSTED_ROOT | MALFORMED).
    """
    path = signed_path(load_certificate(certificate), tuple(map(load_certificate, cabundle)), roots)
    key = public_key(path.leaf)
    if not isinstance(key, EcKey) or key.curve != "P-384":
        raise BadEvidence(Reason.BAD_CHAIN, "certificate of the document holds no P-384 key")
    return Signer(key, hashlib.sha256(key.spki).hexdigest(), path.not_before, path.not_after)
