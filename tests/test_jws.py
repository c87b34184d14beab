"""Signatures under the rules of RFC 8725: who may be believed is the caller's choice, never the token's."""

import hashlib
import hmac
import json

import pytest
import token_lab as lab
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from token_lab import KEYS, SIGNER

from attest_pipeline import jws
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.ear import TOKEN_TYPE
from attest_pipeline.jws import BadToken

TOKEN = lab.signed({"a": 1})


def spki(public: object) -> bytes:
    return public.public_bytes(  # type: ignore[attr-defined,no-any-return]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def refused(token: bytes, keys: list[dict[str, str]] = KEYS) -> str:
    with pytest.raises(BadToken) as caught:
        jws.check(token, keys, token_type=TOKEN_TYPE)
    return str(caught.value)


def test_a_token_of_a_known_key_gives_its_payload() -> None:
    assert json.loads(jws.check(TOKEN, KEYS, token_type=TOKEN_TYPE)) == {"a": 1}


@pytest.mark.parametrize(
    "private",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["ES256", "ES384", "EdDSA", "PS256"],
)
def test_every_admitted_algorithm_signs_and_verifies(
    private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey,
) -> None:
    signer = FileSigner(private)
    token = jws.compact(b"{}", signer, TOKEN_TYPE)
    assert jws.check(token, [SIGNER.public_jwk(), signer.public_jwk()], token_type=TOKEN_TYPE) == b"{}"


def test_equal_payloads_give_equal_tokens() -> None:
    assert lab.signed({"a": 1}) == TOKEN


@pytest.mark.parametrize("algorithm", ["none", "None", "", "HS256", "RS256", "ES384", "ES256K", "SGD_SM3_SM2"])
def test_the_tokens_own_algorithm_decides_nothing(algorithm: str) -> None:
    refused(lab.with_header(TOKEN, {**lab.header(TOKEN), "alg": algorithm}))


def test_alg_none_with_an_empty_signature_is_refused() -> None:
    refused(lab.with_header(TOKEN, {**lab.header(TOKEN), "alg": "none"}, b""))


@pytest.mark.parametrize("secret", ["pem", "spki", "jwk"])
def test_the_public_key_is_no_hmac_secret(secret: str) -> None:
    public = ec.derive_private_key(20261123, ec.SECP256R1()).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    key = {"pem": pem, "spki": spki(public), "jwk": json.dumps(KEYS[0]).encode()}[secret]
    unsigned = lab.with_header(TOKEN, {**lab.header(TOKEN), "alg": "HS256"}).rpartition(b".")[0]
    refused(unsigned + b"." + jws.b64u(hmac.digest(key, unsigned, hashlib.sha256)))


def test_an_unknown_kid_is_refused_even_if_the_signature_is_good() -> None:
    assert "no known key" in refused(TOKEN, [{**KEYS[0], "kid": "another"}])


@pytest.mark.parametrize("kid", [None, 7, "x" * 129, ["a"]])
def test_a_kid_that_cannot_be_one_is_refused(kid: object) -> None:
    refused(lab.with_header(TOKEN, {**lab.header(TOKEN), "kid": kid}))


def test_a_header_without_kid_is_refused() -> None:
    assert "kid" in refused(lab.with_header(TOKEN, {"alg": "ES256", "typ": TOKEN_TYPE}))


@pytest.mark.parametrize("token_type", [None, "JWT", "att-epoch+jwt", "EAT+JWT"])
def test_another_typ_is_another_kind_of_token(token_type: str | None) -> None:
    assert "typ" in refused(lab.with_header(TOKEN, {**lab.header(TOKEN), "typ": token_type}))


def test_a_refusal_repeats_little_of_the_token() -> None:
    assert len(refused(lab.with_header(TOKEN, {**lab.header(TOKEN), "typ": "x" * 10_000}))) <= 200


@pytest.mark.parametrize("member", ["jwk", "jku", "x5u", "x5c"])
def test_keys_and_urls_inside_the_token_are_never_used(member: str) -> None:
    forger = FileSigner(ec.generate_private_key(ec.SECP256R1()))
    value = {"jwk": forger.public_jwk(), "x5c": ["MIIB"]}.get(member, "https://evil.example/jwks.json")
    head = {"alg": "ES256", "typ": TOKEN_TYPE, "kid": KEYS[0]["kid"], member: value}
    message = jws.b64u(json.dumps(head).encode()) + b"." + jws.b64u(b"{}")
    refused(message + b"." + jws.b64u(forger.sign(message)))


def test_a_critical_extension_nobody_knows_is_refused() -> None:
    head = {"alg": "ES256", "typ": TOKEN_TYPE, "kid": KEYS[0]["kid"], "crit": ["x"], "x": 1}
    message = jws.b64u(json.dumps(head).encode()) + b"." + jws.b64u(b"{}")
    refused(message + b"." + jws.b64u(SIGNER.sign(message)))


@pytest.mark.parametrize("segment", [0, 1, 2])
def test_any_changed_segment_is_refused(segment: int) -> None:
    parts = TOKEN.split(b".")
    parts[segment] = (b"A" if parts[segment][:1] != b"A" else b"B") + parts[segment][1:]
    refused(b".".join(parts))


@pytest.mark.parametrize("algorithm", ["HS256", "none", "RS256", None])
def test_a_jwk_of_an_algorithm_that_is_not_admitted_checks_nothing(algorithm: str | None) -> None:
    key = {name: value for name, value in {**KEYS[0], "alg": algorithm}.items() if value is not None}
    refused(TOKEN, [key])


@pytest.mark.parametrize(
    "broken",
    [
        {"alg": "ES256"}, {"alg": "ES256", "kty": "EC"}, {"alg": "ES256", "kty": "oct", "k": "AAAA"},
        {**KEYS[0], "x": "AA"}, {**KEYS[0], "alg": "EdDSA"}, {**KEYS[0], "crv": "P-999"}, {**KEYS[0], "crv": "SM2"},
        {**KEYS[0], "alg": "SGD_SM3_SM2"},
    ],
)  # fmt: skip
def test_a_broken_jwk_is_a_refusal_and_no_crash(broken: dict[str, str]) -> None:
    refused(TOKEN, [{**broken, "kid": KEYS[0]["kid"]}])


@pytest.mark.parametrize("text", [b"", b"a", b"a.b.c", b"..", b"\xff\xfe.\x00.x", b"e30.e30.e30", b"bnVsbA.e30.e30"])
def test_what_is_no_jws_is_refused(text: bytes) -> None:
    refused(text)


def test_a_token_beyond_the_limit_is_not_looked_at() -> None:
    assert "bytes" in refused(b"a" * (jws.MAX_TOKEN + 1))


def test_a_thumbprint_is_that_of_rfc_7638() -> None:
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCi"
        "FV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb"
        "9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls"
        "1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    jwk = {"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    assert jws.thumbprint(jwk) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize(
    ("public", "kind"),
    [
        (ec.generate_private_key(ec.SECP384R1()).public_key(), "EC"),
        (rsa.generate_private_key(65537, 2048).public_key(), "RSA"),
        (ed25519.Ed25519PrivateKey.generate().public_key(), "OKP"),
    ],
)
def test_a_public_key_becomes_a_jwk_that_names_its_kind(public: object, kind: str) -> None:
    jwk = jws.jwk_of_spki(spki(public))
    assert jwk["kty"] == kind
    assert "d" not in jwk


def test_a_key_without_a_jose_name_has_no_jwk() -> None:
    public = ec.generate_private_key(ec.BrainpoolP256R1()).public_key()
    with pytest.raises(ValueError, match="no JWK"):
        jws.jwk_of_spki(spki(public))
