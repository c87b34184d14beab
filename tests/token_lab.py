"""Signed Attestation Results of one appraised TEE, and the means to forge them."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from attest_pipeline import jws, result
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.ear import TOKEN_TYPE
from attest_pipeline.model import (
    Appraisal,
    Appraised,
    Artefact,
    ClaimReason,
    Claims,
    Context,
    Match,
    Mismatch,
    TenantConfig,
)

NOW = 1_795_000_000
AUDIENCE = "acme"
ISSUER = "urn:attest-pipeline:acme"
NONCE = bytes(range(32))
SIGNER = FileSigner(ec.derive_private_key(20261123, ec.SECP256R1()))
KEYS = [SIGNER.public_jwk()]
CONFIG = TenantConfig(
    tenant="acme",
    version="v",
    environment="development",
    issuer=ISSUER,
    audience=AUDIENCE,
    token_seconds=3600,
    tees=("tdx",),
    annotate=False,
    allow_replay=False,
    policies=(),
    reference_values=(),
    trust_anchors=(),
    endorsements={},
)
CLAIMS = Claims(
    tee="tdx",
    hardware_id="aa",
    debug=False,
    tcb_status="UpToDate",
    measurements={"mrtd": "00"},
    signer="pck",
    challenge_verified=True,
    endorsements={"collateral": "ab"},
    fields={"mrtd": "00", "migratable": False},
    checks=("signature", "chain"),
)


def context(**changes: Any) -> Context:
    """What a token says besides its artefacts."""
    fixed: dict[str, Any] = {
        "attestation_id": b"\x07" * 32, "tenant": "acme", "agent": "node-1", "received_at": NOW, "fresh": True,
    }  # fmt: skip
    return Context(**fixed | changes)


def appraised(vector: Mapping[str, int] | None = None, status: str = "affirming", **changes: Any) -> Appraised:
    """An artefact that passed every stage."""
    values = {"hardware": 2} if vector is None else dict(vector)
    reasons = tuple(ClaimReason(claim, value, f"{claim}_reason", "in words") for claim, value in values.items())
    appraisal = Appraisal(status=status, vector=values, reasons=reasons, policy="appraisal/tdx", policy_digest="d1")
    match = changes.get("match", Match(matched=True, set="web", version="1"))
    return Appraised(CLAIMS, match, changes.get("appraisal", appraisal))


MISMATCHED = appraised(
    {"executables": 33},
    "warning",
    match=Match(matched=False, set="web", version="1", mismatches=(Mismatch("mrtd", ("11",), "00"),)),
)


def token(*artefacts: Artefact, of: Context | None = None, config: TenantConfig = CONFIG) -> bytes:
    """A token as sign makes it."""
    return result.issue(of or context(), artefacts or (appraised(),), config, SIGNER)


def payload(encoded: bytes) -> dict[str, Any]:
    """What a token says, unchecked."""
    found: dict[str, Any] = json.loads(_decoded(encoded.split(b".")[1]))
    return found


def signed(claims: object, token_type: str = TOKEN_TYPE) -> bytes:
    """A token of the real key over any payload."""
    return jws.compact(json.dumps(claims).encode(), SIGNER, token_type)


def with_header(encoded: bytes, header: object, signature: bytes | None = None) -> bytes:
    """The same payload under another header."""
    _, body, old = encoded.split(b".")
    return b".".join((jws.b64u(json.dumps(header).encode()), body, old if signature is None else signature))


def header(encoded: bytes) -> dict[str, Any]:
    """Protected header of a token."""
    found: dict[str, Any] = json.loads(_decoded(encoded.split(b".")[0]))
    return found


def _decoded(segment: bytes) -> bytes:
    return base64.urlsafe_b64decode(segment + b"==")
