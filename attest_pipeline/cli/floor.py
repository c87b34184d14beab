"""The cryptographic floor: what an attestation costs if nothing but its signatures is computed.

No verifier can be faster than the checks of the signatures inside its Evidence and the signing of its result. The
proofs of certificate chains are left out, because they are remembered from one Evidence of a device to the next.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from attest_pipeline import gm, jws
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.crypto import CURVES, EcKey, RsaKey
from attest_pipeline.ear import TOKEN_TYPE
from attest_pipeline.errors import Misconfigured
from attest_pipeline.simulator.hygon_pki import Sm2Signer

SIGNATURES: Final[Mapping[str, Sequence[str]]] = {
    "snp": ("P-384",),
    "tdx": ("P-256", "P-256"),
    "sgx": ("P-256", "P-256"),
    "cca": ("P-384", "P-384"),
    "psa": ("P-256",),
    "virtcca": ("P-521", "P-521"),
    "nitro": ("P-384",),
    "nvidia-gpu": ("P-384",),
    "nvidia-switch": ("P-384",),
    "csv": ("SM2",),
    "itrustee": ("RSA-2048",),
    "tpm": ("P-256",),
    "az-snp-vtpm": ("RSA-2048",),  # the hardware's report is the same until the VM boots again
    "az-tdx-vtpm": ("P-256", "P-256", "RSA-2048"),
}
"""Keys of the signatures in one Evidence: report; quote and QE report; platform and realm (or CVM) token."""

_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "P-256": hashes.SHA256(), "P-384": hashes.SHA384(), "P-521": hashes.SHA512(),
}  # fmt: skip
_MESSAGE: Final = bytes(672)
_PAYLOAD: Final = bytes(2048)


def floor(tee: str, seconds: float) -> float:
    """Attestations a second of one core, measured for that many seconds of CPU time. Raises Misconfigured."""
    checks = signature_checks(tee)
    signer = FileSigner(ec.generate_private_key(ec.SECP256R1()))

    def attest() -> None:
        for check in checks:
            check()
        jws.compact(_PAYLOAD, signer, TOKEN_TYPE)

    return 1.0 / cost(attest, seconds)


def signature_checks(tee: str) -> list[Callable[[], bool]]:
    """A check of a good signature for each that one Evidence of the TEE carries. Raises Misconfigured."""
    if tee not in SIGNATURES:
        raise Misconfigured(f"no floor for {tee!r}; there are {', '.join(SIGNATURES)}")
    return [_KINDS[key]() if key in _KINDS else _ecdsa_check(key) for key in SIGNATURES[tee]]


def cost(work: Callable[[], object], seconds: float) -> float:
    """Seconds of CPU time that one call takes, measured for that long after one call to warm up."""
    work()
    began, calls = time.process_time(), 0
    while (spent := time.process_time() - began) < seconds or not calls:
        work()
        calls += 1
    return spent / calls


def cores() -> int:
    """Cores that this process and its children may use."""
    return len(os.sched_getaffinity(0))


def _sm2_check() -> Callable[[], bool]:
    signer = Sm2Signer.make(b"floor")
    r, s = signer.sign(_MESSAGE, gm.DEFAULT_USER_ID)
    return lambda: signer.public.verify(r, s, _MESSAGE, gm.DEFAULT_USER_ID)


def _pss_check() -> Callable[[], bool]:
    private = rsa.generate_private_key(65537, 2048)
    signature = private.sign(_MESSAGE, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    key = RsaKey(private.public_key())
    return lambda: key.verify_pss(signature, _MESSAGE, "sha256", 32)


_KINDS: Final[Mapping[str, Callable[[], Callable[[], bool]]]] = {"SM2": _sm2_check, "RSA-2048": _pss_check}


def _ecdsa_check(curve: str) -> Callable[[], bool]:
    private = ec.generate_private_key(CURVES[curve])
    algorithm = _HASHES[curve]
    signature = private.sign(_MESSAGE, ec.ECDSA(algorithm))
    key = EcKey(private.public_key())
    return lambda: key.verify_der(signature, _MESSAGE, algorithm.name)
