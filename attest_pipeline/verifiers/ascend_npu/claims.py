"""Claims of a proven host, and of the firmware that it gave its NPUs."""

from collections.abc import Mapping
from functools import lru_cache

from msgspec.structs import replace

from attest_pipeline.model import Claims, LoggedEvent
from attest_pipeline.verifiers._shared.eventlog.reader import KEPT
from attest_pipeline.verifiers.ascend_npu.abi import read_components


def with_firmware(host: Claims, entries: tuple[LoggedEvent, ...], binding: str) -> Claims:
    """The host's claims, which are added to: `firmware:<path>` for every component, and what binds their list.

    A component that was measured with several digests shows all of them, joined by commas in their order: no
    Reference Value is equal to that by accident, so a later digest never hides an earlier one.
    Raises BadEvidence(EMPTY | TOO_LARGE | MALFORMED | UNSUPPORTED_FORMAT).
    """
    firmware = _firmware(entries)
    host.measurements.update(firmware)
    host.fields.update(firmware, firmware_components=len(firmware), binding=binding)
    return replace(host, checks=(*host.checks, "firmware_list"))


@lru_cache(maxsize=KEPT)
def _firmware(entries: tuple[LoggedEvent, ...]) -> Mapping[str, str]:
    """Remembered by content: hosts with one kind of NPU have one list."""
    return {f"firmware:{path}": digests for path, digests in read_components(entries).items()}
