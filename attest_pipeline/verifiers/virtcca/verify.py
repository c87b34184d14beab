"""Proof of virtCCA Evidence: Huawei root → device certificate → (platform token →) CVM token → measurement logs.

The signature of the CVM token is checked with a key that stands in the token itself. That key must be the device
certificate's, or the hash of it must stand in a platform token that the device certificate's key has signed; else
anybody could have made the token.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

from attest_pipeline.crypto import load_spki
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Endorsements, Evidence
from attest_pipeline.verifiers._arm.token import Platform, Realm, check_binding, read_tokens
from attest_pipeline.verifiers._huawei.device import Device, prove_device
from attest_pipeline.verifiers._shared.cose import check_signature
from attest_pipeline.verifiers._shared.eventlog import replay_ima_ascii, replay_tcg2
from attest_pipeline.verifiers.virtcca.abi import read_cvm_token, read_platform_token, token_key

EVENT_LOG: Final = "event-log"
IMA_LOG: Final = "ima-log"
_BOOT_REGISTERS: Final = (1, 2, 3)
"""Registers of a CCEL that firmware and boot loader extend; register i + 1 is REM i."""
_IMA_REGISTER: Final = 4


class Proof(NamedTuple):
    """What the signatures prove; `platform` is None if firmware sent no platform token."""

    realm: Realm
    platform: Platform | None
    checks: tuple[str, ...]


def prove_owner(evidence: Evidence, endorsements: Endorsements, roots: frozenset[bytes], now: datetime) -> Device:
    """Prove the certificate of the device that must vouch for the token, at `now`. Raises BadEvidence."""
    if "dev_cert" not in evidence.items:
        raise BadEvidence(Reason.UNBOUND, "no device certificate: the token's key is its own word")
    return prove_device(evidence.items["dev_cert"], endorsements, roots, now)


def prove_token(token: bytes, device: Device) -> Proof:
    """Prove the CVM token, and the platform token if there is one, under the device's key. Raises BadEvidence."""
    tokens = read_tokens(token)
    message, realm = read_cvm_token(tokens.realm)
    key = token_key(realm.key)
    platform = None if tokens.platform is None else _prove_platform(tokens.platform, device.spki)
    if platform is not None:
        check_binding(platform, realm)
    elif key.spki != device.spki:
        raise BadEvidence(Reason.UNBOUND, "the token's key is neither the device's nor vouched for by the platform")
    check_signature(message, key, "CVM token")
    made = ("cvm-key-binding", "cvm-signature")
    return Proof(realm, platform, ("platform-signature", *made) if platform else made)


@lru_cache(maxsize=8192)
def _prove_platform(token: bytes, device_spki: bytes) -> Platform:
    """Prove a platform token. A VM repeats it with every token until its key changes, so proofs are remembered."""
    message, platform = read_platform_token(token)
    check_signature(message, load_spki(device_spki), "platform token")
    return platform


def check_logs(realm: Realm, evidence: Evidence) -> tuple[str, ...]:
    """Names of the logs given, each of which replays to the registers of the token. Raises BadEvidence.

    `event_log` must explain REM 0 to 2, and REM 3 if it extends it; `ima_log` must explain REM 3.
    """
    made = []
    if "event_log" in evidence.items:
        replayed = replay_tcg2(evidence.items["event_log"], "sha256")
        _check_registers(realm, {**dict.fromkeys(_BOOT_REGISTERS, bytes(32)), **replayed}, "event log")
        made.append(EVENT_LOG)
    if "ima_log" in evidence.items:
        replayed = replay_ima_ascii(evidence.items["ima_log"], "sha256", frozenset({_IMA_REGISTER}))
        _check_registers(realm, {_IMA_REGISTER: bytes(32), **replayed}, "IMA log")
        made.append(IMA_LOG)
    return tuple(made)


def _check_registers(realm: Realm, replayed: Mapping[int, bytes], what: str) -> None:
    expected = {number + 1: value for number, value in enumerate(realm.extensible)}
    differing = [register for register, value in replayed.items() if expected.get(register) != value]
    if differing:
        raise BadEvidence(Reason.LOG_MISMATCH, f"{what} does not replay to register {differing[0]}")
