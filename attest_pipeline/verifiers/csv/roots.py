"""The pinned Hygon root key (HRK), and development anchors beside it."""

from collections.abc import Mapping
from typing import Final

from attest_pipeline import gm
from attest_pipeline.crypto import UnusableKey
from attest_pipeline.errors import Misconfigured

HYGON_ROOT_KEY: Final = (
    0xBE62E14D_62A4F14C_F3D702DB_09563A75_C80935E7_85CD1F50_2AF5F21D_92C2F62D,
    0x3BAB123A_57BB7015_584F8B97_164E9538_4A640C10_B9BE8847_38744D68_B41EB946,
)
"""Affine coordinates of the HRK on the SM2 curve.

Source: openanolis/csv-rs, src/certs/builtin/hrk.cert (832 bytes, SHA-256
296efa97580464aca0ab5eefe42199ee05862182508d1629f29cf4dc175b10cd), as confidential-containers/trustee ships it too.
"""

USER_ID: Final = b"HYGON-SSD-HRK"
"""User id with which a root key signs; it stands in the root's certificate, not in what it signs."""

VENDOR: Final = "hygon"


def trusted_roots(trust_anchors: Mapping[str, tuple[bytes, ...]]) -> tuple[gm.Sm2Key, ...]:
    """Root keys to trust: Hygon's, and the development anchors under the vendor name `hygon`. Raises Misconfigured."""
    try:
        return (gm.load_point(*HYGON_ROOT_KEY), *map(gm.load_spki, trust_anchors.get(VENDOR, ())))
    except UnusableKey:
        raise Misconfigured(f"a trust anchor of vendor {VENDOR!r} is no SM2 key") from None
