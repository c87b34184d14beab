"""Quotes of a software TPM (swtpm, asked by tpm2-tools): structures that no code of this project has made."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tpm_lab import pcr_json

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.simulator import tpm_quote
from attest_pipeline.verifiers.tpm import TpmVerifier

pytestmark = pytest.mark.skipif(
    shutil.which("swtpm") is None or shutil.which("tpm2_quote") is None,
    reason="swtpm and tpm2-tools are not installed",
)
NOW = datetime(2026, 11, 23, tzinfo=UTC)
EXTENSIONS = [*tpm_quote.boot_digests(tpm_quote.BOOT), *tpm_quote.ima_digests(tpm_quote.BOOT)]
ALL_PCRS = ",".join(map(str, range(24)))
SCHEMES = ["rsa:rsassa", "rsa:rsapss", "ecc:ecdsa"]


class Tpm:
    """A started software TPM whose PCRs hold a simulated boot, and one AK for each scheme."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._environment = {**os.environ, "TPM2TOOLS_TCTI": f"swtpm:path={directory}/socket"}

    def run(self, *command: str) -> None:
        """Run a command of tpm2-tools, and free the TPM's memory, as there is no resource manager."""
        for one in (command, ("tpm2_flushcontext", "--transient-object")):
            subprocess.run(one, cwd=self.directory, env=self._environment, check=True, capture_output=True)

    def await_start(self) -> None:
        deadline = time.monotonic() + 10
        while not all((self.directory / name).exists() for name in ("socket", "socket.ctrl")):
            assert time.monotonic() < deadline, "swtpm does not start"
            time.sleep(0.02)

    def boot(self) -> None:
        for number, digest in EXTENSIONS:
            banks = f"sha256={digest.hex()},sha384={hashlib.sha384(digest).hexdigest()}"
            self.run("tpm2_pcrextend", f"{number}:{banks}")
        self.run("tpm2_createek", "-c", "ek.ctx", "-G", "ecc", "-u", "ek.pub")
        for scheme in SCHEMES:
            kind, name = scheme.split(":")
            pem = ("-f", "pem", "-u", f"{name}.pem", "-n", f"{name}.name")
            self.run("tpm2_createak", "-C", "ek.ctx", "-c", f"{name}.ctx", "-G", kind, "-g", "sha256", "-s", name, *pem)

    def quote(self, scheme: str, challenge: bytes, bank: str = "sha256", pcrs: str = ALL_PCRS) -> dict[str, bytes]:
        """Evidence items `attest` and `signature`."""
        name, wanted = scheme.split(":")[1], f"{bank}:{pcrs}"
        files = ("-m", "attest", "-s", "signature")
        hashed = ("--scheme", name, "-g", "sha256")
        self.run("tpm2_quote", "-c", f"{name}.ctx", "-l", wanted, "-q", challenge.hex(), *hashed, *files)
        return {file: (self.directory / file).read_bytes() for file in ("attest", "signature")}

    def ak(self, scheme: str) -> bytes:
        return (self.directory / f"{scheme.split(':')[1]}.pem").read_bytes()


@pytest.fixture(scope="module")
def tpm() -> Iterator[Tpm]:
    with tempfile.TemporaryDirectory() as name:  # a socket's path may have 107 characters, and pytest's has more
        directory = Path(name)
        server = ("--server", f"type=unixio,path={name}/socket", "--ctrl", f"type=unixio,path={name}/socket.ctrl")
        command = ("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={name}", *server)
        flags = ("--flags", "not-need-init,startup-clear")
        process = subprocess.Popen([*command, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            found = Tpm(directory)
            found.await_start()
            found.boot()
            yield found
        finally:
            process.terminate()
            process.wait()


def verify(tpm: Tpm, scheme: str, items: dict[str, bytes], challenge: bytes) -> Claims:
    documents = Endorsements({"ak": (tpm.ak(scheme),)})
    return TpmVerifier({}).verify(Evidence("tpm", items), documents, challenge=challenge, now=NOW)


def booted(bank: str = "sha256") -> dict[int, bytes]:
    """PCRs after the boot: those of dynamic launch start as ones."""
    size = hashlib.new(bank).digest_size
    pcrs = {number: (b"\xff" if 17 <= number <= 22 else b"\0") * size for number in range(24)}
    for number, digest in EXTENSIONS:
        extended = digest if bank == "sha256" else hashlib.new(bank, digest).digest()
        pcrs[number] = hashlib.new(bank, pcrs[number] + extended).digest()
    return pcrs


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("challenge", [b"\x11" * 32, b"\x22" * 8], ids=["32 bytes", "8 bytes"])
def test_a_quote_of_a_tpm_is_proven_with_its_logs(tpm: Tpm, scheme: str, challenge: bytes) -> None:
    items = tpm.quote(scheme, challenge) | {"pcrs": pcr_json(booted())}
    items |= {"event_log": tpm_quote.event_log(tpm_quote.BOOT), "ima_log": tpm_quote.ima_log(tpm_quote.BOOT)}
    claims = verify(tpm, scheme, items | {"ak_public": tpm.ak(scheme)}, challenge)
    assert claims.fields["quote_scheme"] == f"{scheme.split(':')[1]}-sha256"
    assert (claims.fields["event_log_pcrs"], claims.fields["ima_log"]) == ("0,2,4,7,8,9", True)
    assert (claims.fields["extra_data"], claims.challenge_verified) == (challenge.hex(), True)


def test_a_quote_over_some_pcrs_of_another_bank_is_proven(tpm: Tpm) -> None:
    chosen = {number: value for number, value in booted("sha384").items() if number in (0, 4, 7)}
    items = tpm.quote("ecc:ecdsa", b"12345678", "sha384", "0,4,7") | {"pcrs": pcr_json(chosen)}
    claims = verify(tpm, "ecc:ecdsa", items, b"12345678")
    assert (claims.fields["pcr_bank"], claims.fields["pcr_selection"]) == ("sha384", "0,4,7")


def test_the_tpm_signs_for_one_challenge_and_one_key_only(tpm: Tpm) -> None:
    items = tpm.quote("ecc:ecdsa", b"12345678") | {"pcrs": pcr_json(booted())}
    for scheme, challenge, reason in (
        ("ecc:ecdsa", b"12345679", Reason.CHALLENGE_MISMATCH),
        ("rsa:rsassa", b"12345678", Reason.BAD_SIGNATURE),
    ):
        with pytest.raises(BadEvidence) as refused:
            verify(tpm, scheme, items, challenge)
        assert refused.value.reason is reason


def test_a_challenge_of_the_size_that_is_asked_for_fits(tpm: Tpm) -> None:
    items = tpm.quote("rsa:rsassa", bytes(TpmVerifier.challenge_bytes)) | {"pcrs": pcr_json(booted())}
    assert verify(tpm, "rsa:rsassa", items, bytes(TpmVerifier.challenge_bytes)).challenge_verified
