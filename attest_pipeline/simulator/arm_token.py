"""Simulated tokens of Arm CCA, of virtCCA with the same labels, and of PSA: claims sets, and keys that sign them.

Written from the RMM specification and not from the verifier, so that a mistake in either shows.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Final, Protocol

import cbor2
from awscrt import crypto as awslc
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from attest_pipeline.jws import b64u
from attest_pipeline.model import MARK, ReferenceValueSet
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


class _AwslcKey:
    """A new key of AWS-LC, which signs in half the time of OpenSSL."""

    def __init__(self, curve: awslc.ECType, hash_name: str, size: int) -> None:
        self._key = awslc.EC.new_generate(curve)
        self._hash = hash_name
        self._size = size
        coordinates = self._key.get_public_coords()
        self.point = b"\x04" + coordinates.x.rjust(size, b"\0") + coordinates.y.rjust(size, b"\0")

    def sign(self, message: bytes) -> bytes:
        """ECDSA signature by the hash of the curve."""
        signature = self._key.sign(hashlib.new(self._hash, message).digest())
        return bytes(awslc.EC.decode_der_signature_to_padded_pair(signature, pad_to=self._size))


class P256Key(_AwslcKey):
    """A new P-256 key."""

    algorithm = -7

    def __init__(self) -> None:
        super().__init__(awslc.ECType.P_256, "sha256", 32)


class P384Key(_AwslcKey):
    """A new P-384 key."""

    algorithm = -35

    def __init__(self) -> None:
        super().__init__(awslc.ECType.P_384, "sha384", 48)


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


def jwk(key: Key) -> bytes:
    """The public key as a JWK that says it is simulated."""
    size = len(key.point) // 2
    x, y = b64u(key.point[1 : size + 1]).decode(), b64u(key.point[size + 1 :]).decode()
    curve = {32: "P-256", 48: "P-384", 66: "P-521"}[size]
    return json.dumps({"kty": "EC", "crv": curve, "x": x, "y": y, "simulator": MARK}).encode()


def sign1(key: Key, payload: bytes) -> bytes:
    """Tagged COSE_Sign1 over the payload."""
    protected = cbor2.dumps({1: key.algorithm})
    signature = key.sign(cbor2.dumps(["Signature1", protected, b"", payload]))
    return cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, signature]))


def platform_claims(profile: str, realm_key: bytes, instance_id: bytes, fault: Fault | None) -> dict[int, object]:
    """Claims of a platform that vouches for the realm's key claim; DEBUG and OUTDATED_TCB show here."""
    return {
        265: profile,
        10: hashlib.sha256(realm_key).digest(),
        2396: IMPLEMENTATION,
        256: instance_id,
        2401: b"\x01",
        2395: lifecycle(fault),
        2402: "sha-256",
        2399: components(_OLD_FIRMWARE if fault is Fault.OUTDATED_TCB else _FIRMWARE),
    }


def lifecycle(fault: Fault | None) -> int:
    """Secured, or in debug state if that is the fault."""
    return _DEBUG if fault is Fault.DEBUG else _SECURED


def components(firmware: Mapping[str, str]) -> list[dict[int, object]]:
    """Software components of these names and versions."""
    signer = hashlib.sha256(b"simulated firmware signer").digest()
    return [{1: name, 2: firmware_digest(name, version), 4: version, 5: signer} for name, version in firmware.items()]


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
    values = {initial: (_RIM.hex(),), **registers, **expected_components(platform, _FIRMWARE)}
    return ReferenceValueSet(name=f"simulated-{tee}", version="1", tee=tee, values={**values})


def expected_components(prefix: str, firmware: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Reference Values of these components, under the field names that verifiers give them."""
    return {
        f"{prefix}sw-component-{position}-measurement": (firmware_digest(name, version).hex(),)
        for position, (name, version) in enumerate(firmware.items())
    }


def firmware_digest(name: str, version: str) -> bytes:
    """Digest of a simulated component."""
    return hashlib.sha256(f"{name} {version}".encode()).digest()
