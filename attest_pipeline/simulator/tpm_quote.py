"""A measured boot as firmware, boot loader and kernel would log it, and a TPM's quote over it, put together by hand.

Sources: TCG TPM 2.0 Library, Part 2 (TPMS_ATTEST, TPMT_SIGNATURE); TCG PC Client Platform Firmware Profile, section 10
(event log); Linux IMA (`ascii_runtime_measurements`, `binary_runtime_measurements`). Everything is SHA-256.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Final

SHA256: Final = 0x000B
ECDSA: Final = 0x0018
IMA_PCR: Final = 10
PCRS: Final = 24
CHALLENGE: Final = 32
BOOT: Final = (
    (0, b"simulated firmware"),
    (2, b"simulated option ROM"),
    (7, b"simulated secure boot variables"),
    (4, b"simulated boot loader"),
    (8, b"simulated kernel command line"),
    (9, b"simulated kernel and initrd"),
)
"""PCR and what is measured into it, in the order of a boot."""
OTHER_BOOT: Final = tuple((pcr, what.swapcase() if pcr == 4 else what) for pcr, what in BOOT)  # noqa: PLR2004
"""The same boot with another boot loader."""

_SCRTM_VERSION: Final = 0x00000008
_ATTEST_QUOTE: Final = 0x8018
_FIRMWARE_VERSION: Final = 0x2026112300000001
_MADE: Final = 3_600_000
Boot = Sequence[tuple[int, bytes]]
Files = Sequence[tuple[str, bytes]]
"""Path and SHA-256 of each file that IMA measures after a boot, in that order."""
_BOOT_PCRS: Final = 10
"""PCRs that the kernel aggregates before it measures files: those of firmware, boot loader, kernel."""


def replay(extensions: Sequence[tuple[int, bytes]]) -> dict[int, bytes]:
    """All PCRs after these extensions, each a PCR and a digest."""
    pcrs = {number: bytes(32) for number in range(PCRS)}
    for number, digest in extensions:
        pcrs[number] = hashlib.sha256(pcrs[number] + digest).digest()
    return pcrs


def boot_digests(boot: Boot) -> list[tuple[int, bytes]]:
    """What a boot extends: PCR and digest."""
    return [(pcr, hashlib.sha256(what).digest()) for pcr, what in boot]


def event_log(boot: Boot) -> bytes:
    """TCG2 log of a boot, with one bank."""
    spec = b"Spec ID Event03\0" + struct.pack("<IBBBBIHHB", 0, 0, 2, 0, 2, 1, SHA256, 32, 0)
    header = struct.pack("<II20xI", 0, 3, len(spec)) + spec
    return header + b"".join(
        struct.pack("<IIIH32sI", pcr, _SCRTM_VERSION, 1, SHA256, hashlib.sha256(what).digest(), len(what)) + what
        for pcr, what in boot
    )


def make_files(*paths: str) -> Files:
    """Simulated files of these paths."""
    return [(path, hashlib.sha256(b"simulated " + path.encode()).digest()) for path in paths]


FILES: Final = make_files("/usr/lib/systemd/systemd", "/usr/bin/simulated")


def ima_log(boot: Boot, files: Files = FILES) -> bytes:
    """ASCII IMA log of template `ima-ng` over a few files, after that boot."""
    lines = (
        f"{IMA_PCR} {hashlib.sha256(_ima_template(path, digest)).hexdigest()} ima-ng sha256:{digest.hex()} {path}\n"
        for path, digest in _measured(boot, files)
    )
    return "".join(lines).encode()


def ima_binary(boot: Boot, files: Files = FILES) -> bytes:
    """The same log in its binary form."""
    templates = (_ima_template(path, digest) for path, digest in _measured(boot, files))
    return b"".join(
        struct.pack("<I32sI6sI", IMA_PCR, hashlib.sha256(data).digest(), 6, b"ima-ng", len(data)) + data
        for data in templates
    )


def ima_digests(boot: Boot, files: Files = FILES) -> list[tuple[int, bytes]]:
    """What that log extends."""
    return [(IMA_PCR, hashlib.sha256(_ima_template(path, digest)).digest()) for path, digest in _measured(boot, files)]


def file_digests(files: Files = FILES) -> tuple[str, ...]:
    """Digests of the files in that log."""
    return tuple(digest.hex() for _, digest in files)


def _measured(boot: Boot, files: Files) -> Files:
    """Path and digest of each entry; the first is the kernel's aggregate of the boot."""
    pcrs = replay(boot_digests(boot))
    aggregate = hashlib.sha256(b"".join(pcrs[number] for number in range(_BOOT_PCRS))).digest()
    return [("boot_aggregate", aggregate), *files]


def _ima_template(path: str, digest: bytes) -> bytes:
    fields = (b"sha256:\0" + digest, path.encode() + b"\0")
    return b"".join(struct.pack("<I", len(field)) + field for field in fields)


def make_quote(pcrs: Mapping[int, bytes], challenge: bytes, ak: bytes) -> bytes:
    """TPMS_ATTEST over these PCRs and the beginning of the challenge, by the TPM of that AK (SubjectPublicKeyInfo)."""
    signer = struct.pack(">H", SHA256) + hashlib.sha256(ak).digest()
    bitmap = sum(1 << number for number in pcrs).to_bytes(3, "little")
    digest = hashlib.sha256(b"".join(value for _, value in sorted(pcrs.items()))).digest()
    return b"".join((
        struct.pack(">IH", 0xFF544347, _ATTEST_QUOTE),
        _sized(signer),
        _sized(challenge[:CHALLENGE]),
        struct.pack(">QIIBQ", _clock(challenge), 1, 0, 1, _FIRMWARE_VERSION),
        struct.pack(">IHB", 1, SHA256, len(bitmap)) + bitmap,
        _sized(digest),
    ))  # fmt: skip


def _clock(challenge: bytes) -> int:
    """Milliseconds since the TPM was made: another time for another challenge, and one for one."""
    return _MADE + int.from_bytes(hashlib.sha256(challenge).digest()[:4])


def ecdsa_signature(raw: bytes) -> bytes:
    """TPMT_SIGNATURE of r||s."""
    half = len(raw) // 2
    return struct.pack(">HH", ECDSA, SHA256) + _sized(raw[:half]) + _sized(raw[half:])


def reference_values(boot: Boot) -> dict[str, tuple[str, ...]]:
    """PCRs that a boot leaves, as values of a Reference Value Set."""
    pcrs = replay(boot_digests(boot))
    return {"pcr_bank": ("sha256",), **{f"pcr{number}": (pcrs[number].hex(),) for number in sorted(dict(boot))}}


def _sized(content: bytes) -> bytes:
    """A TPM2B."""
    return struct.pack(">H", len(content)) + content
