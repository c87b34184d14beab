"""The whole pipeline on this machine: default or given policies, given Reference Values, a key for one result."""

import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from attest_pipeline import result
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.adapters.rego import RegoEngine
from attest_pipeline.cli import inputs
from attest_pipeline.cli.stack import POLICIES
from attest_pipeline.errors import BadEvidence, Misconfigured, Reason
from attest_pipeline.model import EvidenceCollection, Policy, ReferenceValueSet, TenantConfig
from attest_pipeline.owner.tenant import TenantSettings, assemble
from attest_pipeline.pipeline import Pipeline, Snapshot
from attest_pipeline.result import AttestationResult

_NAME: Final = "offline"
_ISSUER: Final = "urn:attest-pipeline:offline"
_KEY_BYTES: Final = 32


def appraise(
    collection: EvidenceCollection, admitted: Sequence[str], policies: Sequence[Path], references: Sequence[Path]
) -> AttestationResult:
    """Result for a collection judged at its `as_of`, as replayed Evidence is. Raises BadEvidence or Misconfigured."""
    tees = tuple(dict.fromkeys(evidence.tee for evidence in collection.evidence))
    for tee in tees:
        if tee not in admitted:
            raise BadEvidence(Reason.UNKNOWN_TEE, "no verifier of that TEE is loaded")
    engine = RegoEngine()
    try:
        config = _config(tees, _policies(tees, policies, engine), references)
        return _run(collection, config, engine)
    finally:
        engine.close()


def _run(collection: EvidenceCollection, config: TenantConfig, engine: RegoEngine) -> AttestationResult:
    now = collection.as_of or 0
    signer = FileSigner(ec.generate_private_key(ec.SECP256R1()))
    pipeline = Pipeline(config, Snapshot({}, {}), engine, signer, secrets.token_bytes(_KEY_BYTES))
    token = pipeline.run(collection, agent=_NAME, now=now)
    return result.check(token, [signer.public_jwk()], audience=_NAME, issuer=_ISSUER, now=now)


def _policies(tees: Iterable[str], paths: Iterable[Path], engine: RegoEngine) -> list[Policy]:
    given = [_vetted(path, engine) for path in paths]
    named = {policy.tee for policy in given}
    return given + [_vetted(POLICIES / tee / f"{tee}.rego", engine) for tee in tees if tee not in named]


def _vetted(path: Path, engine: RegoEngine) -> Policy:
    try:
        return engine.vet(inputs.read(path).decode())
    except (Misconfigured, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path}: {error}") from None


def _config(tees: tuple[str, ...], policies: Iterable[Policy], references: Iterable[Path]) -> TenantConfig:
    settings = TenantSettings(
        issuer=_ISSUER, audience=_NAME, tees=tees, environment="development", annotate=True, allow_replay=True
    )
    sets = [inputs.read_json(path, ReferenceValueSet) for path in references]
    config, _ = assemble(_NAME, settings, policies=policies, reference_values=sets, trust_anchors=(), endorsements={})
    return config
