"""Tokens signed by SM2 (`SGD_SM3_SM2`): from a key of the `openssl` command to a Relying Party."""

import base64
import json
import threading
from dataclasses import dataclass
from pathlib import Path

import jwt
import openssl_lab
import pipeline_lab
import pytest
import token_lab as lab
from cryptography.hazmat.primitives.asymmetric import ec

from attest_pipeline import gm, jws, result
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.ear import TOKEN_TYPE, Status
from attest_pipeline.errors import Misconfigured
from attest_pipeline.jws import BadToken

P256 = FileSigner(ec.generate_private_key(ec.SECP256R1()))


@dataclass(frozen=True)
class Signing:
    """A key file, its signer and a token of it."""

    path: Path
    signer: FileSigner

    @property
    def jwk(self) -> dict[str, str]:
        return self.signer.public_jwk()

    @property
    def token(self) -> bytes:
        return jws.compact(b'{"a":1}', self.signer, TOKEN_TYPE)


@pytest.fixture(scope="module")
def sm2(tmp_path_factory: pytest.TempPathFactory) -> Signing:
    path = openssl_lab.make_key(tmp_path_factory.mktemp("sm2"))
    try:
        return Signing(path, FileSigner.load(path))
    except Misconfigured as error:
        pytest.skip(str(error))


def refused(token: bytes, *keys: dict[str, str]) -> str:
    with pytest.raises(BadToken) as caught:
        jws.check(token, keys, token_type=TOKEN_TYPE)
    return str(caught.value)


def test_a_token_verifies_under_its_key_among_others(sm2: Signing) -> None:
    assert jws.check(sm2.token, [P256.public_jwk(), sm2.jwk], token_type=TOKEN_TYPE) == b'{"a":1}'
    assert jwt.get_unverified_header(sm2.token) == {"alg": "SGD_SM3_SM2", "kid": sm2.signer.key_id, "typ": TOKEN_TYPE}


def test_the_jwk_is_the_public_half_and_nothing_else(sm2: Signing) -> None:
    public = openssl_lab.public_half(sm2.path)
    point = [jws.b64u(part).decode() for part in (public.point[:32], public.point[32:])]
    assert sm2.jwk == {
        "kty": "EC", "crv": "SM2", "x": point[0], "y": point[1],
        "kid": jws.thumbprint(sm2.jwk), "alg": "SGD_SM3_SM2", "use": "sig",
    }  # fmt: skip
    assert jws.jwk_of_spki(public.spki).items() <= sm2.jwk.items()


@pytest.mark.parametrize("size", [0, 1, 1044, 200_000])
def test_openssl_believes_the_signature_over_any_message(sm2: Signing, tmp_path: Path, size: int) -> None:
    message = b"m" * size
    signature = sm2.signer.sign(message)
    parts = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    assert openssl_lab.believes(tmp_path, openssl_lab.public_half(sm2.path), parts, message)


def test_a_token_that_openssl_signed_is_believed(sm2: Signing) -> None:
    message = jws.header_segment(jws.SM2, sm2.signer.key_id, TOKEN_TYPE) + b"." + jws.b64u(b"{}")
    r, s = openssl_lab.sign(sm2.path, message)
    token = message + b"." + jws.b64u(r.to_bytes(32) + s.to_bytes(32))
    assert jws.check(token, [sm2.jwk], token_type=TOKEN_TYPE) == b"{}"


def test_another_user_id_is_another_signer(sm2: Signing) -> None:
    message = jws.header_segment(jws.SM2, sm2.signer.key_id, TOKEN_TYPE) + b"." + jws.b64u(b"{}")
    r, s = openssl_lab.sign(sm2.path, message, b"ALICE123@YAHOO.COM")
    assert "verification failed" in refused(message + b"." + jws.b64u(r.to_bytes(32) + s.to_bytes(32)), sm2.jwk)


def test_no_nonce_comes_twice(sm2: Signing) -> None:
    assert len({sm2.signer.sign(b"message") for _ in range(50)}) == 50


def test_threads_may_share_a_key(sm2: Signing) -> None:
    signed: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: signed.extend(sm2.signer.sign(b"m") for _ in range(50))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    public = openssl_lab.public_half(sm2.path)
    assert len(signed) == 200
    assert all(public.verify_raw(one, b"m", gm.DEFAULT_USER_ID) for one in signed)


# ── what must not be believed ─────────────────────────────────────────────────────────────────────────────────────────
def test_no_flipped_bit_verifies(sm2: Signing) -> None:
    token = sm2.token
    for at in range(0, len(token), 3):
        refused(token[:at] + bytes([token[at] ^ 1 << at % 7]) + token[at + 1 :], sm2.jwk)


@pytest.mark.parametrize("size", [0, 32, 63, 65, 128])
def test_a_signature_of_another_size_is_refused(sm2: Signing, size: int) -> None:
    message, _, signature = sm2.token.rpartition(b".")
    raw = base64.urlsafe_b64decode(signature + b"==")
    refused(message + b"." + jws.b64u((raw + raw)[:size]), sm2.jwk)


def test_the_token_of_another_key_is_refused_under_this_kid(sm2: Signing, tmp_path: Path) -> None:
    other = FileSigner.load(openssl_lab.make_key(tmp_path))
    assert "verification failed" in refused(sm2.token, {**other.public_jwk(), "kid": sm2.signer.key_id})
    assert "no known key" in refused(sm2.token, other.public_jwk())


@pytest.mark.parametrize("algorithm", ["none", "ES256", "SM2", "sgd_sm3_sm2", "HS256", "", None])
def test_an_sm2_key_checks_no_token_of_another_algorithm(sm2: Signing, algorithm: str | None) -> None:
    head = {"alg": algorithm, "kid": sm2.signer.key_id, "typ": TOKEN_TYPE}
    message = jws.b64u(json.dumps(head).encode()) + b"." + jws.b64u(b"{}")
    refused(message + b"." + jws.b64u(sm2.signer.sign(message)), sm2.jwk)


def test_no_key_is_used_with_the_algorithm_of_another(sm2: Signing) -> None:
    of_p256 = jws.compact(b"{}", P256, TOKEN_TYPE)
    refused(of_p256, {**P256.public_jwk(), "alg": "SGD_SM3_SM2"})
    refused(of_p256, {**sm2.jwk, "kid": P256.key_id})
    refused(sm2.token, {**sm2.jwk, "alg": "ES256"})
    refused(sm2.token, {**P256.public_jwk(), "kid": sm2.signer.key_id})


def test_a_critical_extension_is_refused(sm2: Signing) -> None:
    head = {"alg": jws.SM2, "kid": sm2.signer.key_id, "typ": TOKEN_TYPE, "crit": ["x"], "x": 1}
    message = jws.b64u(json.dumps(head).encode()) + b"." + jws.b64u(b"{}")
    refused(message + b"." + jws.b64u(sm2.signer.sign(message)), sm2.jwk)


@pytest.mark.parametrize(
    "change",
    [
        {"x": ""}, {"x": "*"}, {"x": "é"}, {"x": "AAAA"}, {"kty": "OKP"}, {"crv": "P-256"},
        {"y": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
    ],
)  # fmt: skip
def test_a_broken_jwk_is_a_refusal_and_no_crash(sm2: Signing, change: dict[str, str]) -> None:
    assert "no SM2 key" in refused(sm2.token, {**sm2.jwk, **change})


def test_a_coordinate_has_one_spelling(sm2: Signing) -> None:
    longer = jws.b64u(b"\0" + int.from_bytes(openssl_lab.public_half(sm2.path).point[:32]).to_bytes(32)).decode()
    for other in (longer, sm2.jwk["x"] + "=", sm2.jwk["x"] + "\n"):
        assert "no SM2 key" in refused(sm2.token, {**sm2.jwk, "x": other})


# ── from Evidence to the Relying Party ────────────────────────────────────────────────────────────────────────────────
def test_a_result_of_the_pipeline_is_signed_and_checked(sm2: Signing) -> None:
    made = pipeline_lab.pipeline(pipeline_lab.ScriptedVerifier(), signer=sm2.signer)
    token = made.run(pipeline_lab.EVIDENCE, agent="node-1", now=lab.NOW)
    attested = result.check(token, [sm2.jwk], audience=lab.AUDIENCE, issuer=lab.ISSUER, now=lab.NOW)
    assert attested.status == Status.AFFIRMING
    with pytest.raises(BadToken):
        result.check(token, lab.KEYS, audience=lab.AUDIENCE, issuer=lab.ISSUER, now=lab.NOW)


def test_redelivered_evidence_gives_the_same_result_under_another_signature(sm2: Signing) -> None:
    made = pipeline_lab.pipeline(pipeline_lab.ScriptedVerifier(), signer=sm2.signer)
    first, second = (made.run(pipeline_lab.EVIDENCE, agent="node-1", now=lab.NOW).split(b".") for _ in range(2))
    assert first[:2] == second[:2]
    assert first[2] != second[2]


def test_an_attester_key_on_the_curve_is_confirmed_in_the_token(sm2: Signing) -> None:
    spki = openssl_lab.public_half(sm2.path).spki
    of = lab.context(attester_key=spki)
    token = result.issue(of, [lab.appraised()], lab.CONFIG, sm2.signer)
    attested = result.check(token, [sm2.jwk], audience=lab.AUDIENCE, issuer=lab.ISSUER, now=lab.NOW)
    assert attested.cnf == {"jwk": jws.jwk_of_spki(spki)}
