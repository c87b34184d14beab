"""What RMM 2.0 adds to the tokens of Arm CCA. Nothing here is proven.

Source: RMM specification 2.0, draft, sections A7.2.3.1 (realm) and A7.2.3.3 (platform). ccatoken of Veraison writes the
MEC policy as text where the specification has a number, so both are read.
"""

from typing import Final, NamedTuple

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._arm.token import DIGESTS, read_ueid
from attest_pipeline.verifiers._shared.eat import ClaimsSet

_RMSD: Final = 1
"""The one admitted client of the platform token: the Realm Management Security Domain."""
_DEVICES, _DEVICES_TOKEN = 2404, 44257
"""Claims of platform and realm that name devices."""
_MAX_DEVICES: Final = 64
_MAX_COUNTERSIGNERS: Final = 16
_MEC_POLICIES: Final[dict[object, str]] = {0: "shared", 1: "private", "shared": "shared", "private": "private"}
_LFA_POLICIES: Final = ("disallow", "allow")


class Device(NamedTuple):
    """A device that was added to the platform at run time: digests of what it told the RMM, whose proof RMM vouches."""

    hash_algorithm: str | None
    measurements: bytes
    certificates: bytes
    encrypted_link: bool
    protocol: str
    vca: bytes | None


class ComponentAdditions(NamedTuple):
    """Whether firmware may change a component without a reset, and hashes of the keys that signed it besides."""

    live_activation: bool | None
    countersigners: tuple[bytes, ...]


class PlatformAdditions(NamedTuple):
    """New claims of the platform; `components` stand in the order of its components."""

    manufacturing_config: bytes | None
    components: tuple[ComponentAdditions, ...]
    devices: tuple[Device, ...]


class RealmAdditions(NamedTuple):
    """New claims of the realm; `devices` is the hash over the devices token, None if no device is assigned."""

    instance_id: bytes
    mec_policy: str
    lfa_policy: str | None
    devices: bytes | None


def read_platform_additions(claims: ClaimsSet, *, is_2: bool) -> PlatformAdditions | None:
    """Additions of a platform whose other claims were read before, None before 2.0. Raises BadEvidence(MALFORMED)."""
    if not is_2:
        _refuse_before(claims, _DEVICES)
        return None
    claims.integer(2394, range(_RMSD, _RMSD + 1))
    devices = claims.optional(lambda label: claims.array(label, range(1, _MAX_DEVICES + 1)), _DEVICES)
    return PlatformAdditions(
        manufacturing_config=claims.optional(lambda label: claims.octets(label, range(1025)), 2403),
        components=tuple(_read_component(entry) for entry in claims.array(2399, range(1, 1 << 16))),
        devices=tuple(_read_device(entry) for entry in devices or ()),
    )


def _read_component(component: object) -> ComponentAdditions:
    claims = ClaimsSet(component, "software component")
    signers = claims.optional(lambda label: claims.array(label, range(1, _MAX_COUNTERSIGNERS + 1)), 8) or ()
    numbered = ClaimsSet(dict(enumerate(signers)), "list of countersigners")
    return ComponentAdditions(
        live_activation=claims.optional(claims.boolean, 7),
        countersigners=tuple(numbered.octets(position, DIGESTS) for position in range(len(signers))),
    )


def _read_device(device: object) -> Device:
    claims = ClaimsSet(device, "extension device")
    protocol = claims.text(5)
    return Device(
        hash_algorithm=claims.optional(claims.text, 1),
        measurements=claims.octets(2, DIGESTS),
        certificates=claims.octets(3, DIGESTS),
        encrypted_link=claims.boolean(4),
        protocol=protocol,
        vca=claims.octets(6, DIGESTS) if protocol.startswith("spdm") else None,
    )


def _refuse_before(claims: ClaimsSet, devices: int) -> None:
    """Refuse devices under a profile that knows none: left alone, they would seem not to be there."""
    if devices in claims:
        raise BadEvidence(Reason.MALFORMED, f"claim {devices} in a token of a profile before 2.0")


def read_realm_additions(claims: ClaimsSet, *, is_2: bool) -> RealmAdditions | None:
    """Additions of a realm whose other claims were read before, None before 2.0. Raises BadEvidence(MALFORMED)."""
    if not is_2:
        _refuse_before(claims, _DEVICES_TOKEN)
        return None
    lfa_policy = claims.optional(lambda label: claims.integer(label, range(2)), 44244)
    return RealmAdditions(
        instance_id=read_ueid(claims, 256),
        mec_policy=_read_mec_policy(claims),
        lfa_policy=None if lfa_policy is None else _LFA_POLICIES[lfa_policy],
        devices=claims.optional(lambda label: claims.octets(label, DIGESTS), _DEVICES_TOKEN),
    )


def _read_mec_policy(claims: ClaimsSet) -> str:
    try:
        policy: object = claims.text(44243)
    except BadEvidence:
        policy = claims.integer(44243, range(2))
    if policy not in _MEC_POLICIES:
        raise BadEvidence(Reason.MALFORMED, "MEC policy of the realm is not defined")
    return _MEC_POLICIES[policy]
