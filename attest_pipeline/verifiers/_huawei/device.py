"""Proof of a certificate that names a device's key, up to a pinned root."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache

from msgspec import Struct

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Endorsements
from attest_pipeline.verifiers._shared.x509 import (
    MAX_PATH,
    Crl,
    Path,
    check_not_revoked,
    check_window,
    load_certificate,
    prove_crl,
    public_key,
    signed_path,
)


class Device(Struct, frozen=True, eq=False):
    """A device certificate under a pinned root: its key (DER SubjectPublicKeyInfo), and the key's SHA-256 as `name`.

    `crl` is that of its issuer, if one is endorsed; `documents` maps each Endorsement used to its SHA-256, `checks`
    names what was checked. Proofs are remembered, and so one object for equal documents.
    """

    path: Path
    spki: bytes
    name: str
    crl: Crl | None
    documents: Mapping[str, str]
    checks: tuple[str, ...]


def prove_device(certificate: bytes, endorsements: Endorsements, roots: frozenset[bytes], now: datetime) -> Device:
    """Prove a device certificate (DER or PEM) through the Endorsements `ca` at `now`. Raises BadEvidence.

    A CRL is checked if one is endorsed as `crl`; Huawei publishes none.
    """
    device = prove_certificate(certificate, authorities(endorsements), issuer_crl(endorsements), roots)
    check_current(device, now)
    return device


def authorities(endorsements: Endorsements) -> tuple[bytes, ...]:
    """The Endorsements `ca`. Raises BadEvidence(MISSING_ENDORSEMENT)."""
    if "ca" not in endorsements.items:
        raise BadEvidence(Reason.MISSING_ENDORSEMENT, "no certificates of Huawei's authorities")
    return endorsements.items["ca"]


def issuer_crl(endorsements: Endorsements) -> bytes | None:
    """The Endorsement `crl`, if there is one. Raises BadEvidence(BAD_ENDORSEMENT) if there are more."""
    crl = endorsements.one("crl")
    if crl is None and "crl" in endorsements.items:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "need one CRL")
    return crl


def check_current(device: Device, now: datetime) -> None:
    """Require that a proven device is valid at `now`, and not revoked if a CRL is endorsed. Raises BadEvidence."""
    check_window(device.path.not_before, device.path.not_after, now, "certificate chain")
    if device.crl is not None:
        check_not_revoked(device.path.serials[0], device.crl, now)


@lru_cache(maxsize=8192)
def prove_certificate(
    certificate: bytes, authorities: tuple[bytes, ...], crl: bytes | None, roots: frozenset[bytes]
) -> Device:
    """Prove a device certificate, its time not yet judged: `check_current` must follow on every call.

    `crl` must be of its issuer. Raises BadEvidence.
    """
    if len(authorities) > MAX_PATH:
        raise BadEvidence(Reason.TOO_LARGE, f"{len(authorities)} certificates of authorities")
    path = signed_path(load_certificate(certificate), tuple(map(load_certificate, authorities)), roots)
    spki = public_key(path.leaf).spki
    documents = {f"ca/{number}": _digest(document) for number, document in enumerate(authorities)}
    if crl is None:
        return Device(path, spki, _digest(spki), None, documents, ("device-certificate",))
    if len(path.certificates) == 1:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "no certificate of the CRL's issuer")
    proven = prove_crl(crl, path.certificates[1])
    checks = ("device-certificate", "revocation")
    return Device(path, spki, _digest(spki), proven, {**documents, "crl": _digest(crl)}, checks)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
