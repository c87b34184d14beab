"""OCSP responses of a simulated NVIDIA about one of its chips, made to measure."""

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.ocsp import OCSPCertStatus, OCSPResponseStatus

from attest_pipeline.model import EndorsementKind
from attest_pipeline.simulator.nvidia import NvidiaVendor
from attest_pipeline.simulator.nvidia_pki import Chip
from attest_pipeline.simulator.pki import Identity
from attest_pipeline.verifiers._nvidia.device import prove_device
from attest_pipeline.verifiers._nvidia.status import references

DAY = timedelta(days=1)
GOOD, REVOKED, UNKNOWN = OCSPCertStatus.GOOD, OCSPCertStatus.REVOKED, OCSPCertStatus.UNKNOWN


def name_of(vendor: NvidiaVendor, chip: Chip) -> str:
    """Reference name of the status of a chip's own certificate."""
    device = prove_device(chip.chain, frozenset((vendor.pki.root.spki,)))
    return f"{EndorsementKind.NVIDIA_CERTIFICATE_STATUS}/{references(device.links[:1], 'ocsp')[0].key}"


def about(
    vendor: NvidiaVendor,
    chip: Chip,
    start: datetime,
    *,
    end: datetime | None = None,
    status: OCSPCertStatus = GOOD,
    responder: Identity | None = None,
) -> bytes:
    """Response about a chip's own certificate, for a day from `start` unless an end is given."""
    issuer = vendor.pki._provisioner
    signer = responder or vendor.pki._responders[issuer]
    revoked = (start, x509.ReasonFlags.certificate_hold) if status is REVOKED else (None, None)
    builder = ocsp.OCSPResponseBuilder().add_response(
        chip.chip.certificate, issuer.certificate, hashes.SHA384(), status, start, end or start + DAY, *revoked
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
    return builder.certificates([signer.certificate]).sign(signer.key, hashes.SHA384()).public_bytes(Encoding.DER)


def silent(status: OCSPResponseStatus) -> bytes:
    """A response that says nothing of any certificate."""
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)
