"""Proof of a certificate that names a device's key, up to a pinned root."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Endorsements
from attest_pipeline.verifiers._shared.x509 import (
    MAX_PATH,
    Path,
    check_not_revoked,
    check_window,
    load_certificate,
    prove_crl,
    public_key,
    signed_path,
)


class Device(NamedTuple):
    """A device certificate under a pinned root: its key (DER SubjectPublicKeyInfo), and the key's SHA-256 as `name`.

    `documents` maps each Endorsement used to its SHA-256, `checks` names what was checked.
    """

    path: Path
    spki: bytes
    name: str
    documents: Mapping[str, str]
    checks: tuple[str, ...] = ("device-certificate",)


def prove_device(certificate: bytes, endorsements: Endorsements, roots: frozenset[bytes], now: datetime) -> Device:
    """Prove a device certificate (DER or PEM) through the Endorsements `ca` at `now`. Raises BadEvidence.

    A CRL is checked if one is endorsed as `crl`; Huawei publishes none.
    """
    return check_current(prove_certificate(certificate, authorities(endorsements), roots), endorsements, now)


def authorities(endorsements: Endorsements) -> tuple[bytes, ...]:
    """The Endorsements `ca`. Raises BadEvidence(MISSING_ENDORSEMENT)."""
    if "ca" not in endorsements.items:
        raise BadEvidence(Reason.MISSING_ENDORSEMENT, "no certificates of Huawei's authorities")
    return endorsements.items["ca"]


def check_current(device: Device, endorsements: Endorsements, now: datetime) -> Device:
    """Require that a proven device is valid at `now`, and not revoked if a CRL is endorsed. Raises BadEvidence."""
    check_window(device.path.not_before, device.path.not_after, now, "certificate chain")
    return _check_revocation(device, endorsements, now) if "crl" in endorsements.items else device


@lru_cache(maxsize=8192)
def prove_certificate(certificate: bytes, authorities: tuple[bytes, ...], roots: frozenset[bytes]) -> Device:
    """Prove a device certificate, its time not yet judged: `check_current` must follow on every call.

    Raises BadEvidence.
    """
    if len(authorities) > MAX_PATH:
        raise BadEvidence(Reason.TOO_LARGE, f"{len(authorities)} certificates of authorities")
    path = signed_path(load_certificate(certificate), tuple(map(load_certificate, authorities)), roots)
    spki = public_key(path.leaf).spki
    documents = {f"ca/{number}": _digest(document) for number, document in enumerate(authorities)}
    return Device(path, spki, _digest(spki), documents)


def _check_revocation(device: Device, endorsements: Endorsements, now: datetime) -> Device:
    crl = endorsements.one("crl")
    if crl is None or len(device.path.certificates) == 1:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "need one CRL, and the certificate of its issuer")
    check_not_revoked(device.path.leaf, prove_crl(crl, device.path.certificates[1]), now)
    documents = {**device.documents, "crl": _digest(crl)}
    return device._replace(documents=documents, checks=(*device.checks, "revocation"))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
