"""Simulated Arm CCA vendor: realms on simulated platforms, each platform endorsed by its CPAK."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

import cbor2

from attest_pipeline.errors import Reason
from attest_pipeline.model import EndorsementKind, Evidence, ReferenceValueSet, TrustAnchor
from attest_pipeline.simulator import arm_token
from attest_pipeline.simulator.device import COMMON_FAULTS, Fault

_EAT_CWT: Final = 263


class Generation(NamedTuple):
    """What tokens of one age look like; `realm` is None for the legacy format, whose key claim is a bare point."""

    platform: str
    realm: str | None
    added_platform: dict[int, object]
    added_realm: dict[int, object]


LEGACY: Final = Generation("http://arm.com/CCA-SSD/1.0.0", None, {}, {})
DRAFT: Final = Generation("tag:arm.com,2023:cca_platform#1.0.0", "tag:arm.com,2023:realm#1.0.0", {}, {})
RMM_2: Final = Generation(
    "tag:arm.com,2024:cca_platform#2.0.0",
    "tag:arm.com,2024:realm#2.0.0",
    {2394: 1, 2403: b"\x02"},
    {256: b"\x01" + hashlib.sha256(b"simulated realm instance").digest(), 44243: 1, 44244: 0},
)
_GENERATIONS: Final = (LEGACY, DRAFT, RMM_2)


class Realm(NamedTuple):
    """One realm: its attestation key, that key as a claim, and the platform token that vouches for it."""

    key: arm_token.P384Key
    key_claim: bytes
    platform_token: bytes


class CcaVendor:
    """Test vendor for `cca`: by turns, devices speak the format of RMM 1.0 (tag 399), the draft's, and RMM 2.0's (907).

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
            f"{EndorsementKind.ARM_CPAK}/{implementation}/{_instance_id(number).hex()}": (arm_token.jwk(key),)
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
        spoken = _generation(serial)
        claims = arm_token.realm_claims(challenge, realm.key_claim, fault) | spoken.added_realm
        if spoken.realm is not None:
            claims[265] = spoken.realm
        token = _collection(spoken, realm.platform_token, arm_token.sign1(realm.key, cbor2.dumps(claims)))
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
        spoken = _generation(serial)
        key_claim = key.point if spoken.realm is None else _cose_key(key)
        claims = arm_token.platform_claims(spoken.platform, key_claim, _instance_id(number), fault)
        return Realm(key, key_claim, arm_token.sign1(signer, cbor2.dumps(claims | spoken.added_platform)))


def _generation(serial: int) -> Generation:
    return _GENERATIONS[serial % len(_GENERATIONS)]


def _collection(spoken: Generation, platform: bytes, realm: bytes) -> bytes:
    if spoken.realm is not None:
        records = {arm_token.PLATFORM: [_EAT_CWT, platform], arm_token.REALM: [_EAT_CWT, realm]}
        return cbor2.dumps(cbor2.CBORTag(907, records))
    return cbor2.dumps(cbor2.CBORTag(399, {arm_token.PLATFORM: platform, arm_token.REALM: realm}))


def _cose_key(key: arm_token.P384Key) -> bytes:
    return cbor2.dumps({1: 2, -1: 2, -2: key.point[1:49], -3: key.point[49:]})


def _instance_id(platform: int) -> bytes:
    """UEID of type RAND."""
    return b"\x01" + hashlib.sha256(b"simulated CCA platform %d" % platform).digest()
