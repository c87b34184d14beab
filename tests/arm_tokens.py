"""Tokens of Arm's layout with any claim changed and signed anew: what a forger with real keys could send."""

import json
from collections.abc import Callable, Mapping

import cbor2
import pytest

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.simulator import arm_token

LEGACY = "http://arm.com/CCA-SSD/1.0.0"
INSTANCE = b"\x01" + bytes(range(32))
CHALLENGE = bytes(range(64))
Changes = Mapping[int, object]
ABSENT = object()


def change(claims: dict[int, object], changes: Changes) -> bytes:
    """Encoded claims with some replaced, added, or (ABSENT) left out."""
    return cbor2.dumps({label: value for label, value in {**claims, **changes}.items() if value is not ABSENT})


def platform_token(key: arm_token.Key, realm_key: bytes, changes: Changes) -> bytes:
    claims = arm_token.platform_claims(LEGACY, realm_key, INSTANCE, None)
    return arm_token.sign1(key, change(claims, changes))


def realm_payload(realm_key: bytes, changes: Changes) -> bytes:
    return change(arm_token.realm_claims(CHALLENGE, realm_key, None), changes)


def collection(platform: bytes | None, realm: bytes | None) -> bytes:
    tokens = {arm_token.PLATFORM: platform, arm_token.REALM: realm}
    return cbor2.dumps(cbor2.CBORTag(399, {label: token for label, token in tokens.items() if token is not None}))


def jwk(key: arm_token.Key) -> bytes:
    """The key as a vendor would endorse it, without the mark of a simulator."""
    members = json.loads(arm_token.jwk(key))
    del members["simulator"]
    return json.dumps(members, separators=(",", ":")).encode()


def flipped(genuine: bytes, offset: int) -> bytes:
    """The bytes with one bit of one of them flipped, another bit at each offset."""
    return genuine[:offset] + bytes([genuine[offset] ^ (1 << offset % 8)]) + genuine[offset + 1 :]


def reason_of(call: Callable[[], object]) -> Reason:
    with pytest.raises(BadEvidence) as caught:
        call()
    return caught.value.reason
