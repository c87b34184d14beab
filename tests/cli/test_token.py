import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import openssl_lab
import pytest
from command import Attest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from token_lab import AUDIENCE, CONFIG, ISSUER, MISMATCHED, NONCE, SIGNER, appraised, context, signed, token

from attest_pipeline import jws, result
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.ear import TOKEN_TYPE
from attest_pipeline.model import Artefact, Match, Mismatch, Rejection

Issue = Callable[..., Path]


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_bytes(msgspec.json.encode({"keys": [SIGNER.public_jwk()]}))
    return path


@pytest.fixture
def issue(tmp_path: Path) -> Issue:
    """A file with a token about these artefacts, received `age` seconds ago."""

    def issued(*artefacts: Artefact, age: int = 0, key: bytes | None = None, fresh: bool = True) -> Path:
        of = context(received_at=int(time.time()) - age, nonce=NONCE, attester_key=key, fresh=fresh, replayed=not fresh)
        path = tmp_path / "token.jwt"
        path.write_bytes(token(*artefacts, of=of) + b"\n")
        return path

    return issued


def _verify(attest: Attest, given: object, jwks: Path, *more: str, stdin: bytes = b"") -> tuple[int, str, str]:
    asked = {"--audience": AUDIENCE, "--issuer": ISSUER} | dict(zip(more[::2], more[1::2], strict=True))
    options = [text for pair in asked.items() for text in pair]
    return attest("token", "verify", given, "--jwks", jwks, *options, stdin=stdin)


def test_an_affirming_token_ends_with_exit_code_0_and_its_reasons(attest: Attest, issue: Issue, jwks: Path) -> None:
    code, out, err = _verify(attest, issue(appraised()), jwks)
    assert (code, err) == (0, "")
    for word in (
        "node-1 is affirming",
        ISSUER,
        "web",
        "hardware_reason: in words",
        "signature, chain",
    ):
        assert word in out


def test_a_token_may_be_given_as_text_or_on_standard_input(attest: Attest, issue: Issue, jwks: Path) -> None:
    text = issue(appraised()).read_bytes()
    assert _verify(attest, text.decode().strip(), jwks)[0] == 0
    assert _verify(attest, "-", jwks, stdin=text)[0] == 0


def test_what_is_not_affirming_ends_with_exit_code_1_and_its_mismatches(
    attest: Attest, issue: Issue, jwks: Path
) -> None:
    code, out, _ = _verify(attest, issue(MISMATCHED), jwks)
    assert code == 1
    for word in ("node-1 is warning", "mismatch mrtd", "expected 11"):
        assert word in out


def test_a_token_signed_by_sm2_is_believed_under_its_own_key_alone(attest: Attest, tmp_path: Path, jwks: Path) -> None:
    signer = FileSigner.load(openssl_lab.make_key(tmp_path))
    of = context(received_at=int(time.time()))
    path = tmp_path / "token.jwt"
    path.write_bytes(result.issue(of, [appraised()], CONFIG, signer))
    assert _verify(attest, path, jwks)[0] != 0
    jwks.write_bytes(msgspec.json.encode({"keys": [SIGNER.public_jwk(), signer.public_jwk()]}))
    assert _verify(attest, path, jwks)[0] == 0


def test_an_event_that_is_on_no_allow_list_is_shown_as_such(attest: Attest, issue: Issue, jwks: Path) -> None:
    mismatches = (Mismatch("ima_event", (), "cc ima-ng /usr/bin/nc"),)
    match = Match(matched=False, set="web", version="1", mismatches=mismatches)
    _, out, _ = _verify(attest, issue(appraised({"executables": 33}, "warning", match=match)), jwks)
    for word in ("mismatch ima_event", "/usr/bin/nc", "not on the allow-list"):
        assert word in out


def test_a_rejection_shows_its_reason(attest: Attest, issue: Issue, jwks: Path) -> None:
    code, out, _ = _verify(attest, issue(Rejection("snp", "unbound", "no binding")), jwks)
    assert code == 1
    assert "contraindicated" in out
    assert "unbound: no binding" in out


def test_a_replay_and_an_attester_key_are_said(attest: Attest, issue: Issue, jwks: Path) -> None:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    _, out, _ = _verify(attest, issue(appraised(), key=spki, fresh=False), jwks)
    assert "replay" in out
    assert "must prove that it holds the key" in out


def test_json_is_the_payload(attest: Attest, issue: Issue, jwks: Path) -> None:
    code, out, _ = _verify(attest, issue(appraised()), jwks, "--output", "json")
    payload = msgspec.json.decode(out, type=result.AttestationResult)
    assert (code, payload.sub, payload.status) == (0, "node-1", "affirming")


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--audience", "bank", "meant for"),
        ("--issuer", "urn:other", "issued by"),
        ("--nonce", "00", "another challenge"),
    ],
)
def test_a_token_for_something_else_must_not_be_believed(
    attest: Attest, issue: Issue, jwks: Path, option: str, value: str, why: str
) -> None:
    code, out, err = _verify(attest, issue(appraised()), jwks, option, value)
    assert (code, out) == (1, "")
    assert "must not be believed" in err
    assert why in err


def test_the_nonce_is_compared(attest: Attest, issue: Issue, jwks: Path) -> None:
    assert _verify(attest, issue(appraised()), jwks, "--nonce", NONCE.hex())[0] == 0


def test_an_expired_a_forged_and_an_unknown_token_must_not_be_believed(
    attest: Attest, issue: Issue, jwks: Path
) -> None:
    other = FileSigner(ec.generate_private_key(ec.SECP256R1()))
    head, body, signature = issue(appraised()).read_bytes().strip().split(b".")
    bad = [
        issue(appraised(), age=4000).read_bytes().strip(),
        b".".join((head, body, (b"B" if signature[:1] == b"A" else b"A") + signature[1:])),
        jws.compact(b"{}", other, TOKEN_TYPE),
        signed({}),
        b"no token",
    ]
    for one in bad:
        code, out, err = _verify(attest, "-", jwks, stdin=one)
        assert (code, out) == (1, ""), one
        assert "must not be believed" in err


@pytest.mark.parametrize(("keys", "message"), [(b"{}", "keys"), (b"\xff", "jwks.json"), (None, "No such file")])
def test_unusable_keys_are_a_usage_error(
    attest: Attest, issue: Issue, tmp_path: Path, keys: bytes | None, message: str
) -> None:
    path = tmp_path / "jwks.json"
    if keys is not None:
        path.write_bytes(keys)
    code, _, err = _verify(attest, issue(appraised()), path)
    assert code == 2
    assert message in err


def test_a_token_that_is_not_there_is_a_usage_error(attest: Attest, jwks: Path) -> None:
    assert _verify(attest, "absent.jwt", jwks)[0] == 2


# ── without trust ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_decoding_says_that_nothing_was_checked(attest: Attest, issue: Issue) -> None:
    done = attest("token", "decode", issue(appraised()))
    assert done.code == 0
    assert "NOT VERIFIED" in done.err
    assert "node-1 is affirming (NOT VERIFIED)" in done.out


def test_decoded_json_says_that_nothing_was_checked(attest: Attest, issue: Issue) -> None:
    payload = attest("token", "decode", issue(appraised()), "--output", "json").json()
    assert payload["verified"] is False
    assert payload["payload"]["sub"] == "node-1"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (b"no token", "no JWT"),
        (signed({"sub": "x"}), "no Attestation Result"),
        (b"x" * (jws.MAX_TOKEN + 1), "a token of"),
    ],
    ids=["no JWT", "another JWT", "too large"],
)
def test_what_is_no_attestation_result_is_not_shown(attest: Attest, given: bytes, why: str) -> None:
    done = attest("token", "decode", "-", stdin=given)
    assert (done.code, done.out) == (1, "")
    assert why in done.err


def test_a_token_cannot_steer_the_terminal(attest: Attest, issue: Issue) -> None:
    done = attest("token", "decode", issue(Rejection("snp", "unbound", "\x1b]0;owned\x07[blink]")))
    assert "\x1b" not in done.out
    assert "\x07" not in done.out
    assert "[blink]" in done.out
