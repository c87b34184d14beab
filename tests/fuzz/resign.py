"""Signatures made good again after an alteration, with the simulator's keys, so that what lies behind them is reached.

A signer replaces items in place. What an alteration left unreadable for it stays as it is.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import cbor2
from awscrt.crypto import EC
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from lxml import etree

from attest_pipeline.simulator import itrustee, tpm_quote
from attest_pipeline.simulator.amd import SIGNED, sign_report
from attest_pipeline.simulator.arm_token import PLATFORM, REALM, Key
from attest_pipeline.simulator.azure import td_report
from attest_pipeline.simulator.device import Vendor
from attest_pipeline.simulator.hygon import Chip
from attest_pipeline.simulator.intel_pki import IntelPki, sign_raw
from attest_pipeline.simulator.nvidia_pki import NvidiaPki
from attest_pipeline.simulator.nvidia_rim import sign_rim
from attest_pipeline.simulator.pki import Identity
from attest_pipeline.verifiers._shared.der import elements
from fuzz.case import Case
from fuzz.formats import der

Items = dict[str, bytes]
Signer = Callable[[Items], None]
IssuerKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_SIGNATURE_OF_RIM: Final = "{http://www.w3.org/2000/09/xmldsig#}Signature"
_QUOTE_BODY: Final = {"tdx": 584, "sgx": 384}
_RUNTIME: Final = 0x4C0
_HARDWARE: Final = 0x20


def resign(*signers: Signer) -> Callable[[Case], Case]:
    """A function that has each signer sign a case anew."""

    def signed(case: Case) -> Case:
        items = dict(case.items)
        for signer in signers:
            with suppress(Exception):
                signer(items)
        return Case(items, case.given)

    return signed


# ── certificates and what is built alike ──────────────────────────────────────────────────────────────────────────────
def resign_der(document: bytes, key: IssuerKey, digest: hashes.HashAlgorithm) -> bytes:
    """A certificate or CRL (SEQUENCE of what is signed, algorithm, signature) signed anew by the key."""
    ((_, parts, _),) = elements(document)
    (_, _, signed), (_, _, algorithm), _ = elements(parts)
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(signed, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    else:
        signature = key.sign(signed, ec.ECDSA(digest))
    return der(0x30, signed + algorithm + der(0x03, b"\0" + signature))


def certificate(item: str, key: IssuerKey, digest: hashes.HashAlgorithm, genuine: bytes = b"") -> Signer:
    """Signs the certificate or CRL of an item, unless it is the genuine one: RSA takes its time."""

    def sign(items: Items) -> None:
        if items[item] != genuine:
            items[item] = resign_der(items[item], key, digest)

    return sign


# ── Intel ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def dcap_quote(tee: str, key: ec.EllipticCurvePrivateKey, pck: ec.EllipticCurvePrivateKey) -> Signer:
    """Signs a quote by its attestation key, and the report of its QE by the PCK."""

    def sign(items: Items) -> None:
        quote = bytearray(items["evidence/quote"])
        end = 48 + _QUOTE_BODY[tee]
        quote[end + 4 : end + 68] = sign_raw(key, bytes(quote[:end]))
        report = end + 4 + 64 + 64 + (6 if tee == "tdx" else 0)
        quote[report + 384 : report + 448] = sign_raw(pck, bytes(quote[report : report + 384]))
        items["evidence/quote"] = bytes(quote)

    return sign


def dcap_collateral(item: str, pki: IntelPki) -> Signer:
    """Signs every part of DCAP collateral."""

    def sign(items: Items) -> None:
        document: dict[str, Any] = json.loads(items[item])
        for part in ("tcb_info", "qe_identity"):
            document[f"{part}_signature"] = sign_raw(pki.signer.key, document[part].encode()).hex()
        for part, issuer in (("root_ca_crl", pki.root), ("pck_crl", pki.authority)):
            with suppress(Exception):
                document[part] = resign_der(bytes.fromhex(document[part]), issuer.key, hashes.SHA256()).hex()
        items[item] = json.dumps(document).encode()

    return sign


# ── AMD and Hygon ─────────────────────────────────────────────────────────────────────────────────────────────────────
def snp_report(key: EC) -> Signer:
    """Signs an SEV-SNP report by the chip's key."""

    def sign(items: Items) -> None:
        items["evidence/report"] = sign_report(key, items["evidence/report"][:SIGNED].ljust(SIGNED, b"\0"))

    return sign


def csv_report(chip: Chip) -> Signer:
    """Signs a CSV report, version 2 in its wrapper or version 1 bare, by the chip's PEK."""

    def sign(items: Items) -> None:
        report = bytearray(items["evidence/report"])
        start, end, at = (20, 20 + 1024, 20 + 1024) if report.startswith(b"ATTESTATION_EXT") else (0, 180, 192)
        report[at : at + 144] = chip.pek.signer.sign_field(bytes(report[start:end]), chip.pek.user_id)
        items["evidence/report"] = bytes(report)

    return sign


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def cose(item: str, key: Key) -> Signer:
    """Signs a COSE_Sign1 that fills an item, tagged or bare."""

    def sign(items: Items) -> None:
        items[item] = resign_cose(items[item], key)

    return sign


def resign_cose(message: bytes, key: Key) -> bytes:
    """A COSE_Sign1 under its own protected header, signed anew by the key."""
    found = cbor2.loads(message)
    protected, unprotected, payload, _ = found.value if isinstance(found, cbor2.CBORTag) else found
    signature = key.sign(cbor2.dumps(["Signature1", protected, b"", payload]))
    parts = [protected, unprotected, payload, signature]
    return cbor2.dumps(cbor2.CBORTag(found.tag, parts) if isinstance(found, cbor2.CBORTag) else parts)


def collection(realm: Key, platform: Key) -> Signer:
    """Signs both tokens of a CCA or virtCCA collection, bare or in CMW records."""
    keys = {REALM: realm, PLATFORM: platform}

    def sign(items: Items) -> None:
        tokens = cbor2.loads(items["evidence/token"])
        signed = {label: _resign_record(record, keys.get(label)) for label, record in tokens.value.items()}
        items["evidence/token"] = cbor2.dumps(cbor2.CBORTag(tokens.tag, signed))

    return sign


def _resign_record(record: Any, key: Key | None) -> Any:
    """A token of a collection: a byte string, or `[type, token, …]`."""
    if key is None:
        return record
    if isinstance(record, bytes):
        return resign_cose(record, key)
    kind, token, *rest = record
    return [kind, resign_cose(token, key), *rest]


class IdentityKey:
    """The key of a simulated certificate as one that signs COSE."""

    def __init__(self, identity: Identity, digest: hashes.HashAlgorithm, algorithm: int) -> None:
        self._identity, self._digest = identity, digest
        self.algorithm, self.point = algorithm, b""

    def sign(self, message: bytes) -> bytes:
        """Signature as big-endian r||s."""
        return self._identity.sign_raw(message, self._digest)


def itrustee_report(ak: rsa.RSAPrivateKey) -> Signer:
    """Signs the payload of an iTrustee report."""

    def sign(items: Items) -> None:
        report = json.loads(items["evidence/report"])
        payload = report["payload"]
        items["evidence/report"] = itrustee.encode_report(
            payload, itrustee.sign(ak, payload), report["akcert"][payload["scenario"]]
        )

    return sign


def bound_list() -> Signer:
    """Has the nonce of an iTrustee report end with the digest of the firmware list."""

    def bind(items: Items) -> None:
        report = json.loads(items["evidence/report"])
        nonce = base64.urlsafe_b64decode(report["payload"]["nonce"] + "==")
        digest = hashlib.sha256(items["evidence/firmware_log"]).digest()
        report["payload"]["nonce"] = itrustee.b64u(nonce[: -len(digest)] + digest)
        items["evidence/report"] = json.dumps(report).encode()

    return bind


# ── TPMs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def tpm(ak: Identity) -> Signer:
    """Signs a TPM's quote by its AK."""

    def sign(items: Items) -> None:
        raw = ak.sign_raw(items["evidence/attest"], hashes.SHA256())
        items["evidence/signature"] = tpm_quote.ecdsa_signature(raw)

    return sign


def azure(ak: rsa.RSAPrivateKey, hardware: Vendor) -> Signer:
    """Signs a vTPM's quote by its AK, and has the hardware report vouch for run-time data that is new."""
    vouched: set[bytes] = set()

    def sign(items: Items) -> None:
        document = json.loads(items["evidence/evidence"])
        quote = document["tpm_quote"]
        with suppress(Exception):
            message = bytes.fromhex(quote["message"])
            quote["signature"] = ak.sign(message, padding.PKCS1v15(), hashes.SHA256()).hex()
        with suppress(Exception):
            report = base64.urlsafe_b64decode(document["hcl_report"] + "==")
            if report[_RUNTIME:] not in vouched:
                document |= _vouched(report, hardware)
            vouched.add(report[_RUNTIME:])
        items["evidence/evidence"] = json.dumps(document).encode()

    return sign


def _vouched(report: bytes, hardware: Vendor) -> dict[str, str]:
    """Members of the document for an HCL report whose hardware report is over its run-time data."""
    size = int.from_bytes(report[_RUNTIME + 16 : _RUNTIME + 20], "little")
    digest = hashlib.sha256(report[_RUNTIME + 20 : _RUNTIME + 20 + size]).digest().ljust(64, b"\0")
    items = hardware.evidence(0, digest).items
    if hardware.tee == "snp":
        name, proof, own = "vcek", items["leaf"], items["report"]
    else:
        name, proof, own = "td_quote", items["quote"], td_report(items["quote"], digest)
    whole = report[:_HARDWARE] + own.ljust(_RUNTIME - _HARDWARE, b"\0") + report[_RUNTIME:]
    return {"hcl_report": _base64url(whole), name: _base64url(proof)}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# ── NVIDIA ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def spdm_report(firmware: Identity) -> Signer:
    """Signs an SPDM report by the key of the device's firmware."""

    def sign(items: Items) -> None:
        body = items["evidence/report"][:-96]
        items["evidence/report"] = body + firmware.sign_raw(body, hashes.SHA384())

    return sign


def rim(item: str, pki: NvidiaPki, genuine: bytes) -> Signer:
    """Signs the RIM of an item, if it is no longer the genuine one."""

    def sign(items: Items) -> None:
        if items[item] == genuine:
            return
        tag = etree.fromstring(items[item])
        for old in tag.findall(_SIGNATURE_OF_RIM):
            tag.remove(old)
        items[item] = sign_rim(etree.tostring(tag).decode(), pki.signer.key, pki.rim_chain())

    return sign


def jws(item: str, signer: Callable[[bytes], bytes]) -> Signer:
    """Signs the compact JWS of an item."""

    def sign(items: Items) -> None:
        message, _, _ = items[item].rpartition(b".")
        items[item] = message + b"." + base64.urlsafe_b64encode(signer(message)).rstrip(b"=")

    return sign
