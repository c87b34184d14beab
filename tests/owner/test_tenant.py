"""A tenant's configuration: what is refused, in production above all, and what its version names."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from attest_pipeline.errors import Misconfigured
from attest_pipeline.model import MARK, AllowList, LogName, Policy, ReferenceValueSet, TenantConfig, TrustAnchor
from attest_pipeline.owner.tenant import TenantSettings, assemble, digest, version_of
from attest_pipeline.simulator.device import Vendor

PRODUCTION = TenantSettings(issuer="urn:i", audience="a", tees=("tdx",))
DEVELOPMENT = replace(PRODUCTION, environment="development")


def _policy(tee: str) -> Policy:
    return Policy(id=f"appraisal/{tee}", tee=tee, text="t", digest="d", reads=(), allow_unfresh=False)


def _references(name: str = "web", values: dict[str, Any] | None = None, tee: str = "tdx") -> ReferenceValueSet:
    return ReferenceValueSet(name=name, version="1", tee=tee, values={"mrtd": ("00",)} if values is None else values)


def _allowing(registers: tuple[int, ...], digests: tuple[str, ...]) -> ReferenceValueSet:
    return replace(_references(), logs={LogName.IMA: AllowList(registers=registers, digests=digests)})


def _assembled(settings: TenantSettings = PRODUCTION, **parts: Any) -> tuple[TenantConfig, dict[str, bytes]]:
    given: dict[str, Any] = {
        "policies": [_policy(tee) for tee in settings.tees],
        "reference_values": [_references()],
        "trust_anchors": [],
        "endorsements": {},
    }
    return assemble("acme", settings, **given | parts)


def test_a_sound_production_tenant_is_assembled_with_its_documents_by_digest() -> None:
    config, documents = _assembled(endorsements={"amd-crl/milan": (b"crl",), "amd-chain/milan": (b"ask", b"ark")})
    assert config.environment == "production"
    assert config.endorsements["amd-chain/milan"] == (digest(b"ask"), digest(b"ark"))
    assert documents == {digest(document): document for document in (b"crl", b"ask", b"ark")}
    assert config.version == version_of(config)


def test_equal_configurations_have_one_version_and_any_change_makes_another() -> None:
    two = {"amd-crl/milan": (b"1",), "amd-crl/genoa": (b"2",)}
    first, same = (_assembled(endorsements=dict(order))[0] for order in (two.items(), reversed(two.items())))
    assert first.version == same.version
    changed = [
        _assembled(replace(PRODUCTION, token_seconds=61)),
        _assembled(reference_values=[_references("other")]),
        _assembled(reference_values=[_allowing((10,), ("ab" * 32,))]),
        _assembled(reference_values=[_allowing((4, 10), ("ab" * 32,))]),
        _assembled(endorsements={"amd-crl/milan": (b"1",), "amd-crl/genoa": (b"3",)}),
        _assembled(DEVELOPMENT),
    ]
    assert len({first.version, *(config.version for config, _ in changed)}) == 1 + len(changed)


@pytest.mark.parametrize(
    ("settings", "parts", "message"),
    [
        ({"token_seconds": 59}, {}, "lives 60 s"),
        ({"token_seconds": 7 * 86400 + 1}, {}, "lives 60 s"),
        ({"tees": ()}, {}, "tees is empty"),
        ({}, {"policies": []}, "no policy for TEE tdx"),
        ({}, {"policies": [_policy("tdx"), _policy("tdx")]}, "two policies"),
        ({}, {"reference_values": [_references(), _references()]}, "same name and version"),
        ({}, {"reference_values": [_references(values={})]}, "lists no value"),
        ({}, {"reference_values": [_references(values={"mrtd": ()})]}, "lists no value"),
        (
            {},
            {"reference_values": [_references(values={"mrtd": ("ab" * 48, "AB" * 48)})]},
            "mrtd: 'ABAB.* in lower case",
        ),
        ({}, {"reference_values": [_allowing((), ("ab" * 32,))]}, "'web', log ima names no register"),
        ({}, {"reference_values": [_allowing((10, 32), ("ab" * 32,))]}, "a register that no TEE has"),
        ({}, {"reference_values": [_allowing((-1,), ("ab" * 32,))]}, "a register that no TEE has"),
        ({}, {"reference_values": [_allowing((10,), ())]}, "allows no digest"),
        ({}, {"reference_values": [_allowing((10,), ("ab" * 32, "AB" * 32))]}, "no digest in lower-case"),
        ({}, {"reference_values": [_allowing((10,), ("",))]}, "no digest in lower-case"),
        ({}, {"reference_values": [_allowing((10,), ("ab" * 19,))]}, "no digest in lower-case"),
    ],
)
@pytest.mark.parametrize("base", [PRODUCTION, DEVELOPMENT], ids=["production", "development"])
def test_a_configuration_that_makes_no_sense_is_refused_anywhere(
    base: TenantSettings, settings: dict[str, Any], parts: dict[str, Any], message: str
) -> None:
    with pytest.raises(Misconfigured, match=message):
        _assembled(replace(base, **settings), **parts)


# ── production ────────────────────────────────────────────────────────────────────────────────────────────────────────
_PEM = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(b"O=" + MARK.encode()) + b"-----END CERTIFICATE-----\n"
_UNREADABLE = b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("settings", "parts", "message"),
    [
        ({}, {"trust_anchors": [TrustAnchor("amd", b"spki")]}, "trust anchors"),
        ({"allow_replay": True}, {}, "allow_replay"),
        ({"tees": ("tdx", "sample")}, {}, "sample proves nothing"),
        ({}, {"endorsements": {"amd-crl/milan": (b"crl of " + MARK.encode(),)}}, "amd-crl/milan comes from"),
        ({}, {"endorsements": {"amd-chain/milan": (b"real", _PEM)}}, "amd-chain/milan comes from"),
        (
            {},
            {"endorsements": {"intel-dcap/x": (json.dumps({"chain": _UNREADABLE.decode() + _PEM.decode()}).encode(),)}},
            "intel-dcap/x comes from",
        ),
    ],
)
def test_production_refuses_what_development_admits(
    settings: dict[str, Any], parts: dict[str, Any], message: str
) -> None:
    with pytest.raises(Misconfigured, match=message) as refusal:
        _assembled(replace(PRODUCTION, **settings), **parts)
    assert 'or say "environment": "development"' in str(refusal.value)
    assert _assembled(replace(DEVELOPMENT, **settings), **parts)[0].version


@pytest.mark.parametrize("endorsements", [{}, {"amd-chain/milan": (b"real",)}, {"amd-chain/milan": (_UNREADABLE,)}])
def test_production_admits_real_endorsements(endorsements: dict[str, tuple[bytes, ...]]) -> None:
    assert _assembled(endorsements=endorsements)[0].version


def test_production_recognises_every_simulated_vendor(vendors: Sequence[Vendor]) -> None:
    for vendor in vendors:
        vendor.evidence(1, bytes(64))
        assert vendor.endorsements()
        for name, documents in vendor.endorsements().items():
            for document in documents:
                with pytest.raises(Misconfigured, match="comes from the simulator"):
                    _assembled(endorsements={name: (document,)})
