"""Quotes as a TDX guest or SGX enclave would hand them out, put together field by field.

Sources: Intel SGX ECDSA QuoteLibReference (v3), Intel TDX DCAP Quoting Library API, appendix A.3 (v4, v5).
"""

import hashlib
import struct
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attest_pipeline.simulator.intel_pki import QE_ISVSVN, QE_MRSIGNER, QE_PRODUCTS, Platform, sign_raw

_QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_ENCLAVE_FLAGS: Final = bytes.fromhex("11")
_DEBUG: Final = 0b10


def sgx_report(*, mrenclave: bytes, mrsigner: bytes, report_data: bytes, product: int, svn: int, debug: bool) -> bytes:
    """Report of an SGX enclave (384 bytes). Product id and SVN are ISVPRODID and ISVSVN."""
    flags = bytes([_ENCLAVE_FLAGS[0] | (_DEBUG if debug else 0)])
    return b"".join((
        bytes(16 + 4 + 28),  # CPUSVN, MISCSELECT, reserved
        flags.ljust(16, b"\0"),
        mrenclave,
        bytes(32),
        mrsigner,
        bytes(96),
        struct.pack("<HH", product, svn),
        bytes(60),
        report_data,
    ))  # fmt: skip


def td_report(
    *, svn: bytes, attributes: bytes, mrtd: bytes, rtmrs: tuple[bytes, ...], report_data: bytes, extra: bytes = b""
) -> bytes:
    """Report of a TD (584 bytes, or 648 with the `extra` of version 1.5: TEE_TCB_SVN_2 and MRSERVICETD)."""
    mrseam = hashlib.sha384(b"simulated TDX module").digest()
    xfam = bytes.fromhex("e718060000000000")
    head = svn + mrseam + bytes(48) + bytes(8) + attributes + xfam
    return head + mrtd + bytes(3 * 48) + b"".join(rtmrs) + report_data + extra


def certify(
    tee: str, version: int, platform: Platform, key: ec.EllipticCurvePrivateKey, *, svn: int = QE_ISVSVN
) -> bytes:
    """Attestation key and what vouches for it: all of the signature data behind the quote's own signature."""
    public, auth = _point(key), bytes(range(32))
    bound = hashlib.sha256(public + auth).digest().ljust(64, b"\0")
    mrenclave = hashlib.sha256(b"simulated QE").digest()
    report = sgx_report(
        mrenclave=mrenclave, mrsigner=QE_MRSIGNER, report_data=bound, product=QE_PRODUCTS[tee], svn=svn, debug=False
    )
    return assemble(version, public, report, sign_raw(platform.pck.key, report), auth, platform.chain)


def assemble(version: int, public: bytes, report: bytes, signature: bytes, auth: bytes, chain: bytes) -> bytes:
    """Certification of those parts, in the layout of the quote version."""
    certificates = struct.pack("<HI", 5, len(chain)) + chain
    qe = report + signature + struct.pack("<H", len(auth)) + auth + certificates
    return public + (qe if version == 3 else struct.pack("<HI", 6, len(qe)) + qe)  # noqa: PLR2004 - the first layout


def make_quote(tee: str, version: int, body: bytes, key: ec.EllipticCurvePrivateKey, certification: bytes) -> bytes:
    """Quote of that version over the body, signed by the attestation key."""
    tee_type = 0x81 if tee == "tdx" else 0
    signed = struct.pack("<HHIHH", version, 2, tee_type, 0, 0) + _QE_VENDOR + bytes(20)
    if version == 5:  # noqa: PLR2004 - since v5 the body says what it is
        signed += struct.pack("<HI", {384: 1, 584: 2, 648: 3}[len(body)], len(body))
    signed += body
    data = sign_raw(key, signed) + certification
    return signed + struct.pack("<I", len(data)) + data


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Public key as x||y."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
