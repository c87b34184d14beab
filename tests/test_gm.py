"""SM2, SM3 and SM4 against known answers and against the `openssl` command."""

import os
from pathlib import Path

import openssl_lab
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest_pipeline import gm
from attest_pipeline.crypto import UnusableKey
from attest_pipeline.simulator.hygon_pki import Sm2Signer

UID = b"HYGON-SSD-PEK"
SIGNER = Sm2Signer.make(b"test")
KEY = SIGNER.public


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SM2 key of the `openssl` command."""
    return openssl_lab.make_key(tmp_path_factory.mktemp("sm2"))


# ── SM2 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("size", [0, 1, 180, 1044])
def test_a_signature_of_openssl_verifies_and_nothing_near_it_does(oracle: Path, size: int) -> None:
    message = os.urandom(size)
    key = openssl_lab.public_half(oracle)
    r, s = openssl_lab.sign(oracle, message, UID)

    assert key.verify(r, s, message, UID)
    assert key.verify_raw(r.to_bytes(32) + s.to_bytes(32), message, UID)
    assert not key.verify(r, s, message + b"\0", UID)
    assert not key.verify(r, s, message, UID + b"X")
    assert not key.verify(r, s, message, b"")
    assert not key.verify(r ^ 1, s, message, UID)
    assert not key.verify(r, s ^ 1, message, UID)
    assert not KEY.verify(r, s, message, UID)


def test_openssl_believes_a_signature_of_the_simulator(tmp_path: Path, oracle: Path) -> None:
    assert oracle
    signature = SIGNER.sign(b"message", gm.DEFAULT_USER_ID)
    assert openssl_lab.believes(tmp_path, KEY, signature, b"message")
    assert not openssl_lab.believes(tmp_path, KEY, signature, b"massage")


def test_the_example_of_the_standard_verifies() -> None:
    """GB/T 32918.5, annex A.2: signature over "message digest" with the default user id."""
    key = gm.load_point(
        0x09F9DF31_1E5421A1_50DD7D16_1E4BC5C6_72179FAD_1833FC07_6BB08FF3_56F35020,
        0xCCEA490C_E26775A5_2DC6EA71_8CC1AA60_0AED05FB_F35E084A_6632F607_2DA9AD13,
    )
    r = 0xF5A03B06_48D2C463_0EEAC513_E1BB81A1_5944DA38_27D5B741_43AC7EAC_EEE720B3
    s = 0xB1B6AA29_DF212FD8_763182BC_0D421CA1_BB9038FD_1F7F42D4_840B69C4_85BBC1AA
    assert key.digest(b"message digest", gm.DEFAULT_USER_ID).hex() == (
        "f0b43e94ba45accaace692ed534382eb17e6ab5a19ce7b31f4486fdfc0d28640"
    )
    assert key.verify(r, s, b"message digest", gm.DEFAULT_USER_ID)
    assert not key.verify(r, s, b"message digest", UID)


@pytest.mark.parametrize(
    ("r", "s"),
    [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, gm.ORDER - 1),
        (gm.ORDER, 1),
        (1, gm.ORDER),
        (1 << 256, 1),
        (1, 1 << 575),
        (-1, 1),
    ],
)
def test_a_signature_out_of_range_or_whose_sum_is_zero_is_refused(r: int, s: int) -> None:
    assert not KEY.verify(r, s, b"message", UID)


def test_a_signature_that_leads_to_infinity_is_refused() -> None:
    t = 12345
    s = -t * SIGNER.private % gm.ORDER
    assert not KEY.verify((t - s) % gm.ORDER, s, b"message", UID)


def test_adding_the_order_to_a_good_signature_makes_it_bad() -> None:
    r, s = SIGNER.sign(b"message", UID)
    assert KEY.verify(r, s, b"message", UID)
    assert not KEY.verify(r + gm.ORDER, s, b"message", UID)
    assert not KEY.verify(r, s + gm.ORDER, b"message", UID)


@pytest.mark.parametrize("size", [0, 1, 63, 65, 128])
def test_a_raw_signature_has_64_bytes(size: int) -> None:
    r, s = SIGNER.sign(b"message", UID)
    signature = (r.to_bytes(32) + s.to_bytes(32)).ljust(size, b"\0")[:size]
    assert not KEY.verify_raw(signature, b"message", UID)


@given(seed=st.binary(max_size=8), message=st.binary(max_size=64), user_id=st.binary(max_size=32))
@settings(max_examples=10, deadline=None)
def test_whatever_is_signed_verifies_under_its_key_alone(seed: bytes, message: bytes, user_id: bytes) -> None:
    signer = Sm2Signer.make(seed)
    r, s = signer.sign(message, user_id)
    assert signer.public.verify(r, s, message, user_id)
    assert not KEY.verify(r, s, message, user_id)


def test_multiples_of_the_base_point_agree_with_openssl(oracle: Path) -> None:
    text = openssl_lab.openssl("pkey", "-in", oracle, "-noout", "-text").decode()
    private = int("".join(text.split("priv:")[1].split("pub:")[0].split()).replace(":", ""), 16)
    key = openssl_lab.public_half(oracle)
    assert gm.load_point(*gm.multiply_base(private)) is key
    assert gm.multiply_base(gm.ORDER - private)[0] == gm.multiply_base(private)[0]


def test_an_opposite_point_adds_to_infinity() -> None:
    x, y = gm.multiply_base(7)
    assert gm._add((x, y, 1), (x, gm._P - y))[2] == 0


@pytest.mark.parametrize(
    ("x", "y"),
    [(0, 0), (1, 1), (gm._P, 0), (gm._G[0], gm._G[1] + gm._P), (-1, gm._G[1]), (gm._G[0], -gm._G[1]), (1 << 575, 5)],
)
def test_coordinates_off_the_curve_or_too_large_are_no_key(x: int, y: int) -> None:
    with pytest.raises(UnusableKey):
        gm.load_point(x, y)


def test_a_key_survives_its_encoding() -> None:
    assert gm.load_spki(KEY.spki).point == KEY.point


@pytest.mark.parametrize(
    "der",
    [
        b"",
        KEY.spki[:-1],
        KEY.spki + b"\0",
        KEY.spki[:-64] + bytes(64),
        b"\x31" + KEY.spki[1:],
        KEY.spki.replace(b"\x2a\x81\x1c", b"\x2a\x81\x1d"),
        KEY.point.ljust(len(KEY.spki), b"\0"),
    ],
)
def test_an_encoding_of_anything_else_is_no_key(der: bytes) -> None:
    with pytest.raises(UnusableKey):
        gm.load_spki(der)


def test_a_user_id_whose_bits_do_not_fit_is_refused() -> None:
    KEY.digest(b"", b"x" * 8191)
    with pytest.raises(ValueError, match="8192"):
        KEY.digest(b"", b"x" * 8192)


# ── SM3 and SM4 ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("message", "digest"),
    [
        (b"abc", "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
        (b"abcd" * 16, "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"),
    ],
)
def test_sm3_gives_the_examples_of_the_standard(message: bytes, digest: str) -> None:
    assert gm.sm3(message).hex() == digest


SM4_KEY = bytes.fromhex("0123456789abcdeffedcba9876543210")
SM4_NONCE = bytes.fromhex("00001234567800000000abcd")
SM4_ASSOCIATED = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
SM4_PLAINTEXT = b"".join(bytes((value,)) * 8 for value in (0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF, 0xEE, 0xAA))
SM4_SEALED = bytes.fromhex(
    "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735d82710ca5c22f0ccfa7cbf93d496ac15"
    "a56834cbcf98c397b4024a2691233b8d83de3541e4c2b58177e065a9bf7b62ec"
)


def test_sm4_gcm_gives_the_example_of_rfc_8998() -> None:
    assert gm.sm4_gcm_encrypt(SM4_KEY, SM4_NONCE, SM4_PLAINTEXT, SM4_ASSOCIATED) == SM4_SEALED
    assert gm.sm4_gcm_decrypt(SM4_KEY, SM4_NONCE, SM4_SEALED, SM4_ASSOCIATED) == SM4_PLAINTEXT


def test_sm4_gcm_notices_every_change() -> None:
    for position in range(len(SM4_SEALED)):
        altered = SM4_SEALED[:position] + bytes((SM4_SEALED[position] ^ 1,)) + SM4_SEALED[position + 1 :]
        assert gm.sm4_gcm_decrypt(SM4_KEY, SM4_NONCE, altered, SM4_ASSOCIATED) is None
    assert gm.sm4_gcm_decrypt(SM4_KEY, SM4_NONCE, SM4_SEALED, b"") is None
    assert gm.sm4_gcm_decrypt(SM4_KEY, SM4_NONCE, SM4_SEALED[:15], SM4_ASSOCIATED) is None
    assert gm.sm4_gcm_decrypt(bytes(16), SM4_NONCE, SM4_SEALED, SM4_ASSOCIATED) is None
