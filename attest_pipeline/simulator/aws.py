"""Simulated AWS vendor: Nitro Enclaves on simulated EC2 instances, with a chain of their own."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from attest_pipeline.errors import Reason
from attest_pipeline.model import Evidence, ReferenceValueSet, TrustAnchor
from attest_pipeline.simulator.device import COMMON_FAULTS, Fault
from attest_pipeline.simulator.pki import Identity, Pki

_ES384: Final = -35
_PCRS: Final = {number: hashlib.sha384(b"simulated enclave PCR %d" % number).digest() for number in range(3)}
_UNUSED: Final = bytes(48)
_FAULTS: Final[Mapping[Fault, Reason | None]] = {
    **{fault: COMMON_FAULTS[fault] for fault in COMMON_FAULTS if fault not in {Fault.REVOKED, Fault.OUTDATED_TCB}},
    Fault.FOREIGN_CHAIN: Reason.UNTRUSTED_ROOT,
}
"""AWS revokes nothing and publishes no TCB status. A document brings its root, so a forger's is what is not trusted."""


class _Authority:
    """Root, region and zone; another object of the same names is a forger's."""

    def __init__(self, now: datetime) -> None:
        self._pki = Pki(now, ec.SECP384R1(), hashes.SHA384())
        self.root = self._pki.issue("aws.nitro-enclaves", None, authority=True)
        self._region = self._pki.issue("simulated region", self.root, authority=True)

    def enclave(self, instance: str, module: str) -> tuple[Identity, list[bytes]]:
        """A new enclave on a new instance: its identity, and its authorities (DER), root first."""
        parent = self._pki.issue(instance, self._region, authority=True)
        authorities = (self.root, self._region, parent)
        return self._pki.issue(module, parent), [authority.encoded(Encoding.DER) for authority in authorities]


class AwsVendor:
    """Test vendor for `nitro`: one enclave on each instance.

    Certificates are valid from a day before `now` to 30 days after it (real ones live three hours); documents are of
    the second before `now`.
    """

    tee = "nitro"

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._authority = _Authority(now)
        self._forger = _Authority(now)
        self._enclaves: dict[tuple[int, bool], tuple[Identity, list[bytes]]] = {}

    def trust_anchors(self) -> tuple[TrustAnchor, ...]:
        """The simulated root key, under the vendor name `aws`."""
        return (TrustAnchor("aws", self._authority.root.spki),)

    def endorsements(self) -> Mapping[str, tuple[bytes, ...]]:
        """None: a document carries its chain."""
        return {}

    def reference_values(self) -> ReferenceValueSet:
        """PCR 0 to 2 of the simulated enclave image."""
        values = {f"pcr{number}": (value.hex(),) for number, value in _PCRS.items()}
        return ReferenceValueSet(name="simulated-nitro", version="1", tee="nitro", values={**values})

    def faults(self) -> Mapping[Fault, Reason | None]:
        """Every fault of the contract but those that the caller makes, and those that AWS has no word for."""
        return _FAULTS

    def evidence(self, serial: int, challenge: bytes, fault: Fault | None = None) -> Evidence:
        """Document of enclave `serial` over the challenge; FOREIGN_CHAIN is a forger's enclave of the same name."""
        identity, authorities = self._enclave(serial, forged=fault is Fault.FOREIGN_CHAIN)
        claims = self.claims(serial, identity, authorities, challenge) | {"pcrs": _pcrs(fault)}
        document = sign_document(identity, claims)
        if fault is Fault.BAD_SIGNATURE:
            document = document[:-1] + bytes([document[-1] ^ 1])
        return Evidence("nitro", {"document": document[: len(document) // 2] if fault is Fault.TRUNCATED else document})

    def claims(self, serial: int, identity: Identity, authorities: list[bytes], nonce: bytes) -> dict[str, object]:
        """Every field of a healthy document but its registers."""
        return {
            "module_id": _module(serial),
            "digest": "SHA384",
            "timestamp": int(self._now.timestamp() * 1000) - _milliseconds(nonce),
            "certificate": identity.encoded(Encoding.DER),
            "cabundle": authorities,
            "public_key": None,
            "user_data": None,
            "nonce": nonce,
        }

    def _enclave(self, serial: int, *, forged: bool) -> tuple[Identity, list[bytes]]:
        if (serial, forged) not in self._enclaves:
            authority = self._forger if forged else self._authority
            self._enclaves[serial, forged] = authority.enclave(_instance(serial), _module(serial))
        return self._enclaves[serial, forged]


def sign_document(identity: Identity, claims: Mapping[str, object]) -> bytes:
    """Bare COSE_Sign1 (ES384) over a map of definite length."""
    protected, payload = cbor2.dumps({1: _ES384}), cbor2.dumps(claims)
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    return cbor2.dumps([protected, {}, payload, identity.sign_raw(signed, hashes.SHA384())])


def _milliseconds(nonce: bytes) -> int:
    """Less than a second: another time for another nonce, and one for one."""
    return int.from_bytes(hashlib.sha256(nonce).digest()[:4]) % 1000


def _pcrs(fault: Fault | None) -> dict[int, bytes]:
    registers = dict.fromkeys(range(16), _UNUSED)
    if fault is Fault.DEBUG:
        return registers
    if fault is Fault.UNKNOWN_MEASUREMENT:
        return registers | {number: value[::-1] for number, value in _PCRS.items()}
    return registers | _PCRS


def _instance(serial: int) -> str:
    return f"i-{serial:017x}"


def _module(serial: int) -> str:
    return f"{_instance(serial)}-enc{serial:016x}"
