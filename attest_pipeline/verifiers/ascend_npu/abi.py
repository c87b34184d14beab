"""The firmware measurement list of a host with NPUs: entries of the kernel's IMA log to components.

An NPU has no storage: whenever it starts, the host's driver reads its firmware from files, and IMA measures them.
Sources: openeuler-mirror/secGear, examples/npu_attestation (README.md, scripts/ima-policy) and service/attestation
(attester/src/ima/mod.rs, verifier/src/ima); openeuler-mirror/global-trust-authority, verifier ascend_npu
(src/log_verifier.rs). Both judge every entry but `boot_aggregate`, wherever the file lies.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.model import LoggedEvent
from attest_pipeline.verifiers._shared.eventlog.ima import VIOLATION

MAX_DIGESTS: Final = 256
"""Every digest stands in a claim. A host that measures more than its firmware needs a narrower IMA policy."""
_MAX_PATH: Final = 256
_HEXADECIMAL: Final = frozenset({64, 96, 128})
"""Digits of a digest that nobody can forge, such as SHA-256."""

Components = Mapping[str, str]
"""Path → its different digests in hexadecimal, in the order of measurement, joined by commas."""


def read_components(entries: Iterable[LoggedEvent]) -> Components:
    """Every file of the list, `violation` in the place of a digest that IMA could not take.

    Raises BadEvidence(EMPTY | TOO_LARGE | MALFORMED | UNSUPPORTED_FORMAT).
    """
    found: dict[str, dict[str, None]] = {}  # a dict keeps each digest once, in the order of the first
    for entry in entries:
        found.setdefault(_path(entry), {})[_digest(entry)] = None
    if not found:
        raise BadEvidence(Reason.EMPTY, "firmware measurement list without a file")
    if (count := sum(map(len, found.values()))) > MAX_DIGESTS:
        raise BadEvidence(Reason.TOO_LARGE, f"firmware measurement list of {count} digests")
    return {path: ",".join(digests) for path, digests in found.items()}


def _path(entry: LoggedEvent) -> str:
    """Where the file lay. That of a violation is shown, but proven by nothing."""
    whole = entry.text_authenticated or entry.kind == VIOLATION
    if not whole or not 0 < len(entry.text) <= _MAX_PATH:
        raise BadEvidence(Reason.MALFORMED, "firmware file without a printable path of at most 256 characters")
    return entry.text


def _digest(entry: LoggedEvent) -> str:
    if entry.kind == VIOLATION:
        return VIOLATION
    if len(entry.digest) not in _HEXADECIMAL:
        raise BadEvidence(Reason.UNSUPPORTED_FORMAT, "firmware file measured by a hash of less than 256 bits")
    return entry.digest
