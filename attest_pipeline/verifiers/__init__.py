"""Verifier plugins: one sibling package per TEE, found by entry point and admitted by the operator's allow-list."""

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points

from attest_pipeline.errors import Misconfigured
from attest_pipeline.ports import Verifier

GROUP = "attest_pipeline.verifiers"
CHALLENGE_SIZES = range(16, 65)
"""Bytes that a field for the challenge may have: less than 128 bits can be met by chance, and 64 is what is derived."""


def load(allowed: Iterable[str], trust_anchors: Mapping[str, tuple[bytes, ...]]) -> dict[str, Verifier]:
    """Verifiers of the allowed TEEs by TEE name; a plugin that is installed but not named is never imported.

    `trust_anchors` maps a vendor to DER SubjectPublicKeyInfo roots beyond its pinned ones (development only).
    Raises Misconfigured for a name without a plugin, for two plugins of one name, for overlapping media types, and for
    a field too small to carry a challenge.
    """
    loaded: dict[str, Verifier] = {}
    owners: dict[str, str] = {}
    for name in allowed:
        verifier: Verifier = _plugin(name).load()(trust_anchors)
        for media_type in verifier.media_types:
            if owners.setdefault(media_type, name) != name:
                msg = f"verifiers {owners[media_type]!r} and {name!r} both claim {media_type}"
                raise Misconfigured(msg)
        if verifier.challenge_bytes not in CHALLENGE_SIZES:
            msg = f"verifier {name!r} carries a challenge of {verifier.challenge_bytes} bytes"
            raise Misconfigured(msg)
        loaded[name] = verifier
    return loaded


def installed() -> frozenset[str]:
    """Names of the TEEs that have a plugin here, admitted or not."""
    return frozenset(entry_points(group=GROUP).names)


def _plugin(name: str) -> EntryPoint:
    installed = entry_points(group=GROUP)
    found = {point.value: point for point in installed.select(name=name)}
    if not found:
        msg = f"no verifier is installed for TEE {name!r}; installed: {', '.join(sorted(installed.names))}"
        raise Misconfigured(msg)
    if len(found) > 1:
        msg = f"TEE {name!r} has more than one verifier: {', '.join(sorted(found))}; uninstall all but one"
        raise Misconfigured(msg)
    return found.popitem()[1]
