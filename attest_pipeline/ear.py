"""The Attestation Result's vocabulary: AR4SI trustworthiness claims and EAR names, in one table.

Sources: draft-ietf-rats-ar4si-09 (vector, tiers), draft-ietf-rats-ear-03 (JSON names; the dotted names are those of
-02 and before). Policies get these constants generated as `policies/ear/ear.rego`.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType

PROFILE = "tag:ietf.org,2026:rats/ear#03"
LEGACY_PROFILE = "tag:github.com,2023:veraison/ear"
TOKEN_TYPE = "eat+jwt"  # noqa: S105 - a media type, no secret


class Status(StrEnum):
    """Overall status of an appraisal, from best to worst in `RANK`."""

    NONE = "none"
    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"


class Claim(StrEnum):
    """The eight trustworthiness claims (AR4SI section 2.3.4)."""

    INSTANCE_IDENTITY = "instance-identity"
    CONFIGURATION = "configuration"
    EXECUTABLES = "executables"
    FILE_SYSTEM = "file-system"
    HARDWARE = "hardware"
    RUNTIME_OPAQUE = "runtime-opaque"
    STORAGE_OPAQUE = "storage-opaque"
    SOURCED_DATA = "sourced-data"


class Value(IntEnum):
    """Values common to every claim."""

    VERIFIER_MALFUNCTION = -1
    NO_CLAIM = 0
    UNEXPECTED_EVIDENCE = 1
    CRYPTO_VALIDATION_FAILED = 99


CLAIM_VALUES: Mapping[Claim, Mapping[str, int]] = MappingProxyType(
    {
        Claim.INSTANCE_IDENTITY: {"recognized": 2, "untrustworthy": 96, "unrecognized": 97},
        Claim.CONFIGURATION: {
            "approved": 2,
            "no_known_vulnerabilities": 3,
            "unsafe": 32,
            "unavailable": 36,
            "unsupportable": 96,
        },
        Claim.EXECUTABLES: {"approved": 2, "approved_boot": 3, "unsafe": 32, "unrecognized": 33, "contraindicated": 96},
        Claim.FILE_SYSTEM: {"approved": 2, "unrecognized": 32, "contraindicated": 96},
        Claim.HARDWARE: {"genuine": 2, "unsafe": 32, "contraindicated": 96, "unrecognized": 97},
        Claim.RUNTIME_OPAQUE: {"encrypted": 2, "isolated": 32, "visible": 96},
        Claim.STORAGE_OPAQUE: {"hardware_keys": 2, "software_keys": 32, "unencrypted": 96},
        Claim.SOURCED_DATA: {"trusted": 2, "untrusted": 32, "contraindicated": 96},
    }
)
"""Claim → symbolic name → value; the names are ours, the numbers are AR4SI's."""

RANK: Mapping[Status, int] = MappingProxyType(
    {
        Status.AFFIRMING: 0,
        Status.WARNING: 1,
        Status.NONE: 2,
        Status.CONTRAINDICATED: 3,
    }
)
"""How bad a status is. `none` outranks `warning`: what could not be judged never hides behind what was."""


def tier(value: int) -> Status | None:
    """Status that one claim value stands for (AR4SI 2.3.2); None for 0, which makes no claim.

    Raises ValueError outside the signed byte range.
    """
    if not -128 <= value <= 127:  # noqa: PLR2004 - a signed byte
        msg = f"trustworthiness claim {value} is no signed byte"
        raise ValueError(msg)
    if value == Value.NO_CLAIM:
        return None
    if value in (Value.VERIFIER_MALFUNCTION, Value.UNEXPECTED_EVIDENCE):
        return Status.NONE
    magnitude = value if value > 0 else -value - 1
    if magnitude < 32:  # noqa: PLR2004 - tier borders of AR4SI 2.3.2
        return Status.AFFIRMING
    return Status.WARNING if magnitude < 96 else Status.CONTRAINDICATED  # noqa: PLR2004


def worst(statuses: list[Status]) -> Status:
    """The worst of several statuses; `none` for an empty list, because no claim is no trust."""
    return max(statuses, key=RANK.__getitem__, default=Status.NONE)


def status_of(vector: Mapping[str, int]) -> Status:
    """Status of a trustworthiness vector: that of its worst claim; `none` if it claims nothing."""
    return worst([found for value in vector.values() if (found := tier(value)) is not None])


class Name(StrEnum):
    """Member names of the EAR claims set (draft-ietf-rats-ear-03, section 3)."""

    PROFILE = "eat_profile"
    NONCE = "eat_nonce"
    VERIFIER_ID = "ear_verifier_id"
    STATUS = "ear_status"
    VECTOR = "ear_trustworthiness_vector"
    POLICIES = "ear_appraisal_policy_ids"
    SUBMODS = "submods"
    DETAILS = "attest_pipeline"
