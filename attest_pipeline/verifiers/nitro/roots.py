"""The pinned AWS key, and development anchors beside it."""

import base64
from collections.abc import Mapping
from typing import Final

AWS_NITRO_ENCLAVES_ROOT_G1: Final = base64.b64decode(
    "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE/AJU66YIwfNocOKa2pC+RjgyknNuiUv/9nLZiURLUFHlNKSx9tvjwLxYGjK3sXYHDt4S1po/6iEbZudSz33R"
    "3QlfbxNw9BcIQ9ncEAEh5M9jASgJZkSHyXlihDBNxT/0"
)
"""DER SubjectPublicKeyInfo of "aws.nitro-enclaves", P-384, 2019 to 2049.

Source: https://aws-nitro-enclaves.amazonaws.com/AWS_NitroEnclaves_Root-G1.zip (certificate SHA-256
641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b); SHA-256 of these bytes
f2caf5ecc6190b4a8399b78bc58a2bbcd0382375db8a1bfd78a82743874fd225.
"""

VENDOR: Final = "aws"


def trusted_roots(trust_anchors: Mapping[str, tuple[bytes, ...]]) -> frozenset[bytes]:
    """Root keys to trust: that of AWS, and the development anchors under the vendor name `aws`."""
    return frozenset((AWS_NITRO_ENCLAVES_ROOT_G1, *trust_anchors.get(VENDOR, ())))
