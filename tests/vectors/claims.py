"""Claims sets that Veraison and rust-ccatoken publish as JSON, valid and not: encoded, signed here, read as tokens."""

import base64
from collections.abc import Callable, Mapping

import cbor2
from vectors.walk import Book, Outcome

from attest_pipeline.errors import BadEvidence
from attest_pipeline.simulator import arm_token
from attest_pipeline.verifiers.cca.abi import read_platform_token, read_realm_token, realm_key
from attest_pipeline.verifiers.psa.abi import read_token

PLATFORM = {
    "cca-platform-profile": 265, "cca-platform-challenge": 10, "cca-platform-implementation-id": 2396,
    "cca-platform-instance-id": 256, "cca-platform-config": 2401, "cca-platform-lifecycle": 2395,
    "cca-platform-sw-components": 2399, "cca-platform-service-indicator": 2400, "cca-platform-hash-algo-id": 2402,
}  # fmt: skip
REALM = {
    "cca-realm-challenge": 10, "cca-realm-personalization-value": 44235, "cca-realm-initial-measurement": 44238,
    "cca-realm-extensible-measurements": 44239, "cca-realm-hash-algo-id": 44236, "cca-realm-public-key": 44237,
    "cca-realm-public-key-hash-algo-id": 44240,
}  # fmt: skip
PSA_2 = {
    "eat-profile": 265, "psa-client-id": 2394, "psa-security-lifecycle": 2395, "psa-implementation-id": 2396,
    "psa-boot-seed": 2397, "psa-certification-reference": 2398, "psa-software-components": 2399, "psa-nonce": 10,
    "psa-instance-id": 256, "psa-verification-service-indicator": 2400,
}  # fmt: skip
PSA_LEGACY = {
    "psa-profile": -75000, "psa-client-id": -75001, "psa-security-lifecycle": -75002, "psa-implementation-id": -75003,
    "psa-boot-seed": -75004, "psa-certification-reference": -75005, "psa-software-components": -75006,
    "psa-no-software-measurements": -75007, "psa-nonce": -75008, "psa-instance-id": -75009,
    "psa-verification-service-indicator": -75010,
}  # fmt: skip
COMPONENT = {"measurement-type": 1, "measurement-value": 2, "version": 4, "signer-id": 5}
TEXTS = ("profile", "algo-id", "indicator", "reference", "measurement-type", "version")
KEY = arm_token.P384Key()
Reader = Callable[[bytes], object]


def read_realm(token: bytes) -> object:
    """A realm token of the legacy profile, and its key."""
    return realm_key(read_realm_token(token, platform_profile=""))


ROOMS: dict[str, tuple[tuple[str, Mapping[str, int], Reader], ...]] = {
    "evidence/negative/cca/ccatoken-platform-json/*.json": (("cca.abi", PLATFORM, read_platform_token),),
    "evidence/negative/cca/ccatoken-realm-json/*.json": (("cca.abi", REALM, read_realm),),
    "rats/claims/cca-platform/*.json": (("cca.abi", PLATFORM, read_platform_token),),
    "rats/claims/cca-realm/*.json": (("cca.abi", REALM, read_realm),),
    "rats/claims/psa/*.json": (("psa.abi 2.0.0", PSA_2, read_token), ("psa.abi legacy", PSA_LEGACY, read_token)),
}
"""Folder → the formats that its claims may be in; the first label of a format is its profile's."""


def explain(book: Book) -> None:
    for room, formats in ROOMS.items():
        for path in book.corpus.glob(room):
            claims = book.corpus.json(path)
            named = [one for one in formats if next(iter(one[1])) in claims] or [formats[-1]]
            explain_claims(book, path, {reader: verdict(claims, labels, read) for reader, labels, read in named})


def explain_claims(book: Book, path: str, verdicts: Mapping[str, str]) -> None:
    """A file is parsed if its claims are well-formed in one of the formats that it names."""
    outcome = Outcome.PARSED if "well-formed" in verdicts.values() else Outcome.REJECTED
    book.note(path, outcome, ", ".join(verdicts), ", ".join(verdicts.values()))


def verdict(claims: Mapping[str, object], labels: Mapping[str, int], read: Reader) -> str:
    """What the reader says of a token with those claims; what the format has no label for is left out."""
    try:
        encoded = {labels[name]: encode(name, value) for name, value in claims.items() if name in labels}
    except ValueError:
        return "no base64"
    try:
        read(arm_token.sign1(KEY, cbor2.dumps(encoded)))
    except BadEvidence as error:
        return error.reason
    return "well-formed"


def encode(name: str, value: object) -> object:
    """The value as the token has it: bytes out of base64 where no text is meant. Raises ValueError."""
    if isinstance(value, list):
        return [encode(name, one) for one in value]
    if isinstance(value, Mapping):
        return {COMPONENT[key]: encode(key, one) for key, one in value.items() if key in COMPONENT}
    if isinstance(value, str) and not name.endswith(TEXTS):
        return base64.b64decode(value, validate=True)
    return value
