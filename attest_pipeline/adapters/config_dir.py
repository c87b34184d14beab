"""A tenant's configuration as a directory that people edit: read, validated, never written.

<tenant>/tenant.json                 who the issuer is, which TEEs are admitted
<tenant>/policies/<tee>.rego         overrides the default policy of that TEE
<tenant>/reference-values/*.json     Reference Value Sets, in order of file name
<tenant>/endorsements/<kind>/<key>   Endorsements; several for one key are <key>.0, <key>.1, …
<tenant>/trust-anchors/<vendor>/*.pem    public keys of simulated vendors (development only)
"""

import os
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, TypeVar

from attest_pipeline.adapters import files
from attest_pipeline.adapters.pem import read_public_key
from attest_pipeline.errors import Misconfigured
from attest_pipeline.model import EndorsementKind, Policy, ReferenceValueSet, TenantConfig, TrustAnchor
from attest_pipeline.owner.tenant import TenantSettings, assemble
from attest_pipeline.subjects import checked_name

_NUMBER: Final = re.compile(r"\.\d+$")
T = TypeVar("T")


def tenants(root: Path) -> list[str]:
    """Names of the tenants below a configuration directory."""
    return sorted(path.parent.name for path in root.glob("*/tenant.json"))


def read(
    directory: Path, default_policies: Path, vet: Callable[[str], Policy]
) -> tuple[TenantConfig, dict[str, bytes]]:
    """Configuration version of one tenant directory, and its documents by digest. Raises Misconfigured."""
    settings = _decoded(directory / "tenant.json", TenantSettings)
    policies = [_policy(directory, default_policies, tee, vet) for tee in settings.tees]
    _check_names(directory / "policies", default_policies, settings.tees)
    return assemble(
        checked_name(directory.name),
        settings,
        policies=policies,
        reference_values=[
            _decoded(path, ReferenceValueSet) for path in _files(directory / "reference-values", ".json")
        ],
        trust_anchors=[_anchor(path) for path in _files(directory / "trust-anchors", ".pem")],
        endorsements=_endorsements(directory / "endorsements"),
    )


def write_endorsements(directory: Path, endorsements: dict[str, tuple[bytes, ...]]) -> None:
    """Write Endorsements as `read` finds them."""
    for name, documents in endorsements.items():
        for number, document in enumerate(documents):
            path = directory / (name if len(documents) == 1 else f"{name}.{number}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(document)


def _files(directory: Path, suffix: str) -> list[Path]:
    """Files below a directory; those of editors (`.x.swp`, `x~`) are nobody's configuration, links to nowhere are."""
    named = (path for path in files.below(directory) if path.name.endswith(suffix))
    found = (path for path in named if not (path.name.startswith(".") or path.name.endswith("~")))
    return [path for path in found if path.is_file() or not path.exists()]


def _decoded(path: Path, kind: type[T]) -> T:
    return files.decode_json(path, files.read(path), kind)


def _check_names(directory: Path, default_policies: Path, tees: Collection[str]) -> None:
    """Raises Misconfigured for a policy that would be passed over for a default, because its name has a slip.

    That of a TEE which is not admitted may stay, and so may tests.
    """
    for path in _files(directory, ".rego"):
        tee = path.relative_to(directory).as_posix().removesuffix(".rego")
        if not (tee in tees or (default_policies / tee / f"{tee}.rego").exists() or tee.endswith("_test")):
            raise Misconfigured(f"{path} is the policy of no TEE: write its name as <tee>.rego")


def _policy(directory: Path, default_policies: Path, tee: str, vet: Callable[[str], Policy]) -> Policy:
    own = directory / "policies" / f"{tee}.rego"
    path = own if os.path.lexists(own) else default_policies / tee / f"{tee}.rego"
    if path != own and not path.exists():
        raise Misconfigured(f"no policy for TEE {tee!r}: neither {own} nor a default exists")
    text = files.read(path)
    try:
        return vet(text.decode())
    except (Misconfigured, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path}: {error}") from None


def _anchor(path: Path) -> TrustAnchor:
    try:
        return TrustAnchor(path.parent.name, read_public_key(files.read(path)))
    except ValueError as error:
        raise Misconfigured(f"{path} is no PEM public key: {error}") from None


def _endorsements(directory: Path) -> dict[str, tuple[bytes, ...]]:
    found: dict[str, tuple[bytes, ...]] = {}
    for path in _files(directory, ""):
        name = _NUMBER.sub("", path.relative_to(directory).as_posix())
        kind, _, key = name.partition("/")
        if kind not in set(EndorsementKind) or not key:
            raise Misconfigured(f"{path}: endorsements lie below {', '.join(EndorsementKind)}")
        found[name] = (*found.get(name, ()), files.read(path))
    return found
