"""Reports of Huawei iTrustee's quoting service, format "TEE.RA.1.0": bytes to structs. Nothing here is proven.

What is signed is written nowhere: it is the base64url text of the payload as cJSON prints it. Source:
openeuler-mirror/kunpengsecl, attestation/tee/tverlib/verifier/teeverifier.c (members, scenarios), and
openeuler-mirror/secGear, service/attestation (the envelope).
"""

import base64
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from attest_pipeline import strict_json
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._huawei.cjson import render
from attest_pipeline.verifiers._shared.recurring import Recurring

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
_ESCAPE: Final = b"\\"
_TO_URL, _FROM_URL = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")


class Application(Struct, frozen=True, eq=False):
    """What is said of an application in each report; remembered, and so one object for reports that repeat it.

    `ak_certificate` is compact JSON in the form of its scenario. `printed` is the payload without timestamp and nonce:
    what is printed before, between and behind them. It is empty where that does not tell how another report would read.
    """

    printed: tuple[bytes, ...]
    ak_certificate: bytes
    scenario: str
    uuid: str
    ta_img: bytes
    ta_mem: bytes
    tcb: str


class Report(NamedTuple):
    """A report. `message` is what `signature` covers."""

    message: bytes
    signature: bytes
    timestamp: str
    nonce: bytes
    application: Application


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


def read_evidence(report: bytes, ima_log: bytes | None) -> tuple[Report, bytes | None]:
    """Report and IMA log, as given or out of secGear's envelope `{"report": …, "ima_log": …}` around both.

    Raises BadEvidence(MALFORMED | TOO_LARGE | UNSUPPORTED_FORMAT).
    """
    if _ESCAPE in report:  # an envelope cannot do without, for the quotes of the report
        return _read_escaped(report, ima_log)
    return _recurring(report), ima_log


@lru_cache(maxsize=64)
def _read_escaped(report: bytes, ima_log: bytes | None) -> tuple[Report, bytes | None]:
    """Remembered for a moment, because Endorsements are asked for first and the report is proven right after."""
    document = strict_json.load(report)
    if not isinstance(document, dict) or not document.keys() <= _ENVELOPE:
        return _recurring(report), ima_log
    envelope = strict_json.convert(document, _Envelope, "iTrustee envelope")
    if envelope.ima_log is not None and ima_log is not None:
        raise BadEvidence(Reason.MALFORMED, "an IMA log in the envelope and one beside it")
    log = _octets_of(envelope.ima_log) if ima_log is None else ima_log
    return _recurring(envelope.report.encode()), log


def _read_report(data: bytes) -> Report:
    document = strict_json.load(data)
    if len(data) > MAX_REPORT:
        raise BadEvidence(Reason.TOO_LARGE, f"iTrustee report of {len(data)} bytes")
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
    printed = render(report.payload).encode()
    return Report(
        message=_encoded(printed),
        signature=_octets(report.report_sign[payload.scenario]),
        timestamp=payload.timestamp,
        nonce=_octets(payload.nonce, _NONCES),
        application=Application(
            printed=() if _ESCAPE in data else _around(printed, payload.timestamp.encode(), payload.nonce.encode()),
            ak_certificate=msgspec.json.encode(report.akcert[payload.scenario]),
            scenario=payload.scenario,
            uuid=payload.uuid,
            ta_img=_octets(payload.ta_img, _DIGESTS),
            ta_mem=_octets(payload.ta_mem, _DIGESTS),
            tcb=payload.tcb,
        ),
    )


def _around(printed: bytes, first: bytes, second: bytes) -> tuple[bytes, ...]:
    """What stands before, between and behind two texts; nothing if they do not stand in that order."""
    start = printed.find(first)
    stop = printed.find(second, start + len(first))
    if stop < 0:
        return ()
    return printed[:start], printed[start + len(first) : stop], printed[stop + len(second) :]


def _changing(report: Report) -> tuple[bytes, ...]:
    """The texts that are new each time. Without escapes, JSON has texts as they are, and so has what is printed."""
    timestamp = report.timestamp.encode()
    if not report.application.printed or not timestamp.isdigit():
        return ()
    return timestamp, _encoded(report.nonce), _encoded(report.signature)


def _renewed(report: Report, fields: Sequence[bytes]) -> Report | None:
    """The report with other texts, if these are digits, and base64url as an encoder writes it."""
    timestamp, text, signed = fields
    nonce, signature = _decoded(text), _decoded(signed)
    if nonce is None or signature is None or not timestamp.isdigit():
        return None
    before, between, behind = report.application.printed
    message = _encoded(b"".join((before, timestamp, between, text, behind)))
    return Report(message, signature, timestamp.decode(), nonce, report.application)


_recurring: Final = Recurring(_read_report, _changing, _renewed)


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
        message=_encoded(render(document.payload).encode()),
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


def _octets(text: object, sizes: range = _ANY) -> bytes:
    """Bytes of canonical base64url without padding."""
    found = _decoded(text.encode()) if isinstance(text, str) and text.isascii() else None
    if found is None or len(found) not in sizes:
        raise BadEvidence(Reason.MALFORMED, "report with a value that is no base64url, or of another size")
    return found


def _decoded(text: bytes) -> bytes | None:
    """Bytes of canonical base64url without padding; None if it is anything else."""
    try:
        found = a2b_base64(text.translate(_FROM_URL) + b"==")  # forgives what the comparison does not
    except ValueError:
        return None
    return found if _encoded(found) == text else None


def _encoded(data: bytes) -> bytes:
    """Base64url without padding."""
    return b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=")


def _octets_of(numbers: list[int] | None) -> bytes | None:
    try:
        return None if numbers is None else bytes(numbers)
    except ValueError:
        raise BadEvidence(Reason.MALFORMED, "IMA log of numbers that are no bytes") from None
