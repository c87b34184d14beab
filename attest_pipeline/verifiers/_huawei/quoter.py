"""Proof of an iTrustee report: Huawei root → device root key (DRK) → attestation key (AK) → report.

In scenario `sce_as_no_daa` an attestation key service of the operator certifies the AK instead, by X.509. Huawei
vouches for no such service: its certificate is an Endorsement, and that Endorsement is the trust anchor.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec import Struct
from msgspec.structs import replace

from attest_pipeline.crypto import EcKey, RsaKey, UnusableKey, load_spki, wrap
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import EndorsementKind, EndorsementRef, Endorsements
from attest_pipeline.verifiers._huawei import report as abi
from attest_pipeline.verifiers._huawei.device import Device, authorities, check_current, issuer_crl, prove_certificate
from attest_pipeline.verifiers._huawei.report import Report
from attest_pipeline.verifiers._shared.x509 import MAX_PATH, check_window, load_certificate, public_key

IMA_LOG: Final = "ima-log"
_OF_A_SERVICE: Final = (EndorsementRef(item="ak_issuer", kind=EndorsementKind.HUAWEI_AK_ISSUER, key="itrustee"),)
_OF_HUAWEI: Final = (
    EndorsementRef(item="ca", kind=EndorsementKind.HUAWEI_CA, key="itrustee"),
    EndorsementRef(item="crl", kind=EndorsementKind.HUAWEI_CA, key="itrustee/crl", required=False),
)
_EXPONENT: Final = 65537
_SALT: Final = 32


class Quoter(Struct, frozen=True, eq=False):
    """Who signed the report: the AK with the SHA-256 `signer` of its SubjectPublicKeyInfo, and the proven device.

    `quoting` holds image and memory digests of the quoting TA, if a DRK vouched for it. Proofs are remembered, and so
    one object for equal documents.
    """

    key: RsaKey
    signer: str
    device: Device
    quoting: Mapping[str, bytes]


def endorsement_refs(report: Report) -> tuple[EndorsementRef, ...]:
    """Certificates of Huawei's authorities, or of the service that certified the AK."""
    return _OF_A_SERVICE if report.application.scenario == abi.AS_NO_DAA else _OF_HUAWEI


def prove_report(
    report: Report,
    ima_log: bytes | None,
    endorsements: Endorsements,
    roots: frozenset[bytes],
    challenge: bytes | None,
    now: datetime,
) -> tuple[Quoter, tuple[str, ...]]:
    """Prove a report and the IMA log that its nonce binds: its signer, and the names of what the nonce binds.

    `challenge` is the whole nonce, or all before the digest of a log. Raises BadEvidence.
    """
    quoter = _prove_quoter(report, endorsements, roots, now)
    bound = _check_nonce(report, challenge, ima_log)
    if not quoter.key.verify_pss(report.signature, report.message, "sha256", _SALT):
        raise BadEvidence(Reason.BAD_SIGNATURE, "report is not signed by its AK")
    return quoter, bound


def _prove_quoter(report: Report, endorsements: Endorsements, roots: frozenset[bytes], now: datetime) -> Quoter:
    """Prove the AK of the report at `now`, by the way of its scenario."""
    certificate = report.application.ak_certificate
    if report.application.scenario == abi.AS_NO_DAA:
        return _prove_certified(abi.read_ak_certificate(certificate), endorsements, now)
    crl = issuer_crl(endorsements)
    quoter = _prove_provisioned(certificate, authorities(endorsements), crl, roots)
    check_current(quoter.device, now)
    return quoter


@lru_cache(maxsize=8192)
def _prove_provisioned(
    ak_certificate: bytes, pool: tuple[bytes, ...], crl: bytes | None, roots: frozenset[bytes]
) -> Quoter:
    """AK that a DRK signed, its time not yet judged; a device keeps it until it is provisioned anew."""
    certificate = abi.read_ak(ak_certificate)
    device = prove_certificate(certificate.drk_certificate, pool, crl, roots)
    drk = load_spki(device.spki)
    if not isinstance(drk, RsaKey) or not drk.verify_pss(certificate.signature, certificate.message, "sha256", _SALT):
        raise BadEvidence(Reason.BAD_SIGNATURE, "AK is not signed by the device's root key")
    try:
        key = wrap(rsa.RSAPublicNumbers(_EXPONENT, int.from_bytes(certificate.n)).public_key())
    except (UnusableKey, ValueError):
        raise BadEvidence(Reason.MALFORMED, "AK is no RSA key of 2048 to 8192 bits") from None
    return _quoter(key, device, {"qta_img": certificate.qta_img, "qta_mem": certificate.qta_mem})


def _prove_certified(certificate: bytes, endorsements: Endorsements, now: datetime) -> Quoter:
    issuers = endorsements.items.get("ak_issuer", ())
    if not issuers:
        raise BadEvidence(Reason.MISSING_ENDORSEMENT, "no certificate of the service that certified this AK")
    device, windows = _certified(certificate, issuers)
    for start, end in windows:
        check_window(start, end, now, "AK certificate or its issuer")
    return _certified_quoter(device)


@lru_cache(maxsize=8192)
def _certified(certificate: bytes, issuers: tuple[bytes, ...]) -> tuple[Device, tuple[tuple[datetime, datetime], ...]]:
    """AK that a service certified, and the windows of its certificate and of the services', not yet judged."""
    if len(issuers) > MAX_PATH:
        raise BadEvidence(Reason.TOO_LARGE, f"{len(issuers)} certificates of attestation key services")
    anchors = [load_certificate(issuer) for issuer in issuers]
    device = prove_certificate(certificate, (), None, frozenset(public_key(anchor).spki for anchor in anchors))
    windows = tuple((one.not_valid_before_utc, one.not_valid_after_utc) for one in (device.path.leaf, *anchors))
    documents = {f"ak_issuer/{number}": hashlib.sha256(issuer).hexdigest() for number, issuer in enumerate(issuers)}
    return replace(device, documents=documents, checks=()), windows


@lru_cache(maxsize=8192)
def _certified_quoter(device: Device) -> Quoter:
    return _quoter(load_spki(device.spki), device, {})


def _quoter(key: EcKey | RsaKey, device: Device, quoting: Mapping[str, bytes]) -> Quoter:
    if not isinstance(key, RsaKey):
        raise BadEvidence(Reason.MALFORMED, "AK is no RSA key")
    return Quoter(key, hashlib.sha256(key.spki).hexdigest(), device, quoting)


def _check_nonce(report: Report, challenge: bytes | None, ima_log: bytes | None) -> tuple[str, ...]:
    """Names of what the nonce binds: it is the challenge, followed by the SHA-256 of the IMA log if one is given."""
    nonce, made = report.nonce, []
    if ima_log is not None:
        digest = hashlib.sha256(ima_log).digest()
        if not nonce.endswith(digest):
            raise BadEvidence(Reason.LOG_MISMATCH, "nonce does not end with the digest of the IMA log")
        nonce = nonce[: -len(digest)]
        made.append(IMA_LOG)
    if challenge is not None:
        if nonce != challenge:
            raise BadEvidence(Reason.CHALLENGE_MISMATCH, "nonce is not the challenge")
        made.append("challenge")
    return tuple(made)
