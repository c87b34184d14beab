"""A tenant's configuration: what makes it valid, and the digest that names a version. Pure."""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from attest_pipeline.errors import Misconfigured
from attest_pipeline.model import MARK, AllowList, Policy, ReferenceValueSet, TenantConfig, TrustAnchor

DEVELOPMENT_ONLY: Final = frozenset({"sample"})
"""TEEs that prove nothing."""
_TOKEN_SECONDS: Final = range(60, 7 * 86400 + 1)
_REGISTERS: Final = range(32)
_DIGEST: Final = re.compile(r"(?:[0-9a-f]{2}){20,64}")
"""SHA-1 to SHA-512."""
_UPPER: Final = re.compile(r"(?=[0-9a-f]*[A-F])[0-9A-Fa-f]{64,}")
"""Hexadecimal of 32 bytes or more, with a digit in upper case."""
_PEM: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----\s([A-Za-z0-9+/=\s]+)-----END")
_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")


class TenantSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`tenant.json`: what a tenant is, before policies, Reference Values and Endorsements are added.

    `environment` is `production` unless it says otherwise; only `development` admits simulated vendors, replay and the
    sample TEE.
    """

    issuer: str
    audience: str
    tees: tuple[Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9_-]{0,31}\Z")], ...]
    environment: Literal["production", "development"] = "production"
    token_seconds: int = 3600
    annotate: bool = False
    allow_replay: bool = False


def assemble(
    tenant: str,
    settings: TenantSettings,
    *,
    policies: Iterable[Policy],
    reference_values: Iterable[ReferenceValueSet],
    trust_anchors: Iterable[TrustAnchor],
    endorsements: Mapping[str, tuple[bytes, ...]],
) -> tuple[TenantConfig, dict[str, bytes]]:
    """An immutable configuration version and its documents by SHA-256. Raises Misconfigured, naming what to change."""
    documents = {digest(document): document for found in endorsements.values() for document in found}
    config = TenantConfig(
        tenant=tenant,
        version="",
        environment=settings.environment,
        issuer=settings.issuer,
        audience=settings.audience,
        token_seconds=settings.token_seconds,
        tees=settings.tees,
        annotate=settings.annotate,
        allow_replay=settings.allow_replay,
        policies=tuple(policies),
        reference_values=tuple(reference_values),
        trust_anchors=tuple(trust_anchors),
        endorsements={name: tuple(digest(one) for one in found) for name, found in sorted(endorsements.items())},
    )
    _check(config)
    if config.environment == "production":
        _check_production(config, documents)
    return msgspec.structs.replace(config, version=version_of(config)), documents


def version_of(config: TenantConfig) -> str:
    """SHA-256 over everything in the configuration but its version."""
    return digest(_encoder.encode(msgspec.structs.replace(config, version="")))


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _check(config: TenantConfig) -> None:
    if config.token_seconds not in _TOKEN_SECONDS:
        raise Misconfigured(f"token_seconds is {config.token_seconds}; a token lives 60 s to 7 days")
    if not config.tees:
        raise Misconfigured("tees is empty: name the TEEs that this tenant admits, such as tdx and snp")
    for policy in config.policies:
        if sum(policy.tee == other.tee for other in config.policies) > 1:
            raise Misconfigured(f"two policies for TEE {policy.tee!r}; one appraises it")
    missing = set(config.tees) - {policy.tee for policy in config.policies}
    if missing:
        raise Misconfigured(f"no policy for TEE {', '.join(sorted(missing))}: nothing could ever be affirmed")
    names = [(reference.tee, reference.name, reference.version) for reference in config.reference_values]
    if len(set(names)) < len(names):
        raise Misconfigured("two Reference Value Sets of one TEE have the same name and version")
    empty = [
        reference.name for reference in config.reference_values if not all((reference.values or {"": ()}).values())
    ]
    if empty:
        raise Misconfigured(f"Reference Value Set {empty[0]!r} lists no value for a claim: it would match nothing")
    for reference in config.reference_values:
        _check_values(reference)
        for name, allowed in reference.logs.items():
            _check_allow_list(f"Reference Value Set {reference.name!r}, log {name}", allowed)


def _check_values(reference: ReferenceValueSet) -> None:
    """Claims are in lower case, so that a digest in upper case would match nothing."""
    for claim, allowed in reference.values.items():
        wrong = [value for value in allowed if isinstance(value, str) and _UPPER.fullmatch(value)]
        if wrong:
            where = f"Reference Value Set {reference.name!r}, {claim}"
            raise Misconfigured(f"{where}: {wrong[0][:80]!r} matches nothing; write hexadecimal in lower case")


def _check_allow_list(where: str, allowed: AllowList) -> None:
    """An allow-list that can be met, and by nothing but what its author wrote."""
    if not allowed.registers:
        raise Misconfigured(f"{where} names no register: a log that explains none would do")
    if not all(register in _REGISTERS for register in allowed.registers):
        raise Misconfigured(f"{where} names a register that no TEE has")
    wrong = [digest for digest in allowed.digests if not _DIGEST.fullmatch(digest)]
    if wrong:
        raise Misconfigured(f"{where}: {wrong[0][:80]!r} is no digest in lower-case hexadecimal")
    if not allowed.digests:
        raise Misconfigured(f"{where} allows no digest: it would match nothing")


def _check_production(config: TenantConfig, documents: Mapping[str, bytes]) -> None:
    change = 'or say "environment": "development" in tenant.json'
    if config.trust_anchors:
        raise Misconfigured(f"trust anchors beyond the vendors' pinned roots: remove trust-anchors/, {change}")
    if config.allow_replay:
        raise Misconfigured(f"allow_replay lets agents choose the time of judgement: remove it, {change}")
    development = DEVELOPMENT_ONLY.intersection(config.tees)
    if development:
        raise Misconfigured(f"TEE {', '.join(development)} proves nothing: remove it, {change}")
    simulated = [name for name, digests in config.endorsements.items() if any(_marked(documents[d]) for d in digests)]
    if simulated:
        raise Misconfigured(f"endorsement {simulated[0]} comes from the simulator: remove it, {change}")


def _marked(document: bytes) -> bool:
    """Whether a document, or a PEM block inside it (DCAP collateral holds many), comes from the simulator."""
    blocks = (_decoded(block) for block in _PEM.findall(document.replace(rb"\n", b"\n")))
    return any(MARK.encode() in data for data in (document, *blocks))


def _decoded(block: bytes) -> bytes:
    try:
        return base64.b64decode(block)
    except ValueError:
        return b""
