"""Hosts with Ascend NPUs for the tests: firmware lists, and the reports and quotes that bind them."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from ima_lab import extended, ima_entry, template_data
from tpm_lab import CHALLENGE, attest, pcr_json, public_pem, sign, values

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Claims, Endorsements, Evidence
from attest_pipeline.simulator import itrustee
from attest_pipeline.simulator.huawei import Authority
from attest_pipeline.verifiers.ascend_npu import AscendNpuVerifier

NOW = datetime(2026, 11, 23, tzinfo=UTC)
BINDINGS = ("itrustee", "tpm")
DIRECTORY = "/usr/local/Ascend/driver/device"
GOOD, BAD = b"\x07" * 32, b"\x66" * 32
PCRS = values(numbers=tuple(range(10)))
AGGREGATE = template_data(hashlib.sha256(b"".join(PCRS.values())).digest(), b"boot_aggregate")
AUTHORITY = Authority(NOW)
DRK, AK = (rsa.generate_private_key(65537, 2048) for _ in range(2))
AK_CERT = itrustee.ak_certificate(DRK, itrustee.drk_certificate(DRK, AUTHORITY.machine("host"), AUTHORITY), AK)
CA = tuple(identity.encoded(Encoding.DER) for identity in (AUTHORITY.product, AUTHORITY.root))
ENROLLED = ec.generate_private_key(ec.SECP256R1())
DOCUMENTS: dict[str, dict[str, tuple[bytes, ...]]] = {"itrustee": {"ca": CA}, "tpm": {"ak": (public_pem(ENROLLED),)}}
VERIFIER = AscendNpuVerifier({"huawei": (AUTHORITY.root.spki,)})
Data = tuple[bytes, ...]


def component(name: str, digest: bytes = GOOD) -> bytes:
    return template_data(digest, f"{DIRECTORY}/{name}".encode())


FIRMWARE = (AGGREGATE, component("ascend_boot.bin"), component("ascend_task.bin", b"\x08" * 32))


def list_of(data: Data) -> bytes:
    return b"".join(map(ima_entry, data))


def register_of(data: Data) -> bytes:
    return extended(*(hashlib.sha256(template).digest() for template in data))


def report_over(log: bytes, challenge: bytes = CHALLENGE) -> bytes:
    payload = itrustee.report_payload(challenge + hashlib.sha256(log).digest())
    return itrustee.encode_report(payload, itrustee.sign(AK, payload), AK_CERT)


def quote_over(register: bytes, boot: dict[int, bytes] = PCRS) -> dict[str, bytes]:
    pcrs = boot | {10: register}
    message = attest(pcrs)
    return {"attest": message, "signature": sign(ENROLLED, message), "pcrs": pcr_json(pcrs)}


def bound(binding: str, log: bytes, register: bytes) -> dict[str, bytes]:
    """Evidence of an honest host of this kind, whose PCR 10 holds that value."""
    host = {"report": report_over(log)} if binding == "itrustee" else quote_over(register)
    return {**host, "firmware_log": log}


@cache
def healthy(binding: str) -> dict[str, bytes]:
    return bound(binding, list_of(FIRMWARE), register_of(FIRMWARE))


def verify(
    items: dict[str, bytes], binding: str, *, challenge: bytes | None = CHALLENGE, now: datetime = NOW
) -> Claims:
    documents = Endorsements(DOCUMENTS[binding])
    return VERIFIER.verify(Evidence("ascend-npu", items), documents, challenge=challenge, now=now)


def components_of(claims: Claims) -> set[str]:
    return {name for name in claims.measurements if name.startswith("firmware:")}


def listed(binding: str, data: Data) -> Claims:
    return verify(bound(binding, list_of(data), register_of(data)), binding)


def reason_of(call: Callable[[], object]) -> Reason:
    with pytest.raises(BadEvidence) as caught:
        call()
    return caught.value.reason


def refusal(items: dict[str, bytes], binding: str) -> Reason:
    return reason_of(lambda: verify(items, binding))
