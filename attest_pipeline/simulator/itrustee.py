"""Simulated iTrustee vendor: trusted applications on simulated machines, quoted in scenario `sce_no_as`."""

import hashlib
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from attest_pipeline.errors import Reason
from attest_pipeline.model import EndorsementKind, Evidence, ReferenceValueSet, TrustAnchor
from attest_pipeline.simulator.device import COMMON_FAULTS, Fault
from attest_pipeline.simulator.huawei import Authority
from attest_pipeline.simulator.pki import Identity

MACHINE_SIZE: Final = 64
NONCE_SIZE: Final = 32
UUID: Final = "5e1f6d2c-0000-4000-8000-73696d756c61"

_SCENARIO: Final = "sce_no_as"
_COMMON: Final = {"version": "TEE.RA.1.0", "scenario": _SCENARIO, "sign_alg": "PS256", "hash_alg": "HS256"}
_PSS: Final = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
_DRK_FIELD: Final = 4096
_UPTIME: Final = 95581178870534
"""What a machine calls the time of its first report; each further one is later by what its nonce says."""
_TRUNCATED: Final = 1000
_FAULTS: Final[Mapping[Fault, Reason | None]] = {
    fault: reason for fault, reason in COMMON_FAULTS.items() if fault is not Fault.DEBUG
}
"""A report does not say whether anything is in debug state."""
_MACHINE_FAULTS: Final = frozenset({Fault.REVOKED, Fault.OUTDATED_TCB, Fault.FOREIGN_CHAIN})

TA_IMG: Final = hashlib.sha256(b"simulated TA, image").digest()
TA_MEM: Final = hashlib.sha256(b"simulated TA, memory").digest()
QTA_IMG: Final = hashlib.sha256(b"simulated quoting TA, image").digest()
QTA_MEM: Final = hashlib.sha256(b"simulated quoting TA, memory").digest()


class Machine(NamedTuple):
    """One machine: the key of its quoting TA, and the certificate of that key by the machine's root key."""

    ak: rsa.RSAPrivateKey
    certificate: dict[str, object]


class ItrusteeVendor:
    """Test vendor for `itrustee`; AKs have the 4096 bits of real ones, root keys of machines 2048, to save time.

    A machine runs 64 applications. An outdated TCB is an older quoting TA, which the baseline does not know.
    """

    tee = "itrustee"

    def __init__(self, now: datetime) -> None:
        self._authority, self._forger = Authority(now), Authority(now)
        self._revoked = self._authority.machine("revoked")
        self._machines: dict[tuple[int, Fault | None], Machine] = {}

    def trust_anchors(self) -> tuple[TrustAnchor, ...]:
        """The simulated root key, under the vendor name `huawei`."""
        return (TrustAnchor("huawei", self._authority.root.spki),)

    def endorsements(self) -> Mapping[str, tuple[bytes, ...]]:
        """Certificates of product authority and root, and the authority's CRL."""
        authority = self._authority
        return {
            f"{EndorsementKind.HUAWEI_CA}/itrustee": tuple(
                identity.encoded(Encoding.DER) for identity in (authority.product, authority.root)
            ),
            f"{EndorsementKind.HUAWEI_CA}/itrustee/crl": (authority.pki.crl(authority.product, [self._revoked]),),
        }

    def reference_values(self) -> ReferenceValueSet:
        """Digests of the simulated application and of the current quoting TA."""
        digests = {"ta_img": TA_IMG, "ta_mem": TA_MEM, "qta_img": QTA_IMG, "qta_mem": QTA_MEM}
        values = {name: (value.hex(),) for name, value in digests.items()}
        return ReferenceValueSet(name="simulated-itrustee", version="1", tee="itrustee", values={**values})

    def faults(self) -> Mapping[Fault, Reason | None]:
        """The faults of the contract but debug, of which a report does not speak."""
        return _FAULTS

    def evidence(self, serial: int, challenge: bytes, fault: Fault | None = None) -> Evidence:
        """Report of application `serial` over the first 32 bytes of the challenge."""
        return Evidence("itrustee", {"report": self.report(serial, challenge[:NONCE_SIZE], fault)})

    def report(self, serial: int, nonce: bytes, fault: Fault | None = None) -> bytes:
        """Report of application `serial` over a nonce of at most 64 bytes."""
        machine = self._machine(serial // MACHINE_SIZE, fault if fault in _MACHINE_FAULTS else None)
        payload = report_payload(nonce, fault)
        signature = sign(machine.ak, payload)
        if fault is Fault.BAD_SIGNATURE:
            signature = signature[:-1] + bytes((signature[-1] ^ 1,))
        report = encode_report(payload, signature, machine.certificate)
        return report[:_TRUNCATED] if fault is Fault.TRUNCATED else report

    def _machine(self, number: int, fault: Fault | None) -> Machine:
        identity = number, fault
        if identity not in self._machines:
            self._machines[identity] = self._new_machine(*identity)
        return self._machines[identity]

    def _new_machine(self, number: int, fault: Fault | None) -> Machine:
        authority = self._forger if fault is Fault.FOREIGN_CHAIN else self._authority
        named = self._revoked if fault is Fault.REVOKED else authority.machine(f"machine {number}")
        drk, ak = (rsa.generate_private_key(65537, bits) for bits in (2048, 4096))
        qta_img = hashlib.sha256(QTA_IMG).digest() if fault is Fault.OUTDATED_TCB else QTA_IMG
        return Machine(ak, ak_certificate(drk, drk_certificate(drk, named, authority), ak, qta_img))


def report_payload(nonce: bytes, fault: Fault | None = None) -> dict[str, object]:
    """What an AK signs of an application, members in the order of the firmware."""
    ta_img = hashlib.sha256(TA_IMG).digest() if fault is Fault.UNKNOWN_MEASUREMENT else TA_IMG
    return {
        "version": _COMMON["version"],
        "timestamp": f"{_UPTIME + int.from_bytes(nonce[:4])}",
        "nonce": b64u(nonce),
        "scenario": _SCENARIO,
        "uuid": UUID,
        "hash_alg": _COMMON["hash_alg"],
        "sign_alg": _COMMON["sign_alg"],
        "ta_mem": b64u(TA_MEM),
        "ta_img": b64u(ta_img),
        "ta_attr": "",
        "tcb": "",
    }


def encode_report(payload: Mapping[str, object], signature: bytes, certificate: object) -> bytes:
    """The report around a payload, its signature and the certificate of its AK, in the payload's scenario."""
    scenario = str(payload["scenario"])
    parts = {"report_sign": {scenario: b64u(signature)}, "akcert": {scenario: certificate}, "payload": payload}
    return cjson({**parts, "handler": "report-output"}).encode()


def ak_certificate(
    drk: rsa.RSAPrivateKey, drk_cert: bytes, ak: rsa.RSAPrivateKey, qta_img: bytes = QTA_IMG
) -> dict[str, object]:
    """Certificate of an AK by a device root key."""
    modulus = ak.public_key().public_numbers().n
    key = {"kty": "RSA", "n": b64u(modulus.to_bytes(ak.key_size // 8)), "e": "AQAB"}
    digests = {"qta_img": b64u(qta_img), "qta_mem": b64u(QTA_MEM)}
    payload = {**_COMMON, "timestamp": "95580941412354", **digests, "tcb": "", "ak_pub": key}
    field = b64u(b64encode(drk_cert).ljust(_DRK_FIELD, b"\0"))
    signature = {"drk_cert": field, "drk_sign": b64u(sign(drk, payload))}
    return {"signature": signature, "payload": payload, "handler": "provisioning-output"}


def drk_certificate(drk: rsa.RSAPrivateKey, named: Identity, authority: Authority) -> bytes:
    """The certificate of a machine (DER), with an RSA key in the place of its own."""
    like = named.certificate
    builder = x509.CertificateBuilder(
        like.issuer,
        like.subject,
        drk.public_key(),
        like.serial_number,
        like.not_valid_before_utc,
        like.not_valid_after_utc,
        list(like.extensions),
    )
    return builder.sign(authority.product.key, hashes.SHA512()).public_bytes(Encoding.DER)


def sign(key: rsa.RSAPrivateKey, payload: Mapping[str, object]) -> bytes:
    """PS256 over the base64url text of what cJSON prints."""
    return key.sign(b64u(cjson(payload).encode()).encode(), _PSS, hashes.SHA256())


def cjson(value: object) -> str:
    """A document as cJSON prints it, for objects that are not empty."""
    return json.dumps(value, indent="\t", separators=(",", ":\t"), ensure_ascii=False)


def b64u(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()
