"""Proof of an Arm CCA token: CPAK → platform token → realm attestation key → realm token.

Both signatures can hold while the two tokens come from different machines; only the hash of the realm's key in the
platform token joins them.
"""

from functools import lru_cache
from typing import Final, NamedTuple

from msgspec import Struct

from attest_pipeline.verifiers._arm.anchor import load_anchor
from attest_pipeline.verifiers._arm.token import Platform, Realm, check_binding, read_tokens
from attest_pipeline.verifiers._shared.cose import check_signature
from attest_pipeline.verifiers.cca.abi import read_platform_token, read_realm_token, realm_key
from attest_pipeline.verifiers.cca.rmm2 import PlatformAdditions, RealmAdditions

CHECKS: Final = ("token-format", "platform-signature", "platform-lifecycle", "realm-key-binding", "realm-signature")


class EndorsedPlatform(Struct, frozen=True, eq=False):
    """A platform and what it rests on: SHA-256 of the CPAK's SubjectPublicKeyInfo, and of the document it came in.

    Proofs are remembered, and so one object for equal tokens under equal documents.
    """

    claims: Platform
    additions: PlatformAdditions | None
    signer: str
    cpak: str


class Proof(NamedTuple):
    """What the signatures prove."""

    platform: EndorsedPlatform
    challenge: bytes
    realm: Realm
    additions: RealmAdditions | None


def prove(collection: bytes, cpak: bytes) -> Proof:
    """Prove both tokens of the evidence under the endorsed CPAK (a JWK). Raises BadEvidence."""
    tokens = read_tokens(collection)
    platform = _prove_platform(tokens.required_platform(), cpak)
    token = read_realm_token(tokens.realm, platform.claims.profile)
    check_binding(platform.claims, token.claims)
    check_signature(token.message, realm_key(token), "realm token")
    return Proof(platform, token.challenge, token.claims, token.additions)


@lru_cache(maxsize=8192)
def _prove_platform(token: bytes, cpak: bytes) -> EndorsedPlatform:
    """Prove a platform token. A realm repeats it with every token until its key changes, so proofs are remembered."""
    message, claims, additions = read_platform_token(token)
    anchor = load_anchor(cpak)
    check_signature(message, anchor.key, "platform token")
    return EndorsedPlatform(claims, additions, anchor.signer, anchor.document)
