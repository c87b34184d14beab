"""Root keys of TPM manufacturers, pinned: DER SubjectPublicKeyInfo.

Google's two (vTPMs of Compute Engine). Source: https://pki.goog/cloud_integrity/ and
https://privateca-content-62d71773-0000-21da-852e-f4f5e80d7778.storage.googleapis.com/, as shipped by
google/go-tpm-tools (server/ca-certs). SHA-256 of the certificates (DER):
"tpm_ek_v1_cloud_host_root" 9bd5285f8fb18502a7947e621ffd470266f49fcd3b73e19a190f690ad32a7caf,
"EK/AK CA Root" 594759594b9b61524f6c8ef668f7177f7b9066bc0674f2f49fe9e052be78beb2.
Other manufacturers' roots come as development anchors under `tpm`, or their AKs are enrolled one by one.
"""

from base64 import b64decode
from collections.abc import Mapping
from typing import Final

_CLOUD_HOST: Final = (
    "MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEA+8I7pO5X+Oknhq5hWj70Mq12wLsQ/mle3JfC9ucKPaRP7wk8Zv7604nKWKENI7YE"
    "2u2pW6SSJXx1dhjQxA258+KdKcFk/uzVFc3gX32TS1Ijd7lMjYPBEUFXSNy7uthmXPHeY7WW02n/1RUDfPEvPrrdI+egEFRQ2Vedj3Qm504t"
    "/Bc0/rwqIK39ggbteshExjyJc0WtNL0EiVotv4siCaHb0U39hxCxewDK6bzfkWhQtwMurOtOMD7et9G9AvCurlCwlwRW5lhVFBLm13hFtEPP"
    "gYtDMe1FPQNJ7z1oUCd1oryHiL9YsOg4jxInwHyb5W85YNifH/uo/o2wKeJxWDsFDNioC2VNMdTOLk13ansdzcVtuphTvgR01O0UDAOwj3k3"
    "R/4sLfBErXG8aBpFJ2cl6SWE1Wx07TRMOSYBV2SQr6js+KPZKzbLBb25EfmCeiyd+zCJbEB70u/Al8Gvgw22Frt68DBy+qRG8EkWB34BW6A6"
    "7A4ILescUSq5qhRak2u9IEUxWihaCzR8wxxK1hiP69F31o0O2AexuBJC8IUOaj3WVypEVzBioN/wmZDBk73Jg7ONv/vcwGzFHO5el5D38v9K"
    "siAvfNLsstPJttDcsk7n3a/P6wSTr8/8g5lIY9KHk0tUtLOMd9S4xHrSEnzMajfhAcn+nWbpod+TnaECAwEAAQ=="
)
_EK_AK_CA: Final = (
    "MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEAnSX1UKjIlktKiXwrKE2ltLukGe6JwTqm2t23EBYhHZOcvFKDE0WJHt2u2h/EjSu5"
    "x6gIimxr00cgqvPewz838TyYU0eIkC7JV/ek+mYOksllDWp7zIeSkZKzcqPezlhha0R5wJV/M2zgy0q8Z8D5YoHj0Do2iLxH1HUaicsg3rBJ"
    "dfeQ/WJtGfQ0aB2qB+BF7kcLeQoCGNnqxxPwRvVIaVoHIbMTlagZOc1vKJ+TLH2hRnFdUmyq/arrXVbdqls/FyB6/zPkldBRuutDsRs7RK0r"
    "UOwpGwou4P5gvGOsFFDhR4g3lYenobS+BiI6m0ebpgpnFB6Y7+RUwtHOybUBgft404V6RwEgpGNKqmTmbi53Tiq6bp/SEGPeIT8974O8htWE"
    "uH0i0C6chIZA8D11gSB8D+paKv6lTstXemGkt4aG6WXwb/NiZCEXeF6DRu4hHvRpq/NPyIsBCvFUw1FkkQYzAg3+2rxiJPf7cRkhxKqroYAa"
    "OK5XDc0ixcLf4K5IkZDkZsOnj0tzpVY8d5Z4W/BJQaDEpermvX49GyhiArpLiGF5yBcRflztG1rpNwWUQVvRcr1+nLV2vz0t4UbFQGl0O8rE"
    "NEsybcVB6fyuZH89JF4RwmxqptQ/+rs9zuTRF8X0xvoB89l+eqClglD4gVKv0SNFJbXA9wvTfOhM/jsCAwEAAQ=="
)

PINNED: Final = (b64decode(_CLOUD_HOST), b64decode(_EK_AK_CA))
VENDOR: Final = "tpm"


def trusted_roots(trust_anchors: Mapping[str, tuple[bytes, ...]]) -> frozenset[bytes]:
    """Root keys to trust: Google's, and the development anchors under the vendor name `tpm`."""
    return frozenset((*PINNED, *trust_anchors.get(VENDOR, ())))
