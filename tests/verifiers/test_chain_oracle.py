"""Certificate chains against the `openssl` command: both believe the same ones."""

import shutil
import subprocess
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pytest
import x509_lab
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from x509_lab import DAY, NOW, Identity

from attest_pipeline.errors import BadEvidence
from attest_pipeline.verifiers._shared.x509 import prove_path

SECOND = DAY / 86400
ROOT = Identity.root("Root")
STRANGER = Identity.root("Root")
CA = ROOT.issue("CA", authority=True, may_sign=True)
SUB = CA.issue("Sub", authority=True, may_sign=True)
RSA = rsa.generate_private_key(65537, 2048)
PSS = padding.PSS(padding.MGF1(hashes.SHA384()), hashes.SHA384.digest_size)


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command")


class Chain(NamedTuple):
    """Leaf first, and when it is judged."""

    certificates: tuple[Identity, ...]
    now: datetime = NOW


def _under(authority: Identity, now: datetime = NOW) -> Chain:
    return Chain((authority.issue("Leaf"), authority), now)


def _forged(authority: Identity) -> Chain:
    """A leaf under the right name, signed by somebody else."""
    leaf = x509_lab.issue(authority.certificate.subject, x509_lab.ec_key(), "Leaf", x509_lab.ec_key())
    return Chain((leaf, authority))


SHORT = ROOT.issue("Short", authority=True, may_sign=True, window=(NOW - DAY, NOW + DAY))
SHALLOW = ROOT.issue("Shallow", authority=True, depth=0, may_sign=True)
BELOW = SHALLOW.issue("Below", authority=True, may_sign=True)
PSS_CA = ROOT.issue("PSS", key=RSA, authority=True, may_sign=True)
CHAINS: Mapping[str, Chain] = {
    "one authority": _under(CA),
    "two authorities": Chain((SUB.issue("Leaf"), SUB, CA)),
    "out of order": Chain((SUB.issue("Leaf"), CA, SUB)),
    "right below the root": Chain((ROOT.issue("Leaf"),)),
    "a gap": Chain((SUB.issue("Leaf"), SUB)),
    "the root's namesake": _under(STRANGER.issue("CA", authority=True, may_sign=True)),
    "a forged leaf": _forged(CA),
    "an authority that is none": _under(ROOT.issue("Plain", authority=False)),
    "an authority that does not say so": _under(ROOT.issue("Silent", authority=None)),
    "an authority that may not sign": _under(ROOT.issue("Mute", authority=True, may_sign=False)),
    "as deep as allowed": _under(SHALLOW),
    "deeper than allowed": Chain((BELOW.issue("Leaf"), BELOW, SHALLOW)),
    "the first second": _under(SHORT, NOW - DAY),
    "a second too early": _under(SHORT, NOW - DAY - SECOND),
    "the last second but one": _under(SHORT, NOW + DAY - SECOND),
    "a second too late": _under(SHORT, NOW + DAY + SECOND),
    "RSA-PSS": Chain((PSS_CA.issue("Leaf", algorithm=hashes.SHA384(), pad=PSS), PSS_CA)),
    "P-384 with SHA-384": _under(ROOT.issue("P384", key=x509_lab.ec_key(ec.SECP384R1()), authority=True)),
}


@needs_openssl
@pytest.mark.parametrize("case", CHAINS)
def test_openssl_believes_the_same_chains(case: str, tmp_path: Path) -> None:
    assert _believed(CHAINS[case]) == _believed_by_openssl(CHAINS[case], tmp_path)


def test_the_cases_are_of_both_kinds() -> None:
    believed = [_believed(chain) for chain in CHAINS.values()]
    assert (sum(believed), len(believed)) == (9, 18)


@needs_openssl
def test_the_last_second_is_inside_though_openssl_leaves_it_out(tmp_path: Path) -> None:
    """RFC 5280, 4.1.2.5: the period runs from notBefore through notAfter, inclusive."""
    last = _under(SHORT, NOW + DAY)
    assert _believed(last)
    assert not _believed_by_openssl(last, tmp_path)


def _believed(chain: Chain) -> bool:
    leaf, *pool = (one.certificate for one in chain.certificates)
    try:
        prove_path(leaf, pool, frozenset({ROOT.spki}), now=chain.now)
    except BadEvidence:
        return False
    return True


def _believed_by_openssl(chain: Chain, directory: Path) -> bool:
    leaf, *pool = (one.pem for one in chain.certificates)
    files = {"root": ROOT.pem, "pool": b"".join(pool) or ROOT.pem, "leaf": leaf}
    for name, pem in files.items():
        (directory / name).write_bytes(pem)
    done = subprocess.run(
        [
            "openssl", "verify", "-no-CApath", "-no-CAstore", "-CAfile", directory / "root",
            "-untrusted", directory / "pool", "-attime", str(int(chain.now.timestamp())), directory / "leaf",
        ],
        capture_output=True,
        check=False,
    )  # fmt: skip
    return done.returncode == 0
