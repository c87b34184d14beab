"""Simulated TPM manufacturer: machines with a TPM, an AK certificate and measurement logs."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from attest_pipeline.errors import Reason
from attest_pipeline.model import AllowList, EndorsementKind, Evidence, LogName, ReferenceValueSet, TrustAnchor
from attest_pipeline.simulator import tpm_quote
from attest_pipeline.simulator.device import COMMON_FAULTS, Fault
from attest_pipeline.simulator.pki import Identity, Pki

_NOT_OF_A_TPM: Final = frozenset({Fault.DEBUG, Fault.OUTDATED_TCB})
_SIGNS: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_AIK_CERTIFICATE: Final = x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.23.133.8.3")])


class _Authority:
    """Root and intermediate of a manufacturer; another object of the same names is a forger's."""

    def __init__(self, now: datetime) -> None:
        self.pki = Pki(now, ec.SECP256R1(), hashes.SHA256())
        self.root = self.pki.issue("Simulated TPM Root CA", None, authority=True)
        self.intermediate = self.pki.issue("Simulated TPM AK CA", self.root, authority=True)

    def ak(self, name: str) -> Identity:
        """An AK with its certificate."""
        return self.pki.issue(name, self.intermediate, extensions=(_SIGNS, _AIK_CERTIFICATE))


class TpmVendor:
    """Test vendor for `tpm`: ECDSA AKs on P-256, all 24 PCRs of SHA-256, with event log and IMA log.

    Certificates and the CRL are valid from a day before `now` to 30 days after it.
    """

    tee = "tpm"

    def __init__(self, now: datetime) -> None:
        self._authority = _Authority(now)
        self._aks: dict[int, Identity] = {}
        self._odd = {
            Fault.REVOKED: self._authority.ak("revoked"),
            Fault.FOREIGN_CHAIN: _Authority(now).ak("foreign"),
        }

    def trust_anchors(self) -> tuple[TrustAnchor, ...]:
        """The simulated root key, under the vendor name `tpm`."""
        return (TrustAnchor("tpm", self._authority.root.spki),)

    def endorsements(self) -> Mapping[str, tuple[bytes, ...]]:
        """Certificates of the authorities, and the CRL of the one that certifies AKs."""
        chain = (self._authority.intermediate.encoded(Encoding.DER), self._authority.root.encoded(Encoding.DER))
        crl = self._authority.pki.crl(self._authority.intermediate, [self._odd[Fault.REVOKED]])
        return {f"{EndorsementKind.TPM_CA}/authorities": chain, f"{EndorsementKind.TPM_CA}/crl": (crl,)}

    def reference_values(self) -> ReferenceValueSet:
        """PCRs of the simulated boot, and the files that may run after it."""
        values = tpm_quote.reference_values(tpm_quote.BOOT)
        files = AllowList(registers=(tpm_quote.IMA_PCR,), digests=tpm_quote.file_digests())
        return ReferenceValueSet(
            name="simulated-tpm", version="1", tee="tpm", values={**values}, logs={LogName.IMA: files}
        )

    def faults(self) -> Mapping[Fault, Reason | None]:
        """The faults of the contract that a TPM can show: it has no debug mode and no TCB version."""
        return {fault: reason for fault, reason in COMMON_FAULTS.items() if fault not in _NOT_OF_A_TPM}

    def evidence(self, serial: int, challenge: bytes, fault: Fault | None = None) -> Evidence:
        """Quote of device `serial` over the beginning of the challenge; REVOKED and FOREIGN_CHAIN are other TPMs."""
        boot = tpm_quote.OTHER_BOOT if fault is Fault.UNKNOWN_MEASUREMENT else tpm_quote.BOOT
        items = self.quoted(serial, challenge, boot, tpm_quote.FILES, fault)
        return Evidence("tpm", {**items, "ima_log": tpm_quote.ima_log(boot)})

    def quoted(
        self, serial: int, challenge: bytes, boot: tpm_quote.Boot, files: tpm_quote.Files, fault: Fault | None
    ) -> dict[str, bytes]:
        """Items of device `serial` after that boot and these files, but for the IMA log."""
        ak = self._odd[fault] if fault in self._odd else self._ak(serial)
        pcrs = tpm_quote.replay([*tpm_quote.boot_digests(boot), *tpm_quote.ima_digests(boot, files)])
        attest = tpm_quote.make_quote(pcrs, challenge, ak.spki)
        signature = bytearray(tpm_quote.ecdsa_signature(ak.sign_raw(attest, hashes.SHA256())))
        if fault is Fault.BAD_SIGNATURE:
            signature[-1] ^= 1
        return {
            "attest": attest[: len(attest) // 2] if fault is Fault.TRUNCATED else attest,
            "signature": bytes(signature),
            "pcrs": json.dumps({str(number): value.hex() for number, value in pcrs.items()}).encode(),
            "event_log": tpm_quote.event_log(boot),
            "ak_cert": ak.encoded(Encoding.DER),
        }

    def _ak(self, serial: int) -> Identity:
        if serial not in self._aks:
            self._aks[serial] = self._authority.ak(f"TPM {serial}")
        return self._aks[serial]
