"""The pinned Huawei keys, and development anchors beside them."""

import base64
from collections.abc import Mapping
from typing import Final

HUAWEI_EQUIPMENT_CA: Final = base64.b64decode(
    "MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEAoomEJwvzKfaG5gJ15rvzY+q3HEpBECV5WYqTr/LSI769AfDm6RVJ1Pqi6I2VGJTZlx/EYEYB"
    "QdbAUsjrhooj9LjbSdJTy28pbHPtn69kZbf6m2LNaEBs/qDZflHQDrZv5T84IFDlVbLdeTr39GH+i0NwkGpTdlSVoCqRVLnQylkNn82xU+WEn74Rcb7b"
    "1n4HZ7SgCbd7Bb5Cq/UMPtBGDaUIsORAC3i1gmUmFOwPd/abqmEemjQOOO0tSvEoFqGr/Nj+FGP8pC143IE3gp70UbVIGtYHSMJuXf70ZQeYpecLKRiy"
    "3rOEqJs1GK757x4qOeeTWT6b5qSFzaJcL2FuaKQMmMxNOaVUjph3/0WP3R7aPF1nsTiav1ABQTMoh+DU+HGaVo2Fke1vRsUVwKZkK6y17XtQhfyM11gT"
    "ANrUi9Fp0Sc+R0XCs7DguhZLIqrGLLRY3AhOyezYnK9wcKuRa2YqhknS5i0Z/e16lZVnTd9R19en80YWTIjpL0HvrmE/gV24VNX2SIekUQB91dQD6G1Z"
    "Ql4eTw6vAmuHQpRzR2KeUT9D2+cwaME6gc0r+7LB6zXHkLFg3jY1/befTcL4miJVyJT4lhBCXNtl7TJuLHP/vJoDhTDV6+BVrvL3Rtn4EaXliTtBNN+Q"
    "+kwpbuEqNhpTf3yHHKecFWAFhdVocUkCAwEAAQ=="
)
"""DER SubjectPublicKeyInfo of "Huawei Equipment CA", RSA-4096, 2011 to 2041.

Source: openeuler-mirror/secGear, service/attestation/oeas/service/conf/Huawei Equipment Root CA.pem (certificate
SHA-256 da2abe9225d795a380e2899d530ef0318a5b32bc81aafd4488ba961ddf7502d4); SHA-256 of these bytes
904a25a3d70550522eb95d52809357e905c8f3df3b2e44dc6776d7a2b8335d9e.
"""

HUAWEI_ECC_ATTESTATION_ROOT_CA_1: Final = base64.b64decode(
    "MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBj2FWHK72OURkIiraICImBliUbP9Q8K/YSec7HPc0GnHjF9CQDXfKdpok0SW64tYstYtBNJD6UMixdd7f"
    "tbQ8JaoBuUzfJcGgp9RPAIjrWfxD+S/FJqYKZfPZHEb/d+yZL9or1M53yc4HTbWVdcw5EkdKr6DzxheRSVFQkA2s/QtQ+EQ="
)
"""DER SubjectPublicKeyInfo of "Huawei ECC Attestation Root CA 1", P-521, 2024 to 2074.

Source: openeuler-mirror/global-trust-authority, attestation_server/verifier/virtcca/src/constants.rs (certificate
SHA-256 40ea8ca77eaa1058246aa0ab2190d25cd7ab0860b3d0eae52bb9ff5ed35d79f8); SHA-256 of these bytes
0b3172473d241cfbf2499069664c54d6ebfa3ed85be7564925638da517c6d386. No public Evidence shows a device under it.
"""

VENDOR: Final = "huawei"


def trusted_roots(trust_anchors: Mapping[str, tuple[bytes, ...]]) -> frozenset[bytes]:
    """Root keys to trust: Huawei's, and the development anchors under the vendor name `huawei`."""
    return frozenset((HUAWEI_EQUIPMENT_CA, HUAWEI_ECC_ATTESTATION_ROOT_CA_1, *trust_anchors.get(VENDOR, ())))
