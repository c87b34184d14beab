"""The cryptographic floor: what an attestation costs if nothing but its signatures is computed.

No verifier can be faster than the checks of the signatures that are new in its Evidence and the signing of its result.
The proofs of certificate chains are left out, because they are remembered from one Evidence of a device to the next, as
is everything else that a device sends again.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from attest_pipeline import gm, jws
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.crypto import CURVES, EcKey, RsaKey
from attest_pipeline.ear import TOKEN_TYPE
from attest_pipeline.errors import Misconfigured
from attest_pipeline.simulator.hygon_pki import Sm2Signer


class Signed(NamedTuple):
    """A signature that one Evidence carries: the key that made it, and the bytes of the message that it is over.

    One that the device sends `again` with its next Evidence is proven once and remembered.
    """

    key: str
    size: int
    again: bool = False


SIGNATURES: Final[Mapping[str, Sequence[Signed]]] = {
    "snp": (Signed("P-384", 672),),
    "tdx": (Signed("P-256", 384, again=True), Signed("P-256", 632)),
    "sgx": (Signed("P-256", 384, again=True), Signed("P-256", 432)),
    "cca": (Signed("P-384", 357, again=True), Signed("P-384", 459)),
    "psa": (Signed("P-256", 559),),
    "virtcca": (Signed("P-521", 355, again=True), Signed("P-521", 498)),
    "nitro": (Signed("P-384", 2961),),
    "nvidia-gpu": (Signed("P-384", 3727),),
    "nvidia-switch": (Signed("P-384", 1814),),
    "csv": (Signed("SM2", 1024),),
    "itrustee": (Signed("RSA-4096 PSS", 507),),
    "tpm": (Signed("P-256", 145),),
    "ascend-npu": (Signed("P-256", 145),),  # the quote of the host's TPM
    "az-snp-vtpm": (Signed("P-384", 672), Signed("RSA-2048", 145)),
    "az-tdx-vtpm": (Signed("P-256", 384, again=True), Signed("P-256", 632), Signed("RSA-2048", 145)),
}
"""The signatures in an Evidence of a simulated device, by TEE, but for those of certificates.

Sent again are the report of Intel's QE and Arm's platform token.
"""

_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "P-256": hashes.SHA256(), "P-384": hashes.SHA384(), "P-521": hashes.SHA512(),
}  # fmt: skip
_PAYLOAD: Final = bytes(2048)


def floor(tee: str, seconds: float) -> float:
    """Attestations a second of one core, measured for that many seconds of CPU time. Raises Misconfigured."""
    checks = signature_checks(tee, again=False)
    signer = FileSigner(ec.generate_private_key(ec.SECP256R1()))

    def attest() -> None:
        for check in checks:
            check()
        jws.compact(_PAYLOAD, signer, TOKEN_TYPE)

    return 1.0 / cost(attest, seconds)


def signature_checks(tee: str, *, again: bool) -> list[Callable[[], bool]]:
    """A check of a good signature, by a key of its own, for each that is new in an Evidence, or that is sent again.

    Raises Misconfigured.
    """
    if tee not in SIGNATURES:
        raise Misconfigured(f"no floor for {tee!r}; there are {', '.join(SIGNATURES)}")
    return [_check(signed.key, bytes(signed.size)) for signed in SIGNATURES[tee] if signed.again is again]


def cost(work: Callable[[], object], seconds: float) -> float:
    """Seconds of CPU time that one call takes, measured for that long after one call to warm up."""
    work()
    began, calls = time.process_time(), 0
    while (spent := time.process_time() - began) < seconds or not calls:
        work()
        calls += 1
    return spent / calls


def _sm2_check(message: bytes) -> Callable[[], bool]:
    signer = Sm2Signer.make(b"floor")
    r, s = signer.sign(message, gm.DEFAULT_USER_ID)
    return lambda: signer.public.verify(r, s, message, gm.DEFAULT_USER_ID)


def _pkcs1_check(message: bytes) -> Callable[[], bool]:
    private = _rsa_key(2048)
    signature = private.sign(message, padding.PKCS1v15(), hashes.SHA256())
    key = RsaKey(private.public_key())
    return lambda: key.verify_pkcs1(signature, message, "sha256")


def _pss_check(message: bytes) -> Callable[[], bool]:
    private = _rsa_key(4096)
    signature = private.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    key = RsaKey(private.public_key())
    return lambda: key.verify_pss(signature, message, "sha256", 32)


@cache
def _rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """One key of that size: it takes up to a second to make."""
    return rsa.generate_private_key(65537, bits)


_KINDS: Final[Mapping[str, Callable[[bytes], Callable[[], bool]]]] = {
    "SM2": _sm2_check,
    "RSA-2048": _pkcs1_check,
    "RSA-4096 PSS": _pss_check,
}


def _check(key: str, message: bytes) -> Callable[[], bool]:
    return _KINDS[key](message) if key in _KINDS else _ecdsa_check(key, message)


def _ecdsa_check(curve: str, message: bytes) -> Callable[[], bool]:
    private = ec.generate_private_key(CURVES[curve])
    algorithm = _HASHES[curve]
    signature = private.sign(message, ec.ECDSA(algorithm))
    key = EcKey(private.public_key())
    return lambda: key.verify_der(signature, message, algorithm.name)
