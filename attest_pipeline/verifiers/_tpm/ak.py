"""Endorsement of an attestation key (AK): enrolled by the operator, or certified by the TPM's manufacturer.

That a key is an AK (restricted, fixed to its TPM, proven by credential activation against the EK) was decided by
whoever enrolled or certified it; a quote cannot show it.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from msgspec import Struct
from msgspec.structs import replace

from attest_pipeline.crypto import EcKey, RsaKey, wrap
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
    prove_root_crl,
    public_key,
    signed_path,
)

ENROLLED: Final = "enrolled"
CERTIFIED: Final = "certificate"
_MAX_KEY: Final = 8192
_TCG_EK_CERTIFICATE: Final = "2.23.133.8.1"
_TCG_AIK_CERTIFICATE: Final = "2.23.133.8.3"
_PURPOSES: Final = frozenset({_TCG_EK_CERTIFICATE, _TCG_AIK_CERTIFICATE})
"""Google marks its AK certificates as EK certificates; those of EKs proper cannot sign (KeyUsage)."""

_CERTIFIED_CHECKS: Final = ("ak_chain_to_pinned_root", "ak_certificate_purpose", "ak_chain_current")


class Ak(Struct, frozen=True, eq=False):
    """An endorsed AK; it is remembered, and so one object for equal endorsements.

    `name` is SHA-256 of its SubjectPublicKeyInfo, `source` is ENROLLED or CERTIFIED, `documents` maps each Endorsement
    used to its SHA-256.
    """

    key: EcKey | RsaKey
    name: str
    source: str
    documents: Mapping[str, str]
    checks: tuple[str, ...]


class _Certified(NamedTuple):
    """An AK, the path of its certificate, and the CRL that must not name it."""

    ak: Ak
    path: Path
    crl: Crl | None


def endorsed_ak(endorsements: Endorsements, brought: bytes | None, roots: frozenset[bytes], now: datetime) -> Ak:
    """The enrolled key `ak` if there is one, else that of `ak_cert` under `ca` and a pinned root at `now`.

    `brought` is an AK certificate in the Evidence, for hosts that know none. Raises BadEvidence.
    """
    items = endorsements.items
    if "ak" in items:
        return load_enrolled(_only(items["ak"], "ak"))
    document = _only(items["ak_cert"], "ak_cert") if "ak_cert" in items else brought
    if document is None:
        raise BadEvidence(Reason.MISSING_ENDORSEMENT, "the AK is neither enrolled nor certified")
    crl = _only(items["crl"], "crl") if "crl" in items else None
    certified = _prove_certificate(document, items.get("ca", ()), crl, roots)
    check_window(certified.path.not_before, certified.path.not_after, now, "AK certificate chain")
    if certified.crl is not None:
        check_not_revoked(certified.path.serials[0], certified.crl, now)
    return certified.ak


@lru_cache(maxsize=8192)
def key_name(document: bytes) -> str:
    """SHA-256 of the SubjectPublicKeyInfo of a public key in PEM or DER. Raises BadEvidence(MALFORMED | TOO_LARGE)."""
    return _digest(_load_key(document).spki)


@lru_cache(maxsize=8192)
def load_enrolled(document: bytes) -> Ak:
    """AK of an enrolled public key. Raises BadEvidence(BAD_ENDORSEMENT)."""
    try:
        key = _load_key(document)
    except BadEvidence as error:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"enrolled AK: {error.detail}") from None
    return Ak(key, _digest(key.spki), ENROLLED, {"ak": _digest(document)}, ("ak_enrolled",))


def _load_key(document: bytes) -> EcKey | RsaKey:
    if len(document) > _MAX_KEY:
        raise BadEvidence(Reason.TOO_LARGE, f"public key of {len(document)} bytes")
    pem = document.lstrip().startswith(b"-----BEGIN")
    load = serialization.load_pem_public_key if pem else serialization.load_der_public_key
    try:
        return wrap(load(document))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadEvidence(Reason.MALFORMED, f"no public key: {str(error)[:80]}") from None


@lru_cache(maxsize=8192)
def _prove_certificate(
    document: bytes, authorities: tuple[bytes, ...], crl: bytes | None, roots: frozenset[bytes]
) -> _Certified:
    """AK of a certificate under a pinned root, and the CRL of its issuer; neither time nor revocation is judged."""
    if len(authorities) > MAX_PATH:
        raise BadEvidence(Reason.TOO_LARGE, f"{len(authorities)} certificates of authorities")
    certificate = load_certificate(document)
    path = signed_path(certificate, tuple(map(load_certificate, authorities)), roots)
    _check_purpose(certificate)
    key = public_key(certificate)
    documents = {f"ca/{number}": _digest(authority) for number, authority in enumerate(authorities)}
    documents["ak_cert"] = _digest(document)
    ak = Ak(key, _digest(key.spki), CERTIFIED, documents, _CERTIFIED_CHECKS)
    if crl is None:
        return _Certified(ak, path, None)
    ak = replace(ak, documents={**documents, "crl": _digest(crl)}, checks=(*_CERTIFIED_CHECKS, "ak_not_revoked"))
    return _Certified(ak, path, _prove_crl(crl, path))


def _check_purpose(certificate: x509.Certificate) -> None:
    """The certificate is for a key of a TPM that signs, not for an authority or an endorsement key."""
    found = {type(extension.value): extension.value for extension in certificate.extensions}
    constraints, usage = found.get(x509.BasicConstraints), found.get(x509.KeyUsage)
    purposes = found.get(x509.ExtendedKeyUsage)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "the AK certificate is that of an authority")
    if not isinstance(usage, x509.KeyUsage) or not usage.digital_signature:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "the AK certificate is for no key that signs")
    named = {purpose.dotted_string for purpose in purposes} if isinstance(purposes, x509.ExtendedKeyUsage) else set()
    if _PURPOSES.isdisjoint(named):
        raise BadEvidence(Reason.BAD_ENDORSEMENT, "the AK certificate is for no key of a TPM")


def _prove_crl(crl: bytes, path: Path) -> Crl:
    """CRL of the leaf's issuer."""
    issuers = path.certificates[1:]
    return prove_crl(crl, issuers[0]) if issuers else prove_root_crl(crl, path.leaf, path.root)


def _only(documents: tuple[bytes, ...], item: str) -> bytes:
    if len(documents) != 1:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"{len(documents)} documents for {item}")
    return documents[0]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
