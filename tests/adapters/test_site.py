"""A state directory: made once, kept over restarts, its secrets for its owner alone."""

from pathlib import Path

import msgspec
import pytest

from attest_pipeline.adapters import config_dir
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.adapters.site import DEFAULT_TENANT, Site, add_tenant, claimed, ensure, read_nonce_key
from attest_pipeline.errors import Misconfigured
from attest_pipeline.jws import Jwks
from attest_pipeline.owner.tenant import TenantSettings


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "state")
    ensure(made)
    return made


def test_secrets_are_for_their_owner_alone(site: Site) -> None:
    for secret in (site.signing_key, site.bell_key, site.nonce_key):
        assert secret.stat().st_mode & 0o777 == 0o600
    for directory in (site.root, site.signing_key.parent, site.broker, site.logs):
        assert directory.stat().st_mode & 0o777 == 0o700


def test_the_key_sets_hold_the_public_halves(site: Site) -> None:
    for private, public in ((site.signing_key, site.jwks), (site.bell_key, site.bell_jwks)):
        (jwk,) = msgspec.json.decode(public.read_bytes(), type=Jwks).keys
        assert jwk == FileSigner.load(private).public_jwk()


def test_a_new_site_has_a_default_tenant_for_production(site: Site) -> None:
    assert config_dir.tenants(site.config) == [DEFAULT_TENANT]
    settings = msgspec.json.decode((site.config / DEFAULT_TENANT / "tenant.json").read_bytes(), type=TenantSettings)
    assert settings.environment == "production"


def test_what_exists_is_kept(site: Site) -> None:
    def secrets() -> list[bytes]:
        return [path.read_bytes() for path in (site.signing_key, site.bell_key, site.nonce_key)]

    before = secrets()
    (site.config / DEFAULT_TENANT).rename(site.config / "own")
    ensure(site)
    assert secrets() == before
    assert config_dir.tenants(site.config) == ["own"]


def test_two_sites_share_no_secret(site: Site, tmp_path: Path) -> None:
    other = Site(tmp_path / "other")
    ensure(other)
    assert other.nonce_key.read_bytes() != site.nonce_key.read_bytes()
    assert other.signing_key.read_bytes() != site.signing_key.read_bytes()
    assert site.signing_key.read_bytes() != site.bell_key.read_bytes()


@pytest.mark.parametrize("name", ["", "a.b", "../up", "a/b", "*"])
def test_a_tenant_has_a_name_that_is_one_token(site: Site, name: str) -> None:
    with pytest.raises(Misconfigured, match="a name must be"):
        add_tenant(site, name, TenantSettings(issuer="i", audience="a", tees=("tdx",)))


def test_a_state_directory_is_for_one_stack_at_a_time(site: Site) -> None:
    with claimed(site), pytest.raises(Misconfigured, match="another stack runs on"), claimed(site):
        pass
    with claimed(site):
        pass


@pytest.mark.parametrize("key", [b"", bytes(31)])
def test_a_nonce_key_that_could_be_guessed_is_refused(site: Site, key: bytes) -> None:
    assert read_nonce_key(site.nonce_key) == site.nonce_key.read_bytes()
    site.nonce_key.write_bytes(key)
    with pytest.raises(Misconfigured, match=f"has {len(key)} bytes"):
        read_nonce_key(site.nonce_key)
