"""The table of targets."""

from collections.abc import Iterator
from fnmatch import fnmatch
from functools import partial
from typing import Final

from attest_pipeline.model import Endorsements, Evidence
from fuzz import parsers, recorded, services
from fuzz.case import Case, Target
from fuzz.resign import resign
from fuzz.verifiers import CHALLENGE, NAMES, NOW, Device, Given, devices, evidence_case, make_case, prove

_SAMPLE: Final = b'{"challenge":"%b","measurement":"00"}' % CHALLENGE.hex().encode()


def chosen(pattern: str = "*") -> list[Target]:
    """Targets whose name matches a pattern of the shell, without regard to case; makes the simulator's keys (2 s)."""
    table = (*_verifiers(), *parsers.TARGETS, *services.TARGETS)
    return [target for target in table if fnmatch(target.name.lower(), pattern.lower())]


def _verifiers() -> Iterator[Target]:
    for tee in NAMES:
        if tee == "sample":
            yield Target("verify sample", prove, lambda: [_sample_case()])
            continue
        for device in devices(tee):
            yield Target(f"verify {device.name}", prove, partial(_seeds, device), resign=resign(*device.signers))


def _seeds(device: Device) -> list[Case]:
    return [evidence_case(device.vendor, device.serial), *recorded.seeds(device.vendor.tee)]


def _sample_case() -> Case:
    """Evidence of the sample TEE, which has no vendor."""
    given = Given("sample", {}, CHALLENGE, NOW)
    return make_case(Evidence("sample", {"report": _SAMPLE}), Endorsements({}), given)
