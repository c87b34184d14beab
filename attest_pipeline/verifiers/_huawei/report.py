"""Reports of Huawei iTrustee's quoting service, format "TEE.RA.1.0": bytes to structs. Nothing here is proven.

What is signed is written nowhere: it is the base64url text of the payload as cJSON prints it. Source:
openeuler-mirror/kunpengsecl, attestation/tee/tverlib/verifier/teeverifier.c (members, scenarios), and
openeuler-mirror/secGear, service/attestation (the envelope).
"""

import base64
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from attest_pipeline import strict_json
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._huawei.cjson import render

NO_AS: Final = "sce_no_as"
AS_NO_DAA: Final = "sce_as_no_daa"
VERSION: Final = "TEE.RA.1.0"
MAX_REPORT: Final = 64 * 1024
_DAA: Final = "sce_as_with_daa"
_SCENARIOS: Final = frozenset({NO_AS, AS_NO_DAA})
_DIGESTS: Final = range(32, 33)
_NONCES: Final = range(1, 65)
_ANY: Final = range(1, MAX_REPORT)
_MAX_TEXT: Final = 256
_ENVELOPE: Final = frozenset({"report", "ima_log"})


class Report(NamedTuple):
    """A report. `message` is what `signature` covers; `ak_certificate` is compact JSON in the form of its scenario."""

    message: bytes
    signature: bytes
    ak_certificate: bytes
    scenario: str
    nonce: bytes
    uuid: str
    ta_img: bytes
    ta_mem: bytes
    timestamp: str
    tcb: str


class AkCertificate(NamedTuple):
    """An AK that a device root key (DRK) vouches for: `message` is what `signature` covers, `n` the AK's modulus."""

    message: bytes
    signature: bytes
    drk_certificate: bytes
    qta_img: bytes
    qta_mem: bytes
    n: bytes


class _Envelope(Struct, forbid_unknown_fields=True):
    report: str
    ima_log: list[int] | None = None


class _Document(Struct, forbid_unknown_fields=True):
    report_sign: dict[str, object]
    akcert: dict[str, object]
    payload: dict[str, object]
    handler: str


class _Payload(Struct):
    version: str
    timestamp: str
    nonce: str
    scenario: str
    uuid: str
    hash_alg: str
    sign_alg: str
    ta_mem: str
    ta_img: str
    tcb: str


class _DrkSignature(Struct, forbid_unknown_fields=True):
    drk_cert: str
    drk_sign: str


class _AkDocument(Struct, forbid_unknown_fields=True):
    signature: _DrkSignature
    payload: dict[str, object]
    handler: str


class _AkKey(Struct, forbid_unknown_fields=True):
    kty: str
    n: str
    e: str


class _AkPayload(Struct):
    version: str
    scenario: str
    sign_alg: str
    hash_alg: str
    qta_img: str
    qta_mem: str
    ak_pub: _AkKey


@lru_cache(maxsize=64)
def read_evidence(report: bytes, ima_log: bytes | None) -> tuple[Report, bytes | None]:
    """Report and IMA log, as given or out of secGear's envelope `{"report": …, "ima_log": …}` around both.

    Remembered for a moment, because Endorsements are asked for first and the report is proven right after.
    Raises BadEvidence(MALFORMED | TOO_LARGE | UNSUPPORTED_FORMAT).
    """
    document = strict_json.load(report)
    if not isinstance(document, dict) or not document.keys() <= _ENVELOPE:
        return _read_report(document, len(report)), ima_log
    envelope = strict_json.convert(document, _Envelope, "iTrustee envelope")
    if envelope.ima_log is not None and ima_log is not None:
        raise BadEvidence(Reason.MALFORMED, "an IMA log in the envelope and one beside it")
    inner = envelope.report.encode()
    log = _octets_of(envelope.ima_log) if ima_log is None else ima_log
    return _read_report(strict_json.load(inner), len(inner)), log


def _read_report(document: object, size: int) -> Report:
    if size > MAX_REPORT:
        raise BadEvidence(Reason.TOO_LARGE, f"iTrustee report of {size} bytes")
    report = strict_json.convert(document, _Document, "iTrustee report")
    payload = strict_json.convert(report.payload, _Payload, "iTrustee payload")
    if payload.scenario == _DAA:
        raise BadEvidence(Reason.UNSUPPORTED_FORMAT, "report signed by direct anonymous attestation (FP512BN)")
    if payload.scenario not in _SCENARIOS:
        raise BadEvidence(Reason.MALFORMED, "report of an unknown scenario")
    _require_algorithms(payload)
    scenarios = [*report.report_sign], [*report.akcert]
    if report.handler != "report-output" or scenarios != ([payload.scenario], [payload.scenario]):
        raise BadEvidence(Reason.MALFORMED, "report whose parts are not of the scenario in its payload")
    if max(map(len, (payload.uuid, payload.timestamp, payload.tcb))) > _MAX_TEXT:
        raise BadEvidence(Reason.MALFORMED, "report with an overlong text")
    return Report(
        message=_message(report.payload),
        signature=_octets(report.report_sign[payload.scenario]),
        ak_certificate=msgspec.json.encode(report.akcert[payload.scenario]),
        scenario=payload.scenario,
        nonce=_octets(payload.nonce, _NONCES),
        uuid=payload.uuid,
        ta_img=_octets(payload.ta_img, _DIGESTS),
        ta_mem=_octets(payload.ta_mem, _DIGESTS),
        timestamp=payload.timestamp,
        tcb=payload.tcb,
    )


def read_ak(certificate: bytes) -> AkCertificate:
    """Certificate of an AK by a device root key, as scenario `sce_no_as` has it.

    Raises BadEvidence(MALFORMED).
    """
    document = strict_json.decode(certificate, _AkDocument, "iTrustee AK certificate")
    payload = strict_json.convert(document.payload, _AkPayload, "iTrustee AK payload")
    _require_algorithms(payload)
    if (document.handler, payload.scenario) != ("provisioning-output", NO_AS):
        raise BadEvidence(Reason.MALFORMED, "AK certificate of another scenario")
    if (payload.ak_pub.kty, payload.ak_pub.e) != ("RSA", "AQAB"):
        raise BadEvidence(Reason.MALFORMED, "AK is no RSA key of exponent 65537")
    return AkCertificate(
        message=_message(document.payload),
        signature=_octets(document.signature.drk_sign),
        drk_certificate=_drk_certificate(document.signature.drk_cert),
        qta_img=_octets(payload.qta_img, _DIGESTS),
        qta_mem=_octets(payload.qta_mem, _DIGESTS),
        n=_octets(payload.ak_pub.n),
    )


def _drk_certificate(text: str) -> bytes:
    """DER certificate of a DRK: base64url around base64, filled up with NULs."""
    try:
        return base64.b64decode(_octets(text).rstrip(b"\0"), validate=True)
    except ValueError:
        raise BadEvidence(Reason.MALFORMED, "DRK certificate is no base64") from None


def read_ak_certificate(certificate: bytes) -> bytes:
    """X.509 certificate of an AK by an attestation key service, as scenario `sce_as_no_daa` has it: base64url.

    Raises BadEvidence(MALFORMED).
    """
    return _octets(strict_json.load(certificate)).rstrip(b"\0")


def _require_algorithms(payload: _Payload | _AkPayload) -> None:
    if (payload.version, payload.sign_alg, payload.hash_alg) != (VERSION, "PS256", "HS256"):
        raise BadEvidence(Reason.MALFORMED, f"not {VERSION} with PS256 and HS256")


def _message(payload: dict[str, object]) -> bytes:
    """What the signature over a payload covers."""
    return base64.urlsafe_b64encode(render(payload).encode()).rstrip(b"=")


def _octets(text: object, sizes: range = _ANY) -> bytes:
    """Bytes of canonical base64url without padding."""
    if isinstance(text, str) and text.isascii():
        try:
            found = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))  # forgives what the comparison does not
        except ValueError:
            found = b""
        if len(found) in sizes and base64.urlsafe_b64encode(found).rstrip(b"=") == text.encode():
            return found
    raise BadEvidence(Reason.MALFORMED, "report with a value that is no base64url, or of another size")


def _octets_of(numbers: list[int] | None) -> bytes | None:
    try:
        return None if numbers is None else bytes(numbers)
    except ValueError:
        raise BadEvidence(Reason.MALFORMED, "IMA log of numbers that are no bytes") from None
