"""Simulated Huawei vendor: confidential VMs on simulated virtCCA machines with device certificates."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from attest_pipeline.errors import Reason
from attest_pipeline.model import EndorsementKind, Evidence, ReferenceValueSet, TrustAnchor
from attest_pipeline.simulator import arm_token
from attest_pipeline.simulator.device import COMMON_FAULTS, Fault
from attest_pipeline.simulator.pki import Identity, Pki

_PROFILE: Final = "simulated virtCCA platform"


class Vm(NamedTuple):
    """One confidential VM: its token key, the platform token that vouches for it, and its machine's certificate."""

    key: arm_token.P521Key
    platform_token: bytes
    dev_cert: bytes


class Authority:
    """Root and product authority; another object of the same names is a forger's."""

    def __init__(self, now: datetime) -> None:
        self.pki = Pki(now, ec.SECP521R1(), hashes.SHA512())
        self.root = self.pki.issue("Simulated Attestation Root CA", None, authority=True)
        self.product = self.pki.issue("Simulated Computing CCA CA", self.root, authority=True)

    def machine(self, name: str) -> Identity:
        """A machine's key and certificate."""
        return self.pki.issue(name, self.product)


class VirtccaVendor:
    """Test vendor for `virtcca`, in its form with platform token, all keys on P-521 (an RSA-4096 key takes 0.5 s).

    A machine holds 64 VMs. Certificates and the CRL are valid from a day before `now` to 30 days after it.
    """

    tee = "virtcca"

    def __init__(self, now: datetime) -> None:
        self._authority = Authority(now)
        self._machines: dict[int, Identity] = {}
        self._vms: dict[tuple[int, Fault | None], Vm] = {}
        self._odd = {
            Fault.REVOKED: self._authority.machine("revoked"),
            Fault.FOREIGN_CHAIN: Authority(now).machine("foreign"),
        }

    def trust_anchors(self) -> tuple[TrustAnchor, ...]:
        """The simulated root key, under the vendor name `huawei`."""
        return (TrustAnchor("huawei", self._authority.root.spki),)

    def endorsements(self) -> Mapping[str, tuple[bytes, ...]]:
        """Certificates of product authority and root, and the authority's CRL."""
        chain = (self._authority.product.encoded(Encoding.DER), self._authority.root.encoded(Encoding.DER))
        crl = self._authority.pki.crl(self._authority.product, [self._odd[Fault.REVOKED]])
        return {
            f"{EndorsementKind.HUAWEI_CA}/virtcca": chain,
            f"{EndorsementKind.HUAWEI_CA}/virtcca/crl": (crl,),
        }

    def reference_values(self) -> ReferenceValueSet:
        """RIM and REMs of the simulated VM image, and measurements of the current firmware."""
        return arm_token.reference_values("virtcca", "rim", "rem", "platform-")

    def faults(self) -> Mapping[Fault, Reason | None]:
        """Every fault of the contract but those that the caller makes."""
        return COMMON_FAULTS

    def evidence(self, serial: int, challenge: bytes, fault: Fault | None = None) -> Evidence:
        """Token of device `serial` over the challenge; REVOKED and FOREIGN_CHAIN are other machines."""
        vm = self._vm(serial, fault)
        claims = cbor2.dumps(arm_token.realm_claims(challenge, vm.key.point, fault))
        cvm_token = arm_token.sign1(vm.key, cbor2.dumps(claims))
        tokens = {arm_token.PLATFORM: vm.platform_token, arm_token.REALM: cvm_token}
        token = arm_token.spoil(cbor2.dumps(cbor2.CBORTag(399, tokens)), fault)
        return Evidence("virtcca", {"token": token, "dev_cert": vm.dev_cert})

    def _vm(self, serial: int, fault: Fault | None) -> Vm:
        identity = serial, fault if fault in arm_token.PLATFORM_FAULTS else None
        if identity not in self._vms:
            self._vms[identity] = self._new_vm(*identity)
        return self._vms[identity]

    def _new_vm(self, serial: int, fault: Fault | None) -> Vm:
        number = serial // arm_token.PLATFORM_SIZE
        machine = self._odd[fault] if fault in self._odd else self._machine(number)
        instance_id = b"\x01" + hashlib.sha256(b"simulated virtCCA machine %d" % number).digest()
        key = arm_token.P521Key(ec.generate_private_key(ec.SECP521R1()))
        claims = arm_token.platform_claims(_PROFILE, key.point, instance_id, fault)
        platform_token = arm_token.sign1(arm_token.P521Key(machine.key), cbor2.dumps(claims))
        return Vm(key, platform_token, machine.encoded(Encoding.PEM))

    def _machine(self, number: int) -> Identity:
        if number not in self._machines:
            self._machines[number] = self._authority.machine(f"machine {number}")
        return self._machines[number]
