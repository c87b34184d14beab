"""Arm: CCA and PSA tokens under the keys that their publishers name, derived and altered ones, bare claims, keys."""

import json
from datetime import UTC, datetime
from fnmatch import fnmatch

from cryptography.hazmat.primitives import serialization
from vectors.walk import Book, Outcome, differing, refused

from attest_pipeline import jws
from attest_pipeline.errors import BadEvidence
from attest_pipeline.model import Claims
from attest_pipeline.verifiers._arm.anchor import load_anchor
from attest_pipeline.verifiers._arm.token import read_platform, read_realm
from attest_pipeline.verifiers._shared import cbor
from attest_pipeline.verifiers._shared.eat import ClaimsSet

NOW = datetime(2026, 11, 23, tzinfo=UTC)
FVP = "rats/cca/cpak.json"
SERVICES = "rats/keys/services-cca-iak-ec.p256.jwk"
CCA_KEYS = {
    "evidence/cca/cca_legacy_02_es256.cbor": "evidence/roots/arm-test/cpak_ta02_p256.json",
    "evidence/cca/*.cbor": "evidence/roots/arm-test/cpak_tfa_p384.jwk.json",
    "rats/cca/cca-token-02.cbor": "rats/cca/ta-02-ok.json",
    "rats/cca/go-testRMMLegacyEvidence.cbor": "rats/keys/ccatoken-go-testRMMCPAK.jwk",
    "rats/cca/go-test*.cbor": "rats/keys/ccatoken-go-testIAK.jwk",
    "rats/cca/services-cca-good.cbor": SERVICES,
    "rats/cca/services-e2e-cca-evidence.cbor": "rats/keys/services-e2e-ec-p256.jwk",
    "rats/cca/tf-rmm-*.cbor": "rats/cca/tf-rmm-cca_platform.pub",
    "rats/cca/[!pr]*.cbor": FVP,
    "rats/cca/parsec-*.cbor": FVP,
    "rats/derived/cca-draft-*": FVP,
    "rats/derived/*.cbor": SERVICES,
    "secgear/cca/cca-token-01.cbor": "secgear/cca/cpak.json",
    "secgear/cca/*/*-02.cbor": "secgear/cca/rust-ccatoken_testdata/ta-02-ok.json",
    "secgear/cca/cca-token-02.cbor": "secgear/cca/rust-ccatoken_testdata/ta-02-ok.json",
    "secgear/cca/*/[!pr]*.cbor": "secgear/cca/rust-ccatoken_testdata/cpak.json",
}
"""Token → the key that its publisher says has signed it; the first pattern that matches."""
PSA_KEYS = {
    "rats/psa/psa-*.bin": "rats/psa/public.pem",
    "rats/psa/services-psa-profile1.cbor": "rats/keys/services-psa-profile1-key.pem",
    "rats/psa/services-*.c*": "rats/keys/services-psa-ec.p256.jwk",
    "evidence/negative/cca/[!r]*.cbor": "rats/psa/public.pem",
}
RECORDED = {
    "profile": "cca-platform-profile",
    "realm_profile": "cca-realm-profile",
    "lifecycle": "cca-platform-lifecycle",
    "impl_id": "cca-platform-implementation-id",
    "inst_id": "cca-platform-instance-id",
    "hash": "cca-realm-hash-algo-id",
}
"""Names in the recorded fields → canonical names."""
BARE = ("rats/cca/*-claims*.cbor", "secgear/cca/*/*-claims*.cbor", "evidence/negative/cca/realm-claims*.cbor")


def explain(book: Book) -> None:
    for path in book.corpus.paths:
        for tee, item, keys in (("cca", "cpak", CCA_KEYS), ("psa", "iak", PSA_KEYS)):
            key = next((key for pattern, key in keys.items() if fnmatch(path, pattern)), None)
            if key is not None and "claims" not in path:
                explain_token(book, tee, path, {item: key})
        if any(fnmatch(path, pattern) for pattern in BARE):
            explain_bare_claims(book, path)
    for pattern in ("rats/keys/*", "*/cca/*/*.json", "*/cca/*.json", "evidence/negative/cca/*.json"):
        for path in book.corpus.glob(pattern):
            explain_key(book, path)


def explain_token(book: Book, tee: str, path: str, endorsed: dict[str, str]) -> None:
    """Prove a token under its publisher's key; what the evidence's index calls valid must hold, and nothing else."""
    ((item, key),) = endorsed.items()
    outcome = book.prove(tee, {"token": path}, {item: anchor(book, key)}, NOW)
    if path in book.corpus.index:
        assert isinstance(outcome, Claims) == book.corpus.index[path]["expected"].startswith("VALID"), (path, outcome)
    recorded = path.replace(".cbor", ".expect.json")
    if recorded != path and recorded in book.corpus.paths:
        expected = {RECORDED[name]: value for name, value in book.corpus.json(recorded).items() if name in RECORDED}
        assert isinstance(outcome, BadEvidence) or not differing(expected, outcome), path
        book.note(recorded, Outcome.EXPECTATION, tee, f"of {path}")
    if isinstance(outcome, BadEvidence):
        book.note(path, Outcome.REJECTED, tee, outcome.reason)
    else:
        book.note(key, Outcome.ENDORSEMENT, tee, f"of {path}")


def anchor(book: Book, path: str) -> bytes:
    """The JWK of a key, whatever form its publisher gave it."""
    data = book.corpus.read(path)
    if not data.startswith(b"-----"):
        document = json.loads(data)
        return json.dumps(document[0]["pkey"]).encode() if isinstance(document, list) else data
    private = b"PRIVATE" in data
    public = (
        serialization.load_pem_private_key(data, None).public_key()
        if private
        else serialization.load_pem_public_key(data)
    )
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return json.dumps(dict(jws.jwk_of_spki(spki))).encode()


def explain_bare_claims(book: Book, path: str) -> None:
    """Claims without a signature are no token; the reader of claims takes them, or says what is missing."""
    refused(book.prove("cca", {"token": path}, {"cpak": anchor(book, FVP)}, NOW))
    try:
        claims = ClaimsSet(cbor.decode(book.corpus.read(path)), path)
        if 44237 in claims:
            read_realm(claims, key_sizes=range(1, 257))
        else:
            read_platform(claims)
    except BadEvidence as error:
        book.note(path, Outcome.REJECTED, "_arm.token", error.reason)
    else:
        book.note(path, Outcome.PARSED, "_arm.token", "claims without a signature")


def explain_key(book: Book, path: str) -> None:
    """A key that signed no token here is loaded, or refused, as an endorsement would be."""
    document = anchor(book, path)
    try:
        load_anchor(document)
    except BadEvidence as error:
        if b'"kty"' in document:
            book.note(path, Outcome.REJECTED, "_arm.anchor", error.reason)
    else:
        book.note(path, Outcome.ENDORSEMENT, "_arm.anchor", "a key of no token here")
