"""Authorities of a simulated NVIDIA: one for devices, one for RIMs, and a responder at each of them."""

from datetime import datetime
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from attest_pipeline.simulator.pki import Identity, Pki

_COMPOSITE_DEVICE_ID: Final = x509.ObjectIdentifier("2.23.133.5.4.1")
_SHA384_FWID: Final = bytes.fromhex("303d06096086480165030402020430")
_RESPONDER: Final = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])


class Chip(NamedTuple):
    """A device: the key of its firmware, the chip's own certificate, and the whole chain as PEM, leaf first."""

    firmware: Identity
    chip: Identity
    chain: bytes


class NvidiaPki:
    """Root → identity → provisioner → chip → firmware, and RIM root → reference values → signer.

    Another object of the same names is a forger's.
    """

    def __init__(self, now: datetime) -> None:
        self._pki = Pki(now, ec.SECP384R1(), hashes.SHA384())
        self.root = self._pki.issue("NVIDIA Device Identity CA", None, authority=True)
        self._identity = self._pki.issue("simulated identity", self.root, authority=True)
        self._provisioner = self._pki.issue("simulated provisioner", self._identity, authority=True)
        self.rim_root = self._pki.issue("NVIDIA CoRIM signing Root CA", None, authority=True)
        self._reference = self._pki.issue("simulated reference values", self.rim_root, authority=True)
        self.signer = self._pki.issue("simulated RIM signer", self._reference)
        issuers = (self.root, self._identity, self._provisioner, self.rim_root, self._reference)
        self._responders = {issuer: self._responder(issuer) for issuer in issuers}

    def chip(self, model: str, name: str, fwid: bytes) -> Chip:
        """A new device; `model` is such as `GH100`, `name` the serial number of the chip, `fwid` its firmware's."""
        chip = self._pki.issue(f"{model} A01 GSP BROM", self._provisioner, authority=True, serial=name)
        extension = x509.UnrecognizedExtension(_COMPOSITE_DEVICE_ID, _SHA384_FWID + fwid)
        firmware = self._pki.issue(f"{model} A01 GSP FMC LF", chip, extensions=[extension])
        chain = (firmware, chip, self._provisioner, self._identity, self.root)
        return Chip(firmware, chip, b"".join(one.encoded(Encoding.PEM) for one in chain))

    def rim_chain(self) -> list[x509.Certificate]:
        """Certificates of a RIM, signer first."""
        return [one.certificate for one in (self.signer, self._reference, self.rim_root)]

    def ocsp(self, chip: Chip, *, revoked: bool) -> tuple[bytes, ...]:
        """Responses about every certificate of the device's chain and of a RIM; `revoked` is the chip's own."""
        links = (
            (self._identity, self.root),
            (self._provisioner, self._identity),
            (self._reference, self.rim_root),
            (self.signer, self._reference),
        )
        answers = [self._pki.ocsp(one, issuer, self._responders[issuer]) for one, issuer in links]
        issuer = self._provisioner
        return (*answers, self._pki.ocsp(chip.chip, issuer, self._responders[issuer], revoked=revoked))

    def _responder(self, issuer: Identity) -> Identity:
        return self._pki.issue("simulated OCSP responder", issuer, extensions=[_RESPONDER])
