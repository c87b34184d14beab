"""NVIDIA's RIM service: the signed manifest of a driver or a VBIOS, by its id.

Source: NVIDIA/nvtrust (RIM_SERVICE_URL, `rim_id` of driver and VBIOS): `<service>/v1/rim/<id>` answers JSON with the
manifest in base64. The id of a switch's manifest has parts that its report does not name, so that one is the
operator's; so are OCSP responses, for which a question needs certificates and not a name.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from attest_pipeline.collateral.recipes import (
    CERTIFICATES,
    BadCollateral,
    Documents,
    Facts,
    Request,
    Response,
    check_current,
    only,
)
from attest_pipeline.errors import BadEvidence
from attest_pipeline.model import EndorsementKind
from attest_pipeline.verifiers._nvidia.rim import prove_rim
from attest_pipeline.verifiers._nvidia.roots import trusted_roots

SITE: Final = "nvidia-rim"
_KEY: Final = re.compile(r"(driver|vbios|switch)/([0-9a-f.]{1,32})/([0-9a-z_]{1,32})")


class _Answer(Struct):
    rim: str


class NvidiaRim:
    """Recipe for `nvidia-rim/driver/<version>/<chip>` and `nvidia-rim/vbios/<version>/<project_sku_chip>`."""

    vendor = "nvidia"
    lifetime = CERTIFICATES

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        self._roots = trusted_roots(trust_anchors).rim

    def needs(self, key: str) -> tuple[str, ...]:  # noqa: ARG002 - the contract
        """Nothing: a manifest brings its certificates along."""
        return ()

    def requests(self, key: str) -> tuple[Request, ...]:
        """The manifest; nothing for a switch."""
        role, version, model = _parts(key)
        if role == "switch":
            return ()
        name = f"DRIVER_{model}_{version}" if role == "driver" else f"VBIOS_{model}_{version.replace('.', '')}"
        return (Request(SITE, f"v1/rim/NV_GPU_{name.upper()}"),)

    def documents(self, key: str, responses: Sequence[Response]) -> Documents:
        """The manifest (XML)."""
        try:
            answer = msgspec.json.decode(only(response.body for response in responses), type=_Answer)
            manifest = base64.b64decode(answer.rim, validate=True)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, binascii.Error, ValueError) as error:
            raise BadCollateral(f"no answer of a RIM service: {str(error)[:80]}") from None
        return {f"{EndorsementKind.NVIDIA_RIM}/{key}": (manifest,)}

    def facts(self, key: str, documents: tuple[bytes, ...], needed: Documents, now: datetime) -> Facts:  # noqa: ARG002 - the contract
        """Signed by NVIDIA, current, and of that version."""
        _, version, _ = _parts(key)
        try:
            rim = prove_rim(only(documents), self._roots)
        except BadEvidence as error:
            raise BadCollateral(str(error)) from None
        if rim.version.lower() != version:
            raise BadCollateral(f"the manifest of version {rim.version[:40]!r}, not {version}")
        return check_current(Facts(rim.not_before, rim.not_after, (int(rim.not_before.timestamp()),)), now)


def _parts(key: str) -> tuple[str, str, str]:
    matched = _KEY.fullmatch(key)
    if matched is None:
        raise BadCollateral(f"no key of a manifest: {key[:80]!r}")
    role, version, model = matched.groups()
    return role, version, model
