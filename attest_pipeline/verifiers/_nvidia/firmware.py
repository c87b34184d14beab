"""What a device says of its firmware, before anything is proven: its own fields, and the RIMs that belong to it."""

from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Struct

from attest_pipeline.model import FieldValue


class WantedRim(NamedTuple):
    """The RIM under an item must be of that version; `key` is where a host keeps it, such as `driver/550.90.07/gh100`.

    The last part of a key never ends in a number behind a dot.
    """

    item: str
    version: str
    key: str


class Firmware(Struct, frozen=True, eq=False):
    """Fields under canonical names, and the RIMs of the versions among them; remembered."""

    fields: Mapping[str, FieldValue]
    rims: tuple[WantedRim, ...]
