"""The whole pipeline on this machine: a tenant's configuration, and a key made for one result."""

import secrets
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from attest_pipeline import result
from attest_pipeline.adapters import config_dir
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.adapters.rego import RegoEngine
from attest_pipeline.cli.stack import POLICIES
from attest_pipeline.endorsing import Snapshot
from attest_pipeline.model import EvidenceCollection
from attest_pipeline.pipeline import Pipeline
from attest_pipeline.result import AttestationResult

_AGENT: Final = "offline"
_KEY_BYTES: Final = 32


def appraise(directory: Path, collection: EvidenceCollection, *, now: int) -> AttestationResult:
    """What the tenant of that directory says of a collection received at `now` (seconds). Raises Misconfigured."""
    engine = RegoEngine()
    try:
        config, documents = config_dir.read(directory.resolve(), POLICIES, engine.vet)
        signer = FileSigner(ec.generate_private_key(ec.SECP256R1()))
        source = Snapshot(config.endorsements, documents)
        pipeline = Pipeline(config, source, engine, signer, secrets.token_bytes(_KEY_BYTES))
        token = pipeline.run(collection, agent=_AGENT, now=now)
        return result.check(token, [signer.public_jwk()], audience=config.audience, issuer=config.issuer, now=now)
    finally:
        engine.close()
