"""Simulated Arm CCA vendor: realms on simulated platforms, each platform endorsed by its CPAK."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

import cbor2

from attest_pipeline.errors import Reason
from attest_pipeline.jws import b64u
from attest_pipeline.model import EndorsementKind, Evidence, ReferenceValueSet, TrustAnchor
from attest_pipeline.simulator import arm_token
from attest_pipeline.simulator.device import COMMON_FAULTS, MARK, Fault

_LEGACY_PROFILE: Final = "http://arm.com/CCA-SSD/1.0.0"
_PLATFORM_PROFILE: Final = "tag:arm.com,2023:cca_platform#1.0.0"
_REALM_PROFILE: Final = "tag:arm.com,2023:realm#1.0.0"
_EAT_CWT: Final = 263


class Realm(NamedTuple):
    """One realm: its attestation key, that key as a claim, and the platform token that vouches for it."""

    key: arm_token.P384Key
    key_claim: bytes
    platform_token: bytes


class CcaVendor:
    """Test vendor for `cca`: even devices speak the legacy format of RMM 1.0 (tag 399), odd ones the draft's (tag 907).

    A platform holds 64 realms. Nothing of CCA has a validity, so the time is not used.
    """

    tee = "cca"

    def __init__(self, now: datetime) -> None:  # noqa: ARG002 - the same constructor for every vendor
        self._platforms: dict[int, arm_token.P384Key] = {}
        self._realms: dict[tuple[int, Fault | None], Realm] = {}
        self._foreign = arm_token.P384Key()

    def trust_anchors(self) -> tuple[TrustAnchor, ...]:
        """None: a CPAK is an Endorsement, not a root."""
        return ()

    def endorsements(self) -> Mapping[str, tuple[bytes, ...]]:
        """The CPAK of each platform made so far, as a JWK."""
        implementation = arm_token.IMPLEMENTATION.hex()
        return {
            f"{EndorsementKind.ARM_CPAK}/{implementation}/{_instance_id(number).hex()}": (_jwk(key),)
            for number, key in self._platforms.items()
        }

    def reference_values(self) -> ReferenceValueSet:
        """Measurements of the simulated realm image and of the current firmware."""
        return arm_token.reference_values(
            "cca", "cca-realm-initial-measurement", "cca-realm-extensible-measurement-", "cca-platform-"
        )

    def faults(self) -> Mapping[Fault, Reason | None]:
        """CCA revokes by withdrawing the CPAK, so a revoked certificate is not among them."""
        return {fault: reason for fault, reason in COMMON_FAULTS.items() if fault is not Fault.REVOKED}

    def evidence(self, serial: int, challenge: bytes, fault: Fault | None = None) -> Evidence:
        """Token of device `serial` over the challenge."""
        realm = self._realm(serial, fault)
        claims = arm_token.realm_claims(challenge, realm.key_claim, fault)
        if _speaks_draft(serial):
            claims[265] = _REALM_PROFILE
        token = _collection(serial, realm.platform_token, arm_token.sign1(realm.key, cbor2.dumps(claims)))
        return Evidence("cca", {"token": arm_token.spoil(token, fault)})

    def _realm(self, serial: int, fault: Fault | None) -> Realm:
        identity = serial, fault if fault in arm_token.PLATFORM_FAULTS else None
        if identity not in self._realms:
            self._realms[identity] = self._new_realm(*identity)
        return self._realms[identity]

    def _new_realm(self, serial: int, fault: Fault | None) -> Realm:
        number = serial // arm_token.PLATFORM_SIZE
        if number not in self._platforms:
            self._platforms[number] = arm_token.P384Key()
        signer = self._foreign if fault is Fault.FOREIGN_CHAIN else self._platforms[number]
        key = arm_token.P384Key()
        key_claim = _cose_key(key) if _speaks_draft(serial) else key.point
        profile = _PLATFORM_PROFILE if _speaks_draft(serial) else _LEGACY_PROFILE
        claims = arm_token.platform_claims(profile, key_claim, _instance_id(number), fault)
        return Realm(key, key_claim, arm_token.sign1(signer, cbor2.dumps(claims)))


def _speaks_draft(serial: int) -> bool:
    return serial % 2 == 1


def _collection(serial: int, platform: bytes, realm: bytes) -> bytes:
    if _speaks_draft(serial):
        records = {arm_token.PLATFORM: [_EAT_CWT, platform], arm_token.REALM: [_EAT_CWT, realm]}
        return cbor2.dumps(cbor2.CBORTag(907, records))
    return cbor2.dumps(cbor2.CBORTag(399, {arm_token.PLATFORM: platform, arm_token.REALM: realm}))


def _cose_key(key: arm_token.P384Key) -> bytes:
    return cbor2.dumps({1: 2, -1: 2, -2: key.point[1:49], -3: key.point[49:]})


def _jwk(key: arm_token.P384Key) -> bytes:
    x, y = b64u(key.point[1:49]).decode(), b64u(key.point[49:]).decode()
    return json.dumps({"kty": "EC", "crv": "P-384", "x": x, "y": y, "simulator": MARK}).encode()


def _instance_id(platform: int) -> bytes:
    """UEID of type RAND."""
    return b"\x01" + hashlib.sha256(b"simulated CCA platform %d" % platform).digest()
