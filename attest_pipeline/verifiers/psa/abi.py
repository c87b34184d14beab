"""PSA attestation tokens: bytes to one struct, by profile. Nothing here is proven.

Sources: RFC 9783 (`tag:psacertified.org,2023:psa#tfm`); draft-tschofenig-rats-psa-token as Trusted Firmware-M and
Veraison speak it (`http://arm.com/psa/2.0.0`); PSA Attestation API 1.0 (`PSA_IOT_PROFILE_1`, labels of its own).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._arm.token import (
    DIGESTS,
    Component,
    read_components,
    read_lifecycle,
    read_service,
    read_ueid,
)
from attest_pipeline.verifiers._shared import cbor
from attest_pipeline.verifiers._shared.cose import Sign1, read_sign1, renewed_sign1
from attest_pipeline.verifiers._shared.eat import ClaimsSet
from attest_pipeline.verifiers._shared.recurring import Recurring

RFC_9783: Final = "tag:psacertified.org,2023:psa#tfm"
PSA_2: Final = "http://arm.com/psa/2.0.0"
LEGACY: Final = "PSA_IOT_PROFILE_1"
_MAX_TOKEN: Final = 16 * 1024
_TAG_MAC0: Final = b"\xd1"
_EAT_PROFILE: Final = 265
_NO_MEASUREMENTS: Final = -75007
_CLIENTS: Final = range(-(1 << 31), 1 << 31)
_CERTIFICATION: Final = re.compile(r"[0-9]{13}-[0-9]{5}")
_HARDWARE_VERSION: Final = re.compile(r"[0-9]{13}(-[0-9]{5})?")


class _Labels(NamedTuple):
    """Where a profile has its claims, and what it says of them; a certification may be the hardware version alone."""

    profile: int
    nonce: int
    instance_id: int
    implementation_id: int
    client_id: int
    lifecycle: int
    boot_seed: int
    boot_seed_sizes: range
    certification: int
    certification_form: re.Pattern[str]
    components: int
    service: int


_RFC_LABELS: Final = _Labels(
    _EAT_PROFILE, 10, 256, 2396, 2394, 2395, 268, range(8, 33), 2398, _CERTIFICATION, 2399, 2400
)
_LEGACY_LABELS: Final = _Labels(
    -75000, -75008, -75009, -75003, -75001, -75002, -75004, range(32, 33), -75005, _HARDWARE_VERSION, -75006, -75010
)
_LABELS: Final[Mapping[str, _Labels]] = {
    RFC_9783: _RFC_LABELS,
    PSA_2: _RFC_LABELS._replace(boot_seed=2397, boot_seed_sizes=range(32, 33)),
    LEGACY: _LEGACY_LABELS,
}


class Device(NamedTuple):
    """Claims of the token but its nonce, whatever its profile; no components where the device measures nothing.

    `client_id` is positive for a caller in the secure world and negative for one outside.
    """

    profile: str
    instance_id: bytes
    implementation_id: bytes
    client_id: int
    lifecycle: int
    boot_seed: bytes | None
    certification: str | None
    components: tuple[Component, ...]
    service: str | None


class Token(NamedTuple):
    """The token, split and typed."""

    message: Sign1
    nonce: bytes
    device: Device


def read_token(data: bytes) -> Token:
    """Token of a known profile. Raises BadEvidence(EMPTY | TOO_LARGE | UNSUPPORTED_FORMAT | MALFORMED)."""
    return _recurring(data)


def _read_token(data: bytes) -> Token:
    if not data:
        raise BadEvidence(Reason.EMPTY, "no token")
    if len(data) > _MAX_TOKEN:
        raise BadEvidence(Reason.TOO_LARGE, f"token of {len(data)} bytes")
    if data.startswith(_TAG_MAC0):
        raise BadEvidence(Reason.UNSUPPORTED_FORMAT, "a COSE_Mac0 proves nothing to who does not share its key")
    message = read_sign1(data)
    claims = ClaimsSet(cbor.decode(message.payload), "PSA token")
    profile = _read_profile(claims)
    labels = _LABELS[profile]
    return Token(message, claims.octets(labels.nonce, DIGESTS), _read_device(claims, profile, labels))


def _changing(token: Token) -> tuple[bytes, bytes]:
    return token.nonce, token.message.signature


def _renewed(token: Token, fields: Sequence[bytes]) -> Token:
    nonce, signature = fields
    return Token(renewed_sign1(token.message, token.nonce, nonce, signature), nonce, token.device)


_recurring: Final = Recurring(_read_token, _changing, _renewed)


def _read_device(claims: ClaimsSet, profile: str, labels: _Labels) -> Device:
    return Device(
        profile=profile,
        instance_id=read_ueid(claims, labels.instance_id),
        implementation_id=claims.octets(labels.implementation_id, frozenset({32})),
        client_id=_read_client(claims, labels),
        lifecycle=read_lifecycle(claims, labels.lifecycle),
        boot_seed=_read_boot_seed(claims, labels),
        certification=_read_certification(claims, labels),
        components=_read_components(claims, labels),
        service=read_service(claims, labels.service),
    )


def _read_profile(claims: ClaimsSet) -> str:
    """Profile of the token. Only the legacy one may be left unsaid."""
    named = claims.optional(claims.text, _EAT_PROFILE)
    profile = claims.optional(claims.text, _LEGACY_LABELS.profile) or LEGACY if named is None else named
    if profile not in _LABELS or (profile == LEGACY) != (named is None):
        raise BadEvidence(Reason.MALFORMED, "token of a profile that is not supported")
    return profile


def _read_client(claims: ClaimsSet, labels: _Labels) -> int:
    client = claims.integer(labels.client_id, _CLIENTS)
    if not client:
        raise BadEvidence(Reason.MALFORMED, "client id 0 is neither of the secure world nor outside it")
    return client


def _read_boot_seed(claims: ClaimsSet, labels: _Labels) -> bytes | None:
    def read(label: int | str) -> bytes:
        return claims.octets(label, labels.boot_seed_sizes)

    return read(labels.boot_seed) if labels is _LEGACY_LABELS else claims.optional(read, labels.boot_seed)


def _read_certification(claims: ClaimsSet, labels: _Labels) -> str | None:
    reference = claims.optional(claims.text, labels.certification)
    if reference is not None and not labels.certification_form.fullmatch(reference):
        raise BadEvidence(Reason.MALFORMED, "certification reference is no EAN-13 with its version")
    return reference


def _read_components(claims: ClaimsSet, labels: _Labels) -> tuple[Component, ...]:
    """Software components; a legacy token has either these or the flag that there are none."""
    if labels is not _LEGACY_LABELS or _NO_MEASUREMENTS not in claims:
        return read_components(claims, labels.components)
    claims.integer(_NO_MEASUREMENTS, range(1, 2))
    if labels.components in claims:
        raise BadEvidence(Reason.MALFORMED, "token has software components and says that it has none")
    return ()
