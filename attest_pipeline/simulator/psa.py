"""Simulated PSA vendor: microcontrollers, each endorsed by its Initial Attestation Key."""

import hashlib
from collections.abc import Mapping
from typing import Final

import cbor2

from attest_pipeline.errors import Reason
from attest_pipeline.model import EndorsementKind, Evidence, FieldValue, ReferenceValueSet, TrustAnchor
from attest_pipeline.simulator import arm_token
from attest_pipeline.simulator.device import COMMON_FAULTS, Fault

_RFC_9783: Final = "tag:psacertified.org,2023:psa#tfm"
_LEGACY: Final = "PSA_IOT_PROFILE_1"
_LEGACY_LABELS: Final = {
    265: -75000, 2394: -75001, 2395: -75002, 2396: -75003, 268: -75004, 2398: -75005, 2399: -75006, 10: -75008,
    256: -75009, 2400: -75010,
}  # fmt: skip
_CALLER: Final = -1
"""The attesting program runs outside the secure world, as most do."""
_FIRMWARE: Final = {"BL": "2.1.0", "PRoT": "1.3.5", "App": "4.0.0"}
_CHANGES: Final[Mapping[Fault | None, Mapping[str, str]]] = {
    Fault.OUTDATED_TCB: {"PRoT": "1.3.4"},
    Fault.UNKNOWN_MEASUREMENT: {"App": "4.0.0-evil"},
}


class PsaVendor:
    """Test vendor for `psa`: even devices speak RFC 9783, odd ones the legacy PSA_IOT_PROFILE_1."""

    tee = "psa"

    def __init__(self) -> None:
        self._devices: dict[int, arm_token.P256Key] = {}
        self._foreign = arm_token.P256Key()

    def trust_anchors(self) -> tuple[TrustAnchor, ...]:
        """None: an IAK is an Endorsement, not a root."""
        return ()

    def endorsements(self) -> Mapping[str, tuple[bytes, ...]]:
        """The IAK of each device made so far, as a JWK."""
        implementation = arm_token.IMPLEMENTATION.hex()
        return {
            f"{EndorsementKind.PSA_IAK}/{implementation}/{_instance_id(key).hex()}": (arm_token.jwk(key),)
            for key in self._devices.values()
        }

    def reference_values(self) -> ReferenceValueSet:
        """Measurements of the current firmware, and who may ask for a token."""
        values: dict[str, tuple[FieldValue, ...]] = {**arm_token.expected_components("psa-", _FIRMWARE)}
        return ReferenceValueSet(
            name="simulated-psa", version="1", tee="psa", values=values | {"psa-client-id": (_CALLER,)}
        )

    def faults(self) -> Mapping[Fault, Reason | None]:
        """PSA revokes by withdrawing the IAK, so a revoked certificate is not among them."""
        return {fault: reason for fault, reason in COMMON_FAULTS.items() if fault is not Fault.REVOKED}

    def evidence(self, serial: int, challenge: bytes, fault: Fault | None = None) -> Evidence:
        """Token of device `serial` over the challenge; FOREIGN_CHAIN is signed by a key that nobody endorsed."""
        key = self._key(serial)
        claims = psa_claims(challenge, _instance_id(key), fault)
        if serial % 2:
            claims = as_legacy(claims)
        signer = self._foreign if fault is Fault.FOREIGN_CHAIN else key
        return Evidence("psa", {"token": arm_token.spoil(arm_token.sign1(signer, cbor2.dumps(claims)), fault)})

    def _key(self, serial: int) -> arm_token.P256Key:
        if serial not in self._devices:
            self._devices[serial] = arm_token.P256Key()
        return self._devices[serial]


def psa_claims(nonce: bytes, instance_id: bytes, fault: Fault | None = None) -> dict[int, object]:
    """Claims of RFC 9783; DEBUG, OUTDATED_TCB and UNKNOWN_MEASUREMENT show here."""
    return {
        265: _RFC_9783,
        10: nonce,
        256: instance_id,
        2396: arm_token.IMPLEMENTATION,
        2394: _CALLER,
        2395: arm_token.lifecycle(fault),
        268: hashlib.sha256(b"simulated boot").digest(),
        2398: "1234567890123-12345",
        2399: arm_token.components({**_FIRMWARE, **_CHANGES.get(fault, {})}),
        2400: "https://simulated.example",
    }


def as_legacy(claims: Mapping[int, object]) -> dict[int, object]:
    """The same claims under the labels of PSA_IOT_PROFILE_1."""
    return {_LEGACY_LABELS[label]: value for label, value in claims.items()} | {-75000: _LEGACY}


def _instance_id(key: arm_token.P256Key) -> bytes:
    """UEID of type RAND: the hash of the key, as PSA recommends."""
    return b"\x01" + hashlib.sha256(key.point).digest()
