"""The pinned Intel key, and development anchors beside it."""

import base64
from collections.abc import Mapping
from typing import Final

INTEL_SGX_ROOT_CA: Final = base64.b64decode(
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEC6nEwMDIYZOj/iPWsCzaEKi71OiOSLRFhWGjbnBVJfVnkY4u3IjkDYYL0MxO4mqsyYjlBalTVYxFP2"
    "sJBK5zlA=="
)
"""DER SubjectPublicKeyInfo of "Intel SGX Root CA", P-256.

Two certificates carry this key (ending 2033 and 2049), so the key is pinned. Source:
https://certificates.trustedservices.intel.com/IntelSGXRootCA.der; SHA-256 of these bytes
a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e.
"""

VENDOR: Final = "intel"


def trusted_roots(trust_anchors: Mapping[str, tuple[bytes, ...]]) -> frozenset[bytes]:
    """Root keys to trust: Intel's, and the development anchors under the vendor name `intel`."""
    return frozenset((INTEL_SGX_ROOT_CA, *trust_anchors.get(VENDOR, ())))
