"""Simulated tokens of Arm CCA and of virtCCA, which borrows their labels: claims sets, and keys that sign them.

Written from the RMM specification and not from the verifier, so that a mistake in either shows.
"""

import hashlib
from typing import Final, Protocol

import cbor2
from awscrt import crypto as awslc
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from attest_pipeline.model import ReferenceValueSet
from attest_pipeline.simulator.device import Fault

PLATFORM, REALM = 44234, 44241
PLATFORM_SIZE: Final = 64
"""Realms or confidential VMs on one machine, as in a data centre."""
IMPLEMENTATION: Final = hashlib.sha256(b"simulated implementation").digest()
PLATFORM_FAULTS: Final = frozenset({Fault.DEBUG, Fault.OUTDATED_TCB, Fault.FOREIGN_CHAIN, Fault.REVOKED})
"""Faults for which a device needs another platform token, and so another identity."""
_SECURED, _DEBUG = 0x3000, 0x4000
_FIRMWARE: Final = {"BL2": "2.1.0", "RMM": "1.4.0"}
_OLD_FIRMWARE: Final = {"BL2": "2.1.0", "RMM": "1.3.9"}
_RIM: Final = hashlib.sha256(b"simulated realm").digest()
_REMS: Final = (*(hashlib.sha256(b"simulated REM %d" % index).digest() for index in range(3)), bytes(32))


class Key(Protocol):
    """A private EC key, with its COSE algorithm and its uncompressed public point."""

    algorithm: int
    point: bytes

    def sign(self, message: bytes) -> bytes:
        """Signature as big-endian r||s."""
        ...


class P384Key:
    """A new P-384 key. AWS-LC signs with it in half the time of OpenSSL."""

    algorithm = -35

    def __init__(self) -> None:
        self._key = awslc.EC.new_generate(awslc.ECType.P_384)
        coordinates = self._key.get_public_coords()
        self.point = b"\x04" + coordinates.x.rjust(48, b"\0") + coordinates.y.rjust(48, b"\0")

    def sign(self, message: bytes) -> bytes:
        """ES384 signature."""
        signature = self._key.sign(hashlib.sha384(message).digest())
        return bytes(awslc.EC.decode_der_signature_to_padded_pair(signature, pad_to=48))


class P521Key:
    """A P-521 key."""

    algorithm = -36

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.point = key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

    def sign(self, message: bytes) -> bytes:
        """ES512 signature."""
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA512())))
        return r.to_bytes(66) + s.to_bytes(66)


def sign1(key: Key, payload: bytes) -> bytes:
    """Tagged COSE_Sign1 over the payload."""
    protected = cbor2.dumps({1: key.algorithm})
    signature = key.sign(cbor2.dumps(["Signature1", protected, b"", payload]))
    return cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, signature]))


def platform_claims(profile: str, realm_key: bytes, instance_id: bytes, fault: Fault | None) -> dict[int, object]:
    """Claims of a platform that vouches for the realm's key claim; DEBUG and OUTDATED_TCB show here."""
    signer = hashlib.sha256(b"simulated firmware signer").digest()
    firmware = _OLD_FIRMWARE if fault is Fault.OUTDATED_TCB else _FIRMWARE
    return {
        265: profile,
        10: hashlib.sha256(realm_key).digest(),
        2396: IMPLEMENTATION,
        256: instance_id,
        2401: b"\x01",
        2395: _DEBUG if fault is Fault.DEBUG else _SECURED,
        2402: "sha-256",
        2399: [
            {1: name, 2: _firmware_digest(name, version), 4: version, 5: signer} for name, version in firmware.items()
        ],
    }


def realm_claims(challenge: bytes, key: bytes, fault: Fault | None) -> dict[int, object]:
    """Claims of a realm whose key claim is `key`; UNKNOWN_MEASUREMENT shows here."""
    return {
        10: challenge,
        44235: bytes(64),
        44236: "sha-256",
        44237: key,
        44238: bytes(reversed(_RIM)) if fault is Fault.UNKNOWN_MEASUREMENT else _RIM,
        44239: list(_REMS),
        44240: "sha-256",
    }


def spoil(token: bytes, fault: Fault | None) -> bytes:
    """The token with its last signature altered, or cut, as the fault says."""
    if fault is Fault.BAD_SIGNATURE:
        return token[:-1] + bytes([token[-1] ^ 1])
    return token[: len(token) // 2] if fault is Fault.TRUNCATED else token


def reference_values(tee: str, initial: str, extensible: str, platform: str) -> ReferenceValueSet:
    """Baseline of the simulated image and the current firmware, under the field names that the TEE uses."""
    registers = {f"{extensible}{index}": (value.hex(),) for index, value in enumerate(_REMS)}
    firmware = {
        f"{platform}sw-component-{position}-measurement": (_firmware_digest(name, version).hex(),)
        for position, (name, version) in enumerate(_FIRMWARE.items())
    }
    values = {initial: (_RIM.hex(),), **registers, **firmware}
    return ReferenceValueSet(name=f"simulated-{tee}", version="1", tee=tee, values={**values})


def _firmware_digest(name: str, version: str) -> bytes:
    return hashlib.sha256(f"{name} {version}".encode()).digest()
