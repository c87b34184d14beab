"""SM2 keys under the libcrypto of this Python: what is taken, what is not, and which OpenSSL must not sign."""

import _bz2
import _ssl
import ctypes
from collections.abc import Iterator
from pathlib import Path

import openssl_lab
import pytest

from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.adapters.sm2_key import Sm2PrivateKey, _libcrypto, refusal
from attest_pipeline.errors import Misconfigured
from attest_pipeline.jws import b64u


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return openssl_lab.make_key(tmp_path)


def refused(path: Path) -> str:
    with pytest.raises(Misconfigured) as caught:
        FileSigner.load(path)
    return str(caught.value)


def test_a_key_of_the_command_is_taken_whatever_name_it_was_made_by(key: Path) -> None:
    made_as_curve = key.with_name("curve.pem")
    openssl_lab.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:SM2", "-out", made_as_curve)
    for path in (key, made_as_curve):
        signer = FileSigner.load(path)
        assert signer.algorithm == "SGD_SM3_SM2"
        assert signer.public_jwk()["x"] == b64u(openssl_lab.public_half(path).point[:32]).decode()


def test_the_private_half_of_another_key_is_misconfigured(key: Path, tmp_path: Path) -> None:
    der = openssl_lab.openssl("pkcs8", "-topk8", "-nocrypt", "-in", key, "-outform", "DER")
    other = openssl_lab.public_half(openssl_lab.make_key(tmp_path, "other.pem")).point
    mixed = tmp_path / "mixed.pem"
    mixed.write_bytes(openssl_lab.openssl("base64", given=der.replace(openssl_lab.public_half(key).point, other)))
    mixed.write_bytes(b"-----BEGIN PRIVATE KEY-----\n" + mixed.read_bytes() + b"-----END PRIVATE KEY-----\n")
    assert "does not belong to its public half" in refused(mixed)


def test_a_key_under_a_password_is_misconfigured_and_nobody_is_asked_for_it(key: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked.pem"
    openssl_lab.openssl("pkcs8", "-topk8", "-in", key, "-out", locked, "-passout", "pass:secret")
    assert "is no private key" in refused(locked)


def test_a_curve_that_nobody_signs_tokens_on_is_misconfigured(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    openssl_lab.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp224k1", "-out", path)
    assert "no SM2 key, says OpenSSL" in refused(path)


@pytest.fixture
def anew() -> Iterator[None]:
    """The library is looked for anew, and again for whoever comes next."""
    _libcrypto.cache_clear()
    yield
    _libcrypto.cache_clear()


@pytest.fixture
def without_sm2(anew: None) -> Iterator[None]:
    """The library finds no algorithm, as on a host whose OpenSSL was built without this one."""
    choose = ctypes.CDLL(_ssl.__file__).EVP_set_default_properties
    assert choose(None, b"provider=nobody's") == 1
    yield anew
    assert choose(None, b"") == 1


@pytest.mark.usefixtures("without_sm2")
def test_an_openssl_without_sm2_is_misconfigured(key: Path) -> None:
    assert "without SM2" in refused(key)


@pytest.mark.usefixtures("anew")
def test_a_python_that_keeps_its_openssl_to_itself_is_misconfigured(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ssl, "__file__", _bz2.__file__)
    assert "to itself" in refused(key)


@pytest.mark.usefixtures("anew")
def test_a_machine_that_would_tell_of_the_key_is_misconfigured(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    monkeypatch.setattr("ssl.OPENSSL_VERSION_INFO", (3, 5, 0, 4, 0))
    assert "31133" in refused(key)


def test_without_a_context_nothing_is_signed(key: Path) -> None:
    with pytest.raises(Misconfigured, match="does not sign"):
        Sm2PrivateKey(key.read_bytes())._sign(None, b"message")


@pytest.mark.parametrize(
    ("version", "number", "machine"),
    [
        ("OpenSSL 3.0.19 27 Jan 2026", (3, 0, 0, 19, 0), "x86_64"),
        ("OpenSSL 3.0.12 24 Oct 2023", (3, 0, 0, 12, 0), "aarch64"),
        ("OpenSSL 3.1.8 11 Feb 2025", (3, 1, 0, 8, 0), "aarch64"),
        ("OpenSSL 3.6.1 1 Jan 2026", (3, 6, 0, 1, 0), "AMD64"),
        ("OpenSSL 4.0.0 14 Apr 2026", (4, 0, 0, 0, 0), "x86_64"),
    ],
)
def test_an_openssl_that_signs_in_constant_time_may_sign(version: str, number: tuple[int, ...], machine: str) -> None:
    assert refusal(version, number, machine) is None


@pytest.mark.parametrize(
    ("version", "number", "machine", "why"),
    [
        ("OpenSSL 1.1.1w  11 Sep 2023", (1, 1, 1, 23, 15), "x86_64", "3.0 or later"),
        ("LibreSSL 4.0.0", (3, 0, 0, 0, 0), "x86_64", "LibreSSL"),
        ("OpenSSL 3.2.0 23 Nov 2023", (3, 2, 0, 0, 0), "aarch64", "31133"),
        ("OpenSSL 3.5.4 30 Sep 2025", (3, 5, 0, 4, 0), "aarch64", "31133"),
        ("OpenSSL 4.0.0 14 Apr 2026", (4, 0, 0, 0, 0), "riscv64", "31133"),
    ],
)
def test_an_openssl_that_tells_of_the_key_may_not(
    version: str, number: tuple[int, ...], machine: str, why: str
) -> None:
    said = refusal(version, number, machine)
    assert said
    assert why in said
