"""The certificate chain of an NVIDIA device: identity, firmware id, and the key that signs its reports."""

import hashlib
import re
from datetime import datetime
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID
from msgspec import Struct

from attest_pipeline.crypto import EcKey
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import Evidence
from attest_pipeline.verifiers._shared.ocsp import Link, links_of
from attest_pipeline.verifiers._shared.x509 import load_bundle, public_key, signed_path

_COMPOSITE_DEVICE_ID: Final = x509.ObjectIdentifier("2.23.133.5.4.1")
_TCB_INFO: Final = x509.ObjectIdentifier("2.23.133.5.4.1.1")
"""TCG DICE: Hopper and NVSwitch name their firmware in the first, Blackwell in the second."""
_SHA384_FWID: Final = bytes.fromhex("303d06096086480165030402020430")
"""DER of a FWID up to its digest: SEQUENCE, OBJECT IDENTIFIER id-sha384, OCTET STRING of 48 bytes."""
_FWID_BYTES: Final = 48
_CHIP: Final = re.compile(r"[a-z0-9_]{1,16}")
_NAME: Final = re.compile(r"[a-z0-9]{1,64}")


class Device(Struct, frozen=True, eq=False):
    """A device proven to come from NVIDIA; remembered, and its window is judged on every call.

    `chip` is such as `gh100`; `name` is the serial number of the chip's own certificate, None if it has none; `fwid` is
    the SHA-384 of the firmware that holds `key`, None if no certificate names it; `signer` is the SHA-256 of the key's
    SubjectPublicKeyInfo. `links` are the certificates that NVIDIA may revoke: all above the leaf, which the device
    makes itself.
    """

    chip: str
    name: str | None
    fwid: bytes | None
    key: EcKey
    signer: str
    not_before: datetime
    not_after: datetime
    links: tuple[Link, ...]


@lru_cache(maxsize=8192)
def prove_device(cert_chain: bytes, roots: frozenset[bytes]) -> Device:
    """Device of a PEM chain, leaf first, proven up to a pinned root; remembered by content.

    Raises BadEvidence(BAD_SIGNATURE | BAD_CHAIN | UNTRUSTED_ROOT | MALFORMED | TOO_LARGE).
    """
    leaf, *pool = load_bundle(cert_chain)
    path = signed_path(leaf, tuple(pool), roots)
    key = public_key(leaf)
    if not isinstance(key, EcKey) or key.curve != "P-384":
        raise BadEvidence(Reason.BAD_CHAIN, "device certificate holds no P-384 key")
    return Device(
        chip=chip_of(cert_chain),
        name=_chip_name(path.certificates),
        fwid=_fwid(leaf),
        key=key,
        signer=hashlib.sha256(key.spki).hexdigest(),
        not_before=path.not_before,
        not_after=path.not_after,
        links=links_of(path)[1:],
    )


def chain_of(evidence: Evidence) -> bytes:
    """The item `cert_chain`. Raises BadEvidence(EMPTY)."""
    chain = evidence.items.get("cert_chain")
    if not chain:
        raise BadEvidence(Reason.EMPTY, "no device certificate chain")
    return chain


@lru_cache(maxsize=1024)
def chip_of(cert_chain: bytes) -> str:
    """First word of the leaf's common name, in lower case; not proven. Raises BadEvidence(MALFORMED)."""
    chip = _attribute(load_bundle(cert_chain)[0], NameOID.COMMON_NAME).partition(" ")[0].lower()
    if not _CHIP.fullmatch(chip):
        raise BadEvidence(Reason.MALFORMED, "device certificate names no chip")
    return chip


def _chip_name(certificates: tuple[x509.Certificate, ...]) -> str | None:
    """Serial number in the subject of the second certificate of a proven path, which is the chip's own."""
    name = _attribute(certificates[1], NameOID.SERIAL_NUMBER).lower() if len(certificates) > 1 else ""
    return name if _NAME.fullmatch(name) else None


def _attribute(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    values = certificate.subject.get_attributes_for_oid(oid)
    return str(values[0].value) if len(values) == 1 else ""


def _fwid(leaf: x509.Certificate) -> bytes | None:
    for extension in leaf.extensions:
        if extension.oid in {_COMPOSITE_DEVICE_ID, _TCB_INFO} and isinstance(
            extension.value, x509.UnrecognizedExtension
        ):
            digest = extension.value.value.partition(_SHA384_FWID)[2][:_FWID_BYTES]
            return digest if len(digest) == _FWID_BYTES else None
    return None
