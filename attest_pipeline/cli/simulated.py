"""A tenant made of simulated vendors: its configuration directory, written from what the vendors endorse."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path

import msgspec

from attest_pipeline.adapters import config_dir
from attest_pipeline.adapters.pem import write_public_key
from attest_pipeline.adapters.site import DEFAULT_TEES, Site, add_tenant, issuer
from attest_pipeline.errors import Misconfigured
from attest_pipeline.owner.tenant import TenantSettings
from attest_pipeline.simulator.amd import AmdVendor
from attest_pipeline.simulator.arm import CcaVendor
from attest_pipeline.simulator.ascend import AscendVendor
from attest_pipeline.simulator.aws import AwsVendor
from attest_pipeline.simulator.azure import AzureVendor
from attest_pipeline.simulator.device import Vendor
from attest_pipeline.simulator.huawei import VirtccaVendor
from attest_pipeline.simulator.hygon import CsvVendor
from attest_pipeline.simulator.intel import IntelVendor
from attest_pipeline.simulator.itrustee import ItrusteeVendor
from attest_pipeline.simulator.nvidia import NvidiaVendor
from attest_pipeline.simulator.psa import PsaVendor
from attest_pipeline.simulator.tpm import TpmVendor


def vendors(now: datetime, tees: Sequence[str] = DEFAULT_TEES) -> tuple[Vendor, ...]:
    """A test vendor for each TEE, with root keys of its own, valid around `now`. Raises Misconfigured."""
    tdx, snp = cache(lambda: IntelVendor("tdx", now)), cache(lambda: AmdVendor(now))
    tpm = cache(lambda: TpmVendor(now))
    makers: dict[str, Callable[[], Vendor]] = {
        "tdx": tdx,
        "sgx": lambda: IntelVendor("sgx", now),
        "snp": snp,
        "cca": lambda: CcaVendor(now),
        "virtcca": lambda: VirtccaVendor(now),
        "nitro": lambda: AwsVendor(now),
        "nvidia-gpu": lambda: NvidiaVendor("nvidia-gpu", now),
        "nvidia-switch": lambda: NvidiaVendor("nvidia-switch", now),
        "csv": CsvVendor,
        "psa": PsaVendor,
        "itrustee": lambda: ItrusteeVendor(now),
        "tpm": tpm,
        "az-snp-vtpm": lambda: AzureVendor(snp()),
        "az-tdx-vtpm": lambda: AzureVendor(tdx()),
        "ascend-npu": lambda: AscendVendor(tpm()),
    }
    unknown = [tee for tee in tees if tee not in makers]
    if unknown:
        raise Misconfigured(f"no simulated vendor for {unknown[0]!r}; there are {', '.join(makers)}")
    return tuple(makers[tee]() for tee in tees)


def write_tenant(site: Site, tenant: str, vendors: Sequence[Vendor], *, annotate: bool = False) -> Path:
    """Write a development tenant that trusts these vendors and allows replay; without any it admits every TEE."""
    settings = TenantSettings(
        issuer=issuer(tenant),
        audience=tenant,
        tees=tuple(dict.fromkeys(vendor.tee for vendor in vendors)) or DEFAULT_TEES,
        environment="development",
        annotate=annotate,
        allow_replay=True,
    )
    directory = add_tenant(site, tenant, settings)
    for vendor in vendors:
        _write(directory, vendor)
    return directory


def _write(directory: Path, vendor: Vendor) -> None:
    references = directory / "reference-values" / f"{vendor.tee}.json"
    references.parent.mkdir(exist_ok=True)
    references.write_bytes(msgspec.json.format(msgspec.json.encode(vendor.reference_values()), indent=2))
    config_dir.write_endorsements(directory / "endorsements", dict(vendor.endorsements()))
    for number, anchor in enumerate(vendor.trust_anchors()):
        path = directory / "trust-anchors" / anchor.vendor / f"{vendor.tee}-{number}.pem"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(write_public_key(anchor.spki))
