"""A laboratory of simulated Intel parts: tests change one part of a quote or its collateral and look at the answer."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import dcap_qvl
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.simulator.intel_pki import CURRENT_SVN, IntelPki, Platform
from attest_pipeline.simulator.intel_quote import certify, make_quote, sgx_report, td_report
from attest_pipeline.verifiers._intel.verifier import DcapVerifier
from attest_pipeline.verifiers.sgx import SgxVerifier
from attest_pipeline.verifiers.tdx import TdxVerifier

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CHALLENGE = bytes(range(64))
VERSIONS = {"tdx": 4, "sgx": 3}
SEPT_VE_DISABLE = (1 << 28).to_bytes(8, "little")
MODULE_1 = bytes([CURRENT_SVN, 1]).ljust(16, bytes([CURRENT_SVN]))
KEY = ec.generate_private_key(ec.SECP256R1())


@lru_cache
def pki() -> IntelPki:
    """The one test Intel of all tests (its certificates are valid around NOW)."""
    return IntelPki(NOW)


@lru_cache
def platform() -> Platform:
    """A current platform of the test Intel."""
    return pki().platform(bytes(range(16)))


def td_body(*, svn: bytes = MODULE_1, attributes: bytes = SEPT_VE_DISABLE, extra: bytes = b"") -> bytes:
    """A TD report over CHALLENGE; with `extra` (TEE_TCB_SVN_2 and MRSERVICETD) of version 1.5."""
    rtmrs = tuple(bytes([index]) * 48 for index in range(4))
    return td_report(svn=svn, attributes=attributes, mrtd=b"\x11" * 48, rtmrs=rtmrs, report_data=CHALLENGE, extra=extra)


def enclave_body(*, debug: bool = False) -> bytes:
    """An SGX report over CHALLENGE."""
    return sgx_report(
        mrenclave=b"\x22" * 32, mrsigner=b"\x33" * 32, report_data=CHALLENGE, product=7, svn=8, debug=debug
    )


def quote(
    tee: str,
    body: bytes | None = None,
    *,
    version: int = 0,
    certification: bytes = b"",
    machine: Platform | None = None,
) -> bytes:
    """A good quote, but for the parts given."""
    version = version or VERSIONS[tee]
    certification = certification or certify(tee, version, machine or platform(), KEY)
    body = body or (td_body() if tee == "tdx" else enclave_body())
    return make_quote(tee, version, body, KEY, certification)


def collateral(
    tee: str, tcb_info: Mapping[str, object] | None = None, qe_identity: Mapping[str, object] | None = None
) -> dict[str, str]:
    """Good collateral, with these members of its two documents replaced before signing; None takes a member out."""
    info = _changed(pki().tcb_info(tee), tcb_info)
    identity = _changed(pki().qe_identity(tee), qe_identity)
    return pki().collateral(info, identity)


def verifier(tee: str, **options: Any) -> DcapVerifier:
    """The verifier of that TEE, told of the test root."""
    anchors = {"intel": (pki().root_spki,)}
    return TdxVerifier(anchors, **options) if tee == "tdx" else SgxVerifier(anchors, **options)


def prove(
    tee: str,
    data: bytes | None = None,
    document: Mapping[str, Any] | bytes | None = None,
    *,
    now: datetime = NOW,
    challenge: bytes | None = CHALLENGE,
    log: bytes | None = None,
) -> Claims:
    """Claims of a quote under collateral; good ones where none are given."""
    items = {"quote": quote(tee) if data is None else data}
    if log is not None:
        items["event_log"] = log
    document = collateral(tee) if document is None else document
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    judge = verifier(tee)
    assert isinstance(judge, (TdxVerifier, SgxVerifier))
    return judge.verify(Evidence(tee, items), Endorsements({"collateral": (text,)}), challenge=challenge, now=now)


def refusal(tee: str, data: bytes | None = None, document: Any = None, **options: Any) -> Reason:
    """Why the quote is refused. Fails the test if it is not."""
    try:
        claims = prove(tee, data, document, **options)
    except BadEvidence as error:
        return error.reason
    raise AssertionError(f"verified: {claims.tcb_status}")


def oracle(data: bytes, document: Mapping[str, str]) -> tuple[str, set[str]] | str:
    """Status and advisories that dcap-qvl gives, or the text of its refusal."""
    parts = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(document))
    root = pki().root.certificate.public_bytes(Encoding.DER)
    try:
        report = dcap_qvl.verify_with_root_ca(data, parts, root, int(NOW.timestamp()))
    except ValueError as error:
        return str(error)
    return report.status, set(report.advisory_ids)


def _changed(document: dict[str, object], changes: Mapping[str, object] | None) -> dict[str, object]:
    return {name: value for name, value in {**document, **(changes or {})}.items() if value is not None}
