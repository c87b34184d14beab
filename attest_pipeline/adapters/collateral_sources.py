"""Where collateral comes from: the vendors' addresses, through the guarded client, and a directory of the operator's.

An address is configured, never learnt: neither from Evidence, nor from a certificate, nor from an answer (redirects are
not followed).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta, Struct

from attest_pipeline.adapters import files
from attest_pipeline.adapters.guarded_http import GuardedClient, Refused
from attest_pipeline.collateral import intel, nvidia
from attest_pipeline.collateral.budget import Rate
from attest_pipeline.collateral.recipes import BadCollateral, NotThere, Request, Response, split_name
from attest_pipeline.collateral.records import MAX_RECORD
from attest_pipeline.errors import Misconfigured, Unavailable
from attest_pipeline.model import TrustAnchor
from attest_pipeline.webhook import retry_after

IMPORTED: Final = "imported"
"""Directory below the state directory that `attest collateral import` fills."""
SETTINGS: Final = "settings.json"
READ_LIMIT: Final = 4 * 1024 * 1024
DEFAULT_SITES: Final[Mapping[str, str]] = {
    "intel": "https://api.trustedservices.intel.com/",
    intel.ROOT_CRL_SITE: "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
    "amd": "https://kdsintf.amd.com/",
    "hygon": "https://cert.hygon.cn/",
    nvidia.SITE: "https://rim.attestation.nvidia.com/",
    nvidia.OCSP_SITE: "https://ocsp.ndis.nvidia.com/",
}
DEFAULT_RATES: Final[Mapping[str, Rate]] = {
    "intel": Rate(interval=0.5, burst=16),
    "amd": Rate(interval=10.0, burst=3),
    "hygon": Rate(interval=2.0, burst=2),
    "nvidia": Rate(interval=0.2, burst=16),
}
"""AMD's KDS grants about one VCEK each ten seconds to an address; the burst is for a product's chain and CRL.

NVIDIA publishes no limit; its burst is for the manifests of a device and the status of some ten certificates.
"""

_NUMBER: Final = re.compile(r"~\d+$")
_OK, _NOT_FOUND, _TOO_MANY, _BUSY = 200, 404, 429, 503
_SILENCE: Final = 60.0
"""Seconds of silence after a refusal that names none."""


class CollateralSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The operator's settings (JSON). `sites` and `rates` override the defaults by name; an empty address is none.

    `offline` asks no vendor. `allow_private` admits a PCCS on one's own network. `trust_anchors` are roots of simulated
    vendors. `timeout` (seconds) bounds one request.
    """

    sites: dict[str, str] = {}
    rates: dict[str, Rate] = {}
    offline: bool = False
    allow_private: bool = False
    timeout: Annotated[float, Meta(gt=0, le=120)] = 10.0
    trust_anchors: tuple[TrustAnchor, ...] = ()
    max_bytes: Annotated[int, Meta(gt=0)] = 256 * 1024 * 1024
    max_count: Annotated[int, Meta(gt=0)] = 100_000


class Throttled(Unavailable):
    """The vendor wants to be asked less; `retry_after` seconds of silence."""


def read_settings(state: Path) -> CollateralSettings:
    """Settings out of `settings.json` in the state directory, or the defaults. Raises Misconfigured."""
    path = state / SETTINGS
    if not path.exists():
        return CollateralSettings()
    return files.decode_json(path, files.read(path), CollateralSettings)


class Vendors:
    """Asks the vendors over the network; `async with` the client it is given."""

    def __init__(self, settings: CollateralSettings, client: GuardedClient, clock: Callable[[], float]) -> None:
        """Raises Misconfigured for an address that can never be called."""
        self._sites = {} if settings.offline else {**DEFAULT_SITES, **settings.sites}
        self._client = client
        self._clock = clock
        for site, address in self._sites.items():
            try:
                client.check(address or "https://nowhere.invalid/")
            except Refused as error:
                raise Misconfigured(f"collateral site {site}: {error}") from None

    def serve(self, request: Request) -> bool:
        """Whether there is an address to ask."""
        return bool(self._sites.get(request.site))

    async def fetch(self, request: Request) -> Response:
        """The whole answer. Raises NotThere, Throttled, Unavailable, or BadCollateral if it is too large."""
        method, headers = ("POST", {"Content-Type": request.media_type}) if request.body else ("GET", {})
        address = self._sites[request.site] + request.path
        try:
            answer = await self._client.send(method, address, headers=headers, body=request.body or None)
        except Refused as error:
            raise Unavailable(str(error)) from None
        if answer.status == _NOT_FOUND and not request.body:  # whoever takes questions says it in an answer
            raise NotThere(request.site)
        if answer.status in (_TOO_MANY, _BUSY):
            asked = retry_after(answer.headers.get("Retry-After", ""), int(self._clock()))
            raise Throttled(f"{request.site}: HTTP {answer.status}", asked or _SILENCE)
        if answer.status != _OK:
            raise Unavailable(f"{request.site}: HTTP {answer.status}")
        if not answer.complete:
            raise BadCollateral(f"{request.site}: an answer of more than {READ_LIMIT} bytes")
        return Response({name.lower(): value for name, value in answer.headers.items()}, answer.body)


class Directory:
    """The operator's files, as `attest collateral import` lays them down: `<kind>/<key>`, or `<key>~0` and so on."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: dict[str, int] = {}

    def changed(self) -> dict[str, int]:
        """Names whose files are new or were replaced since the last call → when that was; blocks on the disk."""
        found = {name: int(max(path.stat().st_mtime for path in paths)) for name, paths in self._files().items()}
        fresh = {name: changed for name, changed in found.items() if self._seen.get(name) != changed}
        self._seen = found
        return fresh

    def forget(self, name: str) -> None:
        """Report that name as changed again: nothing could be made of it yet."""
        self._seen.pop(name, None)

    def documents(self, name: str) -> tuple[bytes, ...]:
        """Documents of a name, in order; empty if there are none; blocks on the disk. Raises BadCollateral."""
        paths = self._files().get(name, [])
        if sum(path.stat().st_size for path in paths) > MAX_RECORD:
            raise BadCollateral(f"{name}: files of more than {MAX_RECORD} bytes")
        return tuple(path.read_bytes() for path in paths)

    def _files(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path, name in self._named():
            found.setdefault(name, []).append(path)
        return found

    def _named(self) -> Iterator[tuple[Path, str]]:
        for path in sorted(self._root.rglob("*")):
            name = _NUMBER.sub("", path.relative_to(self._root).as_posix())
            if path.is_file() and not path.name.startswith("."):
                try:
                    split_name(name)
                except BadCollateral:
                    continue
                yield path, name
