"""The pinned NVIDIA keys, and development anchors beside them."""

import base64
from collections.abc import Mapping
from typing import Final, NamedTuple

NVIDIA_DEVICE_IDENTITY_CA: Final = base64.b64decode(
    "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEDkwUozv4pWJmWNtBKWB+TL9FGcRBJxb00NkXxJeABb3qvq79V7xmCC1xik+LYFLhUW7op8QiuE3oVwcbtY/T"
    "lb6gz6HGPufIDWvWOQHZHLvRh9OFfcFrXM6vI4/4wn29"
)
"""DER SubjectPublicKeyInfo of "NVIDIA Device Identity CA", P-384, 2021 to 9999.

Source: NVIDIA/nvtrust, guest_tools/gpu_verifiers/local_gpu_verifier/src/verifier/certs/verifier_device_root.pem
(certificate SHA-256 102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48); SHA-256 of these bytes
a90c4eb5acfd3e3d03a25db6a26b84f720ad0503196c627c21ddd48dd85b06a4.
"""

NVIDIA_CORIM_SIGNING_ROOT_CA: Final = base64.b64decode(
    "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEuECyi9vNM+Iw2lfUzyBldHAwaC1HF7TCgp12QcEyUTm3Tagxwr48d55+K2VIlWYIDk7NlAIQdcV/Ff7euGLI"
    "+Qauj93HsSI4WX298PpW54RTgz9tC+Q684caR/BXWEeZ"
)
"""DER SubjectPublicKeyInfo of "NVIDIA CoRIM signing Root CA", P-384, 2023 to 2053.

Source: NVIDIA/nvtrust, guest_tools/gpu_verifiers/local_gpu_verifier/src/verifier/certs/verifier_RIM_root.pem
(certificate SHA-256 12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1); SHA-256 of these bytes
dec1dc316477aa851eebdf51327ae9f864bc8d89254657ed1e7eb9168af1e1a3.
"""

DEVICE_VENDOR: Final = "nvidia"
RIM_VENDOR: Final = "nvidia-rim"


class Roots(NamedTuple):
    """Root keys for devices and for RIMs: neither may vouch for what the other does."""

    device: frozenset[bytes]
    rim: frozenset[bytes]


def trusted_roots(trust_anchors: Mapping[str, tuple[bytes, ...]]) -> Roots:
    """NVIDIA's keys, and the development anchors under the vendor names `nvidia` and `nvidia-rim`."""
    return Roots(
        frozenset((NVIDIA_DEVICE_IDENTITY_CA, *trust_anchors.get(DEVICE_VENDOR, ()))),
        frozenset((NVIDIA_CORIM_SIGNING_ROOT_CA, *trust_anchors.get(RIM_VENDOR, ()))),
    )
