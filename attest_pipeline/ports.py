"""What the library needs from outside, as small Protocols. Adapters implement them; the core never imports one."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from attest_pipeline.model import Claims, EndorsementRef, Endorsements, Evidence, Policy


class Verifier(Protocol):
    """Proves one kind of Evidence. Raises BadEvidence, and nothing else, for anything the Attester controls.

    A plugin is a class registered under the entry point group `attest_pipeline.verifiers`, constructed with the
    development trust anchors of its host: vendor name → DER SubjectPublicKeyInfo keys (empty in production).
    """

    tee: str
    media_types: frozenset[str]

    def endorsements_for(self, evidence: Evidence) -> tuple[EndorsementRef, ...]:
        """Endorsements this Evidence needs. Reads unproven bytes, so it returns closed references only."""
        ...

    def verify(
        self, evidence: Evidence, endorsements: Endorsements, *, challenge: bytes | None, now: datetime
    ) -> Claims:
        """Prove the Evidence at `now`. `challenge` is the whole field that must carry it; None binds nothing."""
        ...


class EndorsementSource(Protocol):
    """Finds Endorsements by reference."""

    def find(self, ref: EndorsementRef) -> tuple[bytes, ...]:
        """Documents for that reference; empty if there is none. Raises Unavailable if the answer is not known yet."""
        ...


class PolicyEngine(Protocol):
    """Evaluates Rego."""

    def evaluate(self, policy: Policy, view: Mapping[str, object]) -> object:
        """The policy's `appraisal` document for that input view; None if undefined. Raises PolicyFailed."""
        ...


class Signer(Protocol):
    """Holds one private key for Attestation Results."""

    algorithm: str
    key_id: str

    def sign(self, message: bytes) -> bytes:
        """Raw JWS signature (r||s for ECDSA) over the message. Equal messages give equal signatures."""
        ...

    def public_jwk(self) -> dict[str, str]:
        """The public key as a JWK with `kid`, `alg` and `use`."""
        ...
