"""A tenant's directory: read as it is written, and refused with the path of the file that is wrong."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attest_pipeline.adapters import config_dir
from attest_pipeline.adapters.site import Site
from attest_pipeline.cli.simulated import write_tenant
from attest_pipeline.errors import Misconfigured
from attest_pipeline.model import Policy, TenantConfig
from attest_pipeline.owner.tenant import digest
from attest_pipeline.simulator.device import Vendor

SETTINGS = {"issuer": "urn:i", "audience": "a", "tees": ["tdx"], "environment": "development"}
REFERENCES = {"name": "web", "version": "1", "tee": "tdx", "values": {"mrtd": ["00"]}}


def vet(text: str) -> Policy:
    """Stands for the engine: believes what a policy's first line says."""
    if "bad" in text:
        raise Misconfigured("the policy is bad")
    tee = text.split()[1]
    return Policy(
        id=f"appraisal/{tee}", tee=tee, text=text, digest=digest(text.encode()), reads=(), allow_unfresh=False
    )


@pytest.fixture
def defaults(tmp_path: Path) -> Path:
    """Default policies of two TEEs."""
    for tee in ("tdx", "snp"):
        path = tmp_path / "defaults" / tee / f"{tee}.rego"
        path.parent.mkdir(parents=True)
        path.write_text(f"default {tee}")
    return tmp_path / "defaults"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A tenant that names an issuer and nothing else."""
    path = tmp_path / "config" / "acme"
    path.mkdir(parents=True)
    (path / "tenant.json").write_text(json.dumps(SETTINGS))
    return path


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _pem() -> bytes:
    public = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _read(directory: Path, defaults: Path) -> TenantConfig:
    return config_dir.read(directory, defaults, vet)[0]


def test_a_tenant_is_a_directory_with_settings(directory: Path, defaults: Path) -> None:
    (directory.parent / "no-tenant").mkdir()
    assert config_dir.tenants(directory.parent) == ["acme"]
    config = _read(directory, defaults)
    assert (config.tenant, config.issuer, config.tees) == ("acme", "urn:i", ("tdx",))
    assert [policy.text for policy in config.policies] == ["default tdx"]


def test_a_tenants_own_policy_overrides_the_default(directory: Path, defaults: Path) -> None:
    _write(directory / "policies" / "tdx.rego", b"own tdx")
    assert [policy.text for policy in _read(directory, defaults).policies] == ["own tdx"]


def test_a_policy_that_is_a_link_to_nowhere_is_not_passed_over_for_the_default(directory: Path, defaults: Path) -> None:
    (directory / "policies").mkdir()
    (directory / "policies" / "tdx.rego").symlink_to(directory / "nowhere")
    with pytest.raises(Misconfigured, match=r"policies/tdx\.rego: No such file"):
        _read(directory, defaults)


@pytest.mark.parametrize("name", ["txd.rego", "TDX.rego", "old/tdx.rego"])
def test_a_policy_whose_name_has_a_slip_is_not_passed_over_for_the_default(
    directory: Path, defaults: Path, name: str
) -> None:
    _write(directory / "policies" / name, b"own tdx")
    with pytest.raises(Misconfigured, match=f"{name} is the policy of no TEE"):
        _read(directory, defaults)


def test_tests_of_policies_and_policies_of_other_tees_may_lie_beside(directory: Path, defaults: Path) -> None:
    for name in ("tdx_test.rego", "snp.rego", ".tdx.rego.swp", "tdx.rego~"):
        _write(directory / "policies" / name, b"bad")
    assert [policy.text for policy in _read(directory, defaults).policies] == ["default tdx"]


def test_a_file_where_a_directory_belongs_is_not_taken_for_an_empty_one(directory: Path, defaults: Path) -> None:
    (directory / "endorsements").write_bytes(b"")
    with pytest.raises(Misconfigured, match="endorsements: Not a directory"):
        _read(directory, defaults)


def test_reference_values_are_read_in_the_order_of_their_files(directory: Path, defaults: Path) -> None:
    for file, name in (("2.json", "second"), ("1.json", "first"), ("notes.txt", "none")):
        _write(directory / "reference-values" / file, json.dumps({**REFERENCES, "name": name}).encode())
    assert [reference.name for reference in _read(directory, defaults).reference_values] == ["first", "second"]


def test_endorsements_are_found_as_they_were_written(directory: Path, defaults: Path) -> None:
    written = {"amd-chain/milan": (b"ask", b"ark"), "intel-dcap/tdx/00/platform": (b"collateral",)}
    config_dir.write_endorsements(directory / "endorsements", written)
    config, documents = config_dir.read(directory, defaults, vet)
    assert {name: tuple(documents[one] for one in found) for name, found in config.endorsements.items()} == written


def test_what_an_editor_leaves_behind_is_no_configuration(directory: Path, defaults: Path) -> None:
    for file in ("endorsements/amd-crl/.milan.swp", "endorsements/amd-crl/milan~", "reference-values/.a.json"):
        _write(directory / file, b"half of a document")
    config = _read(directory, defaults)
    assert (config.endorsements, config.reference_values) == ({}, ())


def test_a_link_to_nowhere_is_no_missing_reference_value_set(directory: Path, defaults: Path) -> None:
    _write(directory / "reference-values" / "a.json", json.dumps(REFERENCES).encode())
    (directory / "reference-values" / "b.json").symlink_to(directory / "nowhere")
    with pytest.raises(Misconfigured, match=r"b\.json"):
        _read(directory, defaults)


def test_a_trust_anchor_belongs_to_the_vendor_of_its_directory(directory: Path, defaults: Path) -> None:
    _write(directory / "trust-anchors" / "amd" / "root.pem", _pem())
    ((vendor, spki),) = [(anchor.vendor, anchor.spki) for anchor in _read(directory, defaults).trust_anchors]
    assert vendor == "amd"
    assert spki


def test_a_simulated_tenant_is_read_back(tmp_path: Path, vendors: Sequence[Vendor]) -> None:
    directory = write_tenant(Site(tmp_path / "site"), "acme", vendors)
    policies = tmp_path / "policies"
    for vendor in vendors:
        _write(policies / vendor.tee / f"{vendor.tee}.rego", f"default {vendor.tee}".encode())
    config, documents = config_dir.read(directory, policies, vet)
    assert {one.tee: one for one in config.reference_values} == {one.tee: one.reference_values() for one in vendors}
    assert {anchor.spki for anchor in config.trust_anchors} == {
        anchor.spki for vendor in vendors for anchor in vendor.trust_anchors()
    }
    assert set(config.endorsements) == {name for vendor in vendors for name in vendor.endorsements()}
    assert set(documents) == {name for names in config.endorsements.values() for name in names}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tenant.json", b"{"),
        ("tenant.json", b"\xff"),
        ("tenant.json", b'{"issuer": "i", "audience": "a", "tees": ["tdx"], "enviroment": "development"}'),
        ("tenant.json", b'{"issuer": "i", "audience": "a", "tees": ["tdx"], "environment": "staging"}'),
        ("tenant.json", b'{"issuer": "i", "audience": "a", "tees": ["abacus"], "environment": "development"}'),
        ("tenant.json", b'{"issuer": "i", "audience": "a", "tees": ["../tdx"], "environment": "development"}'),
        (
            "tenant.json",
            b'{"issuer": "i", "audience": "a", "tees": ["%b"], "environment": "development"}' % (b"x" * 300),
        ),
        ("policies/tdx.rego", b"bad tdx"),
        ("policies/tdx.rego", b"\xff"),
        ("reference-values/a.json", b"[]"),
        ("reference-values/a.json", b"\xff"),
        ("trust-anchors/amd/a.pem", b"no key"),
        ("endorsements/unheard-of/key", b"document"),
        ("endorsements/amd-crl", b"document"),
    ],
)
def test_a_file_that_is_wrong_is_named(directory: Path, defaults: Path, file: str, content: bytes) -> None:
    _write(directory / file, content)
    with pytest.raises(Misconfigured) as refusal:
        _read(directory, defaults)
    assert file.rpartition("/")[2].split(".")[0] in str(refusal.value) or "abacus" in str(refusal.value)


def test_a_directory_that_cannot_be_a_tenant_is_refused(directory: Path, defaults: Path) -> None:
    with pytest.raises(Misconfigured, match="a name must be"):
        _read(directory.rename(directory.parent / "a.b"), defaults)
    with pytest.raises(Misconfigured, match=r"tenant\.json: No such file"):
        _read(directory.parent / "nobody", defaults)
