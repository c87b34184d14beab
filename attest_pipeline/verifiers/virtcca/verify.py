"""Proof of virtCCA Evidence: Huawei root → device certificate → (platform token →) CVM token → measurement logs.

The signature of the CVM token is checked with a key that stands in the token itself. That key must be the device
certificate's, or the hash of it must stand in a platform token that the device certificate's key has signed; else
anybody could have made the token.
"""

from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

from attest_pipeline.crypto import load_spki
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Endorsements, EventLog, Evidence, LogName
from attest_pipeline.verifiers._arm.token import Platform, Realm, check_binding, read_tokens
from attest_pipeline.verifiers._huawei.device import Device, prove_device
from attest_pipeline.verifiers._shared.cose import check_signature
from attest_pipeline.verifiers._shared.eventlog.banks import BANKS
from attest_pipeline.verifiers._shared.eventlog.ima import read_ima
from attest_pipeline.verifiers._shared.eventlog.replay import Replay, explain
from attest_pipeline.verifiers._shared.eventlog.tcg2 import read_tcg2
from attest_pipeline.verifiers.virtcca.abi import read_cvm_token, read_platform_token, token_key

_BANK: Final = "sha256"
_BOOT_REGISTERS: Final = (1, 2, 3)
"""Registers of a CCEL that firmware and boot loader extend; register i + 1 is REM i."""
_IMA_REGISTER: Final = 4


class Proof(NamedTuple):
    """What the signatures prove; `platform` is None if firmware sent no platform token."""

    challenge: bytes
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
    message, nonce, realm = read_cvm_token(tokens.realm)
    key = token_key(realm.key)
    platform = None if tokens.platform is None else _prove_platform(tokens.platform, device.spki)
    if platform is not None:
        check_binding(platform, realm)
    elif key.spki != device.spki:
        raise BadEvidence(Reason.UNBOUND, "the token's key is neither the device's nor vouched for by the platform")
    check_signature(message, key, "CVM token")
    made = ("cvm-key-binding", "cvm-signature")
    return Proof(nonce, realm, platform, ("platform-signature", *made) if platform else made)


@lru_cache(maxsize=8192)
def _prove_platform(token: bytes, device_spki: bytes) -> Platform:
    """Prove a platform token. A VM repeats it with every token until its key changes, so proofs are remembered."""
    message, platform = read_platform_token(token)
    check_signature(message, load_spki(device_spki), "platform token")
    return platform


def check_logs(realm: Realm, evidence: Evidence) -> tuple[EventLog, ...]:
    """The logs given, each of which replays to the registers of the token. Raises BadEvidence.

    `event_log` must explain REM 0 to 2, and REM 3 if it extends it; `ima_log` must explain REM 3.
    """
    logs = []
    if (log := evidence.items.get("event_log")) is not None:
        logs.append(_explained(realm, LogName.CCEL, log, read_tcg2(log, _BANK), _BOOT_REGISTERS))
    if (log := evidence.items.get("ima_log")) is not None:
        replay, _ = read_ima(log, _BANK, frozenset({_IMA_REGISTER}))
        logs.append(_explained(realm, LogName.IMA, log, replay, (_IMA_REGISTER,)))
    return tuple(logs)


def _explained(realm: Realm, name: LogName, log: bytes, replay: Replay, registers: tuple[int, ...]) -> EventLog:
    """The log, which must explain these registers (one that it does not extend is zero) and extend none but REMs."""
    signed = dict(enumerate(realm.extensible, 1))
    started = {**dict.fromkeys(registers, bytes(BANKS[_BANK].size)), **replay.registers}
    return explain(name, log, replay._replace(registers=started), signed)
