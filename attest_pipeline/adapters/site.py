"""A site's state directory: keys, credentials, configurations, the broker's store. Made once, kept over restarts.

<state>/keys/sign.pem, bell.pem, nonce.key    private, owner-only
<state>/jwks.json, bell.jwks.json             public, for Relying Parties and agents
<state>/config/<tenant>/                      what the Verifier Owner edits (see `config_dir`)
<state>/broker/                               server configuration, credentials, JetStream store
<state>/collateral/                           settings.json, imported/, what the collateral worker fetched
<state>/lock                                  held while a stack runs
<state>/logs/                                 one file for each process
"""

import contextlib
import fcntl
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from attest_pipeline.adapters import files
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.errors import Misconfigured
from attest_pipeline.owner.tenant import TenantSettings
from attest_pipeline.subjects import checked_name

DEFAULT_TENANT: Final = "default"
DEFAULT_TEES: Final = ("tdx", "sgx", "snp", "cca", "virtcca")
_NONCE_KEY_BYTES: Final = 32
_OWNER_ONLY: Final = 0o700


class Site(Struct, frozen=True):
    """Paths of one state directory."""

    root: Path

    @property
    def signing_key(self) -> Path:
        """Private key of Attestation Results: only `sign` reads it."""
        return self.root / "keys" / "sign.pem"

    @property
    def bell_key(self) -> Path:
        """Private key of epoch markers."""
        return self.root / "keys" / "bell.pem"

    @property
    def nonce_key(self) -> Path:
        """Secret of stateless nonces."""
        return self.root / "keys" / "nonce.key"

    @property
    def jwks(self) -> Path:
        """Public keys that Relying Parties check tokens with."""
        return self.root / "jwks.json"

    @property
    def bell_jwks(self) -> Path:
        """Public keys that agents check epoch markers with."""
        return self.root / "bell.jwks.json"

    @property
    def config(self) -> Path:
        """Directory of tenant configurations."""
        return self.root / "config"

    @property
    def broker(self) -> Path:
        """The broker's own directory."""
        return self.root / "broker"

    @property
    def logs(self) -> Path:
        """Directory of log files."""
        return self.root / "logs"

    @property
    def webhooks(self) -> Path:
        """Webhook endpoints with their secrets; no file means no webhooks."""
        return self.root / "webhooks.json"

    @property
    def collateral(self) -> Path:
        """What the collateral worker keeps, its settings, and what `attest collateral import` lays down for it."""
        return self.root / "collateral"


def ensure(site: Site) -> None:
    """Make what is missing: keys, their public halves, and a default tenant; what exists is kept."""
    for directory in (site.root, site.signing_key.parent, site.config, site.broker, site.collateral, site.logs):
        directory.mkdir(_OWNER_ONLY, parents=True, exist_ok=True)
    for key, public in ((site.signing_key, site.jwks), (site.bell_key, site.bell_jwks)):
        public.write_bytes(msgspec.json.encode({"keys": [FileSigner.ensure(key).public_jwk()]}))
    if not site.nonce_key.exists():
        site.nonce_key.touch(0o600)
        site.nonce_key.write_bytes(secrets.token_bytes(_NONCE_KEY_BYTES))
    if not any(site.config.glob("*/tenant.json")):
        add_tenant(
            site,
            DEFAULT_TENANT,
            TenantSettings(issuer=issuer(DEFAULT_TENANT), audience=DEFAULT_TENANT, tees=DEFAULT_TEES),
        )


@contextlib.contextmanager
def claimed(site: Site) -> Iterator[None]:
    """Hold a state directory for one stack: two servers would write one store. Raises Misconfigured."""
    with (site.root / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misconfigured(f"another stack runs on {site.root}: stop it, or name another --state") from None
        yield


def read_nonce_key(path: Path) -> bytes:
    """Secret of stateless nonces. Raises Misconfigured if it could be guessed."""
    key = files.read(path)
    if len(key) < _NONCE_KEY_BYTES:
        raise Misconfigured(f"{path} has {len(key)} bytes, and could be guessed: remove it, `attest up` makes another")
    return key


def issuer(tenant: str) -> str:
    """Issuer name that a new tenant's tokens carry."""
    return f"urn:attest-pipeline:{tenant}"


def add_tenant(site: Site, tenant: str, settings: TenantSettings) -> Path:
    """Write a tenant's settings and return its directory. Raises Misconfigured for a name that is no token."""
    directory = site.config / checked_name(tenant)
    directory.mkdir(parents=True, exist_ok=True)
    encoded = msgspec.json.format(msgspec.json.encode(settings), indent=2)
    (directory / "tenant.json").write_bytes(encoded + b"\n")
    return directory
