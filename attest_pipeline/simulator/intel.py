"""Simulated Intel vendor: TDs or SGX enclaves on simulated platforms, with collateral of their own."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec

from attest_pipeline.errors import Reason
from attest_pipeline.model import EndorsementKind, Evidence, ReferenceValueSet, TrustAnchor
from attest_pipeline.simulator.device import COMMON_FAULTS, Fault
from attest_pipeline.simulator.intel_pki import CURRENT_SVN, FMSPC, IntelPki, Platform
from attest_pipeline.simulator.intel_quote import certify, make_quote, sgx_report, td_report

_PLATFORM_SIZE: Final = 64
_QUOTE_VERSIONS: Final = {"tdx": 4, "sgx": 3}
_MRTD: Final = hashlib.sha384(b"simulated TD").digest()
_RTMRS: Final = (*(hashlib.sha384(b"simulated RTMR %d" % index).digest() for index in range(3)), bytes(48))
_MRENCLAVE: Final = hashlib.sha256(b"simulated enclave").digest()
_MRSIGNER: Final = hashlib.sha256(b"simulated enclave signer").digest()
_SEPT_VE_DISABLE: Final = 1 << 28
_MODULE_SVN: Final = bytes([CURRENT_SVN, 1]).ljust(16, bytes([CURRENT_SVN]))


class Device(NamedTuple):
    """One machine's QE: its attestation key, and the certification that its quotes carry."""

    key: ec.EllipticCurvePrivateKey
    certification: bytes


class IntelVendor:
    """Test vendor for `tdx` (quote v4) or `sgx` (quote v3).

    Platforms hold 64 devices each, so one PPID stands for several TDs as in a data centre. Certificates and collateral
    are valid from a day before `now` to 30 days after it.
    """

    def __init__(self, tee: str, now: datetime) -> None:
        self.tee = tee
        self._pki = IntelPki(now)
        self._platforms: dict[str, Platform] = {}
        self._devices: dict[str, Device] = {}
        self._odd = {
            Fault.REVOKED: self._pki.platform(_ppid("revoked")),
            Fault.OUTDATED_TCB: self._pki.platform(_ppid("outdated"), svn=CURRENT_SVN - 1),
            Fault.FOREIGN_CHAIN: IntelPki(now).platform(_ppid("foreign")),
        }
        revoked = (self._odd[Fault.REVOKED].pck.certificate,)
        collateral = self._pki.collateral(self._pki.tcb_info(tee), self._pki.qe_identity(tee), revoked)
        self._collateral = json.dumps(collateral).encode()

    def trust_anchors(self) -> tuple[TrustAnchor, ...]:
        """The simulated root key, under the vendor name `intel`."""
        return (TrustAnchor("intel", self._pki.root_spki),)

    def endorsements(self) -> Mapping[str, tuple[bytes, ...]]:
        """One collateral document: all devices are of one FMSPC."""
        return {f"{EndorsementKind.INTEL_DCAP}/{self.tee}/{FMSPC.hex()}/platform": (self._collateral,)}

    def reference_values(self) -> ReferenceValueSet:
        """MRTD and boot-time RTMRs of the simulated TD, or MRENCLAVE and MRSIGNER of the simulated enclave."""
        rtmrs = {f"rtmr{index}": (value.hex(),) for index, value in enumerate(_RTMRS[:3])}
        values = {
            "tdx": {"mrtd": (_MRTD.hex(),), **rtmrs},
            "sgx": {"mrenclave": (_MRENCLAVE.hex(),), "mrsigner": (_MRSIGNER.hex(),)},
        }
        return ReferenceValueSet(name=f"simulated-{self.tee}", version="1", tee=self.tee, values={**values[self.tee]})

    def faults(self) -> Mapping[Fault, Reason | None]:
        """Every fault of the contract but those that the caller makes."""
        return {**COMMON_FAULTS, Fault.FOREIGN_CHAIN: Reason.UNTRUSTED_ROOT}

    def evidence(self, serial: int, challenge: bytes, fault: Fault | None = None) -> Evidence:
        """Quote of device `serial` over the challenge; REVOKED, OUTDATED_TCB and FOREIGN_CHAIN are other machines."""
        device = self._device(serial, fault)
        body = self._body(challenge, fault)
        quote = make_quote(self.tee, _QUOTE_VERSIONS[self.tee], body, device.key, device.certification)
        if fault is Fault.BAD_SIGNATURE:
            quote = quote[:40] + bytes([quote[40] ^ 1]) + quote[41:]  # user data of the header: signed, otherwise free
        if fault is Fault.TRUNCATED:
            quote = quote[: len(quote) // 2]
        return Evidence(self.tee, {"quote": quote})

    def _device(self, serial: int, fault: Fault | None) -> Device:
        name = f"{serial} {fault}" if fault in self._odd else str(serial)
        if name not in self._devices:
            platform = self._odd[fault] if fault in self._odd else self._platform(serial // _PLATFORM_SIZE)
            key = ec.generate_private_key(ec.SECP256R1())
            version = _QUOTE_VERSIONS[self.tee]
            self._devices[name] = Device(key, certify(self.tee, version, platform, key))
        return self._devices[name]

    def _platform(self, number: int) -> Platform:
        name = f"platform {number}"
        if name not in self._platforms:
            self._platforms[name] = self._pki.platform(_ppid(name))
        return self._platforms[name]

    def _body(self, challenge: bytes, fault: Fault | None) -> bytes:
        debug, unknown = fault is Fault.DEBUG, fault is Fault.UNKNOWN_MEASUREMENT
        if self.tee == "sgx":
            mrenclave = bytes(reversed(_MRENCLAVE)) if unknown else _MRENCLAVE
            return sgx_report(
                mrenclave=mrenclave, mrsigner=_MRSIGNER, report_data=challenge, product=1, svn=1, debug=debug
            )
        return td_report(
            svn=_MODULE_SVN,
            attributes=(_SEPT_VE_DISABLE | debug).to_bytes(8, "little"),
            mrtd=bytes(reversed(_MRTD)) if unknown else _MRTD,
            rtmrs=_RTMRS,
            report_data=challenge,
        )


def _ppid(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:16]
