"""What an event says of itself, and whether its digest covers that.

A log's descriptions are its author's: an event's type is covered by nothing, and its data only if their hash is the
digest that was extended. So it is hashed, event by event, and read by its own form: no type is believed.
Sources: TCG PC Client Platform Firmware Profile 1.06, section 10 (types; UEFI_VARIABLE_DATA; tagged events); GRUB,
grub-core/commands/tpm.c (the description of a command has a prefix that is not measured).
"""

import struct
from collections.abc import Callable
from typing import Final
from uuid import UUID

MAX_TEXT: Final = 2048
"""Characters of a text: a path, or a command line of Linux on x86; what is longer is cut."""

_NAMES: Final = {
    0x00000000: "EV_PREBOOT_CERT",
    0x00000001: "EV_POST_CODE",
    0x00000004: "EV_SEPARATOR",
    0x00000005: "EV_ACTION",
    0x00000006: "EV_EVENT_TAG",
    0x00000007: "EV_S_CRTM_CONTENTS",
    0x00000008: "EV_S_CRTM_VERSION",
    0x00000009: "EV_CPU_MICROCODE",
    0x0000000A: "EV_PLATFORM_CONFIG_FLAGS",
    0x0000000B: "EV_TABLE_OF_DEVICES",
    0x0000000C: "EV_COMPACT_HASH",
    0x0000000D: "EV_IPL",
    0x0000000E: "EV_IPL_PARTITION_DATA",
    0x0000000F: "EV_NONHOST_CODE",
    0x00000010: "EV_NONHOST_CONFIG",
    0x00000011: "EV_NONHOST_INFO",
    0x00000012: "EV_OMIT_BOOT_DEVICE_EVENTS",
    0x00000013: "EV_POST_CODE2",
    0x80000001: "EV_EFI_VARIABLE_DRIVER_CONFIG",
    0x80000002: "EV_EFI_VARIABLE_BOOT",
    0x80000003: "EV_EFI_BOOT_SERVICES_APPLICATION",
    0x80000004: "EV_EFI_BOOT_SERVICES_DRIVER",
    0x80000005: "EV_EFI_RUNTIME_SERVICES_DRIVER",
    0x80000006: "EV_EFI_GPT_EVENT",
    0x80000007: "EV_EFI_ACTION",
    0x80000008: "EV_EFI_PLATFORM_FIRMWARE_BLOB",
    0x80000009: "EV_EFI_HANDOFF_TABLES",
    0x8000000A: "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
    0x8000000B: "EV_EFI_HANDOFF_TABLES2",
    0x8000000C: "EV_EFI_VARIABLE_BOOT2",
    0x8000000D: "EV_EFI_GPT_EVENT2",
    0x80000010: "EV_EFI_HCRTM_EVENT",
    0x800000E0: "EV_EFI_VARIABLE_AUTHORITY",
    0x800000E1: "EV_EFI_SPDM_FIRMWARE_BLOB",
    0x800000E2: "EV_EFI_SPDM_FIRMWARE_CONFIG",
    0x800000E3: "EV_EFI_SPDM_DEVICE_POLICY",
    0x800000E4: "EV_EFI_SPDM_DEVICE_AUTHORITY",
}
_VARIABLE: Final = struct.Struct("<16sQQ")
_TAG_SIZE: Final = 8
_GRUB: Final = {
    b"grub_cmd: ": b"",
    b"kernel_cmdline: ": b"",
    b"module_cmdline: ": b"",
    b"grub_cmd ": b"\0",
    b"grub_kernel_cmdline ": b"",
}
"""Prefix of a description, which GRUB (the last two: Red Hat's) does not measure → what it measures behind the rest."""


def type_name(kind: int) -> str:
    """Name of a TCG event type, or its number in hexadecimal."""
    return _NAMES.get(kind) or f"{kind:#010x}"


def event_text(data: bytes, digest: bytes, hashed: Callable[[bytes], bytes]) -> tuple[str, bool]:
    """Text of an event's data, and whether `digest`, by that hash, covers it.

    A text that is covered in part is returned in that part. Data that is no text gives the empty one.
    """
    for covered in _coverable(data):
        if hashed(covered) == digest:
            return _readable(covered)
    return _readable(data)[0], False


def printable(text: str) -> tuple[str, bool]:
    """Text that can be shown anywhere, and whether it is still the whole one that was given."""
    shown = text[:MAX_TEXT]
    if not shown.isprintable():
        shown = "".join(one if one.isprintable() else "?" for one in shown)
    return shown, shown == text


def _coverable(data: bytes) -> tuple[bytes, ...]:
    """What may have been hashed of data: a command of GRUB without its prefix; else all, or all but the end mark."""
    text = data.partition(b"\0")[0]
    for prefix, mark in _GRUB.items():
        if text.startswith(prefix):
            return (text[len(prefix) :] + mark,)
    bare = data.rstrip(b"\0")
    return (data,) if bare == data else (data, bare)


def _readable(data: bytes) -> tuple[str, bool]:
    text = _variable_name(data) or _decoded(_untagged(data))
    return printable(text) if text else ("", False)


def _untagged(data: bytes) -> bytes:
    """Content of a tagged event (number and size before it); any other data is its own."""
    tagged = data[4:_TAG_SIZE] == max(0, len(data) - _TAG_SIZE).to_bytes(4, "little")
    return data[_TAG_SIZE:] if tagged else data


def _decoded(data: bytes) -> str:
    """UTF-8, or UTF-16 that begins with a Latin letter; the empty text if that gives anything that is not shown."""
    bare = data.rstrip(b"\0")
    wide = data[1:2] == b"\0"
    try:
        text = (bare + b"\0" * (len(bare) % 2)).decode("utf-16-le") if wide else bare.decode()
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""


def _variable_name(data: bytes) -> str:
    """Name of an EFI variable as Linux's efivarfs has it (`SecureBoot-8be4df61-…`), if data is exactly a variable."""
    if len(data) < _VARIABLE.size:
        return ""
    vendor, length, size = _VARIABLE.unpack_from(data)
    if _VARIABLE.size + 2 * length + size != len(data):
        return ""
    name = _decoded(data[_VARIABLE.size : _VARIABLE.size + 2 * length])
    return f"{name}-{UUID(bytes_le=vendor)}" if name else ""
