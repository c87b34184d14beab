"""Claims of a proven host, and of the firmware that it gave its NPUs.

They are `firmware:<path>` for every component, among measurements and fields. One that was measured with several
digests shows all of them, joined by commas in their order: no Reference Value is equal to that by accident, so a later
digest never hides an earlier one.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from msgspec.structs import replace

from attest_pipeline.model import Claims, FieldValue, LoggedEvent
from attest_pipeline.verifiers._shared.eventlog.reader import KEPT
from attest_pipeline.verifiers._tpm.logs import Explained, Summary
from attest_pipeline.verifiers.ascend_npu.abi import read_components

ITRUSTEE: Final = "itrustee"
TPM: Final = "tpm"
_CHECK: Final = "firmware_list"


def with_firmware(host: Claims, entries: tuple[LoggedEvent, ...]) -> Claims:
    """The claims of a host with iTrustee, which binds the list, and those of its firmware.

    Raises BadEvidence(EMPTY | TOO_LARGE | MALFORMED | UNSUPPORTED_FORMAT).
    """
    firmware = _firmware(entries)
    return replace(
        host,
        measurements={**host.measurements, **firmware},
        fields={**host.fields, **_fields(firmware, ITRUSTEE)},
        checks=(*host.checks, _CHECK),
    )


@lru_cache(maxsize=KEPT)
def explained_with_firmware(logs: Explained) -> Explained:
    """The logs of a host with a TPM, whose last is the list, and what they say of its firmware.

    Raises BadEvidence(EMPTY | TOO_LARGE | MALFORMED | UNSUPPORTED_FORMAT).
    """
    firmware = _firmware(logs.logs[-1].events)
    summary = logs.summary
    fields = {**summary.fields, **_fields(firmware, TPM)}
    return Explained(logs.logs, Summary(fields, (*summary.checks, _CHECK), firmware))


def _firmware(entries: tuple[LoggedEvent, ...]) -> dict[str, str]:
    return {f"firmware:{path}": digests for path, digests in read_components(entries).items()}


def _fields(firmware: Mapping[str, str], binding: str) -> dict[str, FieldValue]:
    """`binding` says what binds the list."""
    return {**firmware, "firmware_components": len(firmware), "binding": binding}
