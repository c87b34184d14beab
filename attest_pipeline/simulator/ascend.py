"""Simulated hosts with Ascend NPUs: the files that their driver reads for the NPUs, measured by IMA."""

import hashlib
from collections.abc import Mapping
from typing import Final

from attest_pipeline.errors import Reason
from attest_pipeline.model import AllowList, Evidence, FieldValue, LogName, ReferenceValueSet, TrustAnchor
from attest_pipeline.simulator import tpm_quote
from attest_pipeline.simulator.device import Fault
from attest_pipeline.simulator.itrustee import NONCE_SIZE, ItrusteeVendor
from attest_pipeline.simulator.tpm import TpmVendor

_DIRECTORY: Final = "/usr/local/Ascend/driver/device"
_FIRMWARE: Final = tuple(f"{_DIRECTORY}/simulated_{part}.bin" for part in ("boot", "control", "task"))
FILES: Final = tpm_quote.make_files(*_FIRMWARE)
OTHER_FILES: Final = (*FILES[:-1], (FILES[-1][0], hashlib.sha256(FILES[-1][1]).digest()))
"""The same list with another last component."""


class AscendVendor:
    """Test vendor for `ascend-npu`, on the machines of a `tpm` or `itrustee` vendor, which brings all but the list.

    An unknown measurement is another firmware of the NPU; every other fault is one of the host.
    """

    tee = "ascend-npu"

    def __init__(self, host: TpmVendor | ItrusteeVendor) -> None:
        self._host = host

    def trust_anchors(self) -> tuple[TrustAnchor, ...]:
        """Those of the host."""
        return self._host.trust_anchors()

    def endorsements(self) -> Mapping[str, tuple[bytes, ...]]:
        """Those of the host."""
        return self._host.endorsements()

    def reference_values(self) -> ReferenceValueSet:
        """Every component, their number, the binding, and the baseline of the host."""
        values: dict[str, tuple[FieldValue, ...]] = {f"firmware:{path}": (digest.hex(),) for path, digest in FILES}
        values |= {"firmware_components": (len(_FIRMWARE),), "binding": (self._host.tee,)}
        values |= self._host.reference_values().values
        files = AllowList(registers=(tpm_quote.IMA_PCR,), digests=tpm_quote.file_digests(FILES))
        logs = {LogName.IMA: files} if isinstance(self._host, TpmVendor) else {}
        return ReferenceValueSet(name="simulated-ascend-npu", version="1", tee=self.tee, values=values, logs=logs)

    def faults(self) -> Mapping[Fault, Reason | None]:
        """Those of the host."""
        return self._host.faults()

    def evidence(self, serial: int, challenge: bytes, fault: Fault | None = None) -> Evidence:
        """The list of host `serial`, bound by its quote or report over the first 32 bytes of the challenge."""
        other = fault is Fault.UNKNOWN_MEASUREMENT
        files, of_host = OTHER_FILES if other else FILES, None if other else fault
        log = tpm_quote.ima_binary(tpm_quote.BOOT, files)
        if isinstance(self._host, TpmVendor):
            items = self._host.quoted(serial, challenge, tpm_quote.BOOT, files, of_host)
        else:
            nonce = challenge[:NONCE_SIZE] + hashlib.sha256(log).digest()
            items = {"report": self._host.report(serial, nonce, of_host)}
        return Evidence(self.tee, {**items, "firmware_log": log})
