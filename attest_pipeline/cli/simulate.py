"""`attest simulate`: a development tenant that trusts simulated devices, and Evidence of theirs to try things with."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console

from attest_pipeline import verifiers
from attest_pipeline.adapters.site import DEFAULT_TEES, Site, ensure
from attest_pipeline.cli.output import Output, OutputOption, emit
from attest_pipeline.cli.simulated import vendors, write_tenant
from attest_pipeline.errors import Misconfigured
from attest_pipeline.model import EvidenceCollection, SuppliedChallenge
from attest_pipeline.simulator.device import Fault, Vendor

TENANT: Final = "simulated"
_CHALLENGE_BYTES: Final = 64


def simulate(
    state: Annotated[Path, typer.Option(help="State directory of `attest up`.")] = Path("state"),
    tee: Annotated[list[str] | None, typer.Option(help="TEE (may be repeated); five without it.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a development tenant that trusts simulated devices, and Evidence of a good and a bad one of each TEE.

    `attest up` knows the tenant from its next start on. The devices' keys are not kept: there is no more Evidence.
    """
    site = Site(state.resolve())
    ensure(site)
    if (site.config / TENANT).exists():
        raise Misconfigured(f"{site.config / TENANT} exists: remove it first, its devices cannot be had again")
    now = datetime.now(UTC)  # noqa: TID251 - the Evidence is of this moment
    made = vendors(now, tee or DEFAULT_TEES)
    directory = evidence_directory(site)
    directory.mkdir(exist_ok=True)
    files = [file for vendor in made for file in _written(vendor, directory, now)]
    write_tenant(site, TENANT, made)  # after the Evidence: every device has its Endorsements then
    if output is Output.JSON:
        emit({"tenant": TENANT, "evidence": [str(file) for file in files]})
    else:
        for file in files:
            Console().print(str(file), soft_wrap=True)


def evidence_directory(site: Site) -> Path:
    """Where the files of Evidence are."""
    return site.root / "simulated"


def _written(vendor: Vendor, directory: Path, now: datetime) -> Iterator[Path]:
    """Files of a healthy device and of one whose signature is not right."""
    anchors = {anchor.vendor: (anchor.spki,) for anchor in vendor.trust_anchors()}
    size = verifiers.load((vendor.tee,), anchors)[vendor.tee].challenge_bytes
    for serial, (name, fault) in enumerate({"good": None, "bad-signature": Fault.BAD_SIGNATURE}.items()):
        challenge = secrets.token_bytes(_CHALLENGE_BYTES)
        collection = EvidenceCollection(
            evidence=(vendor.evidence(serial, challenge, fault),),
            challenge=SuppliedChallenge(challenge[:size]),
            as_of=int(now.timestamp()),
        )
        file = directory / f"{vendor.tee}-{name}.json"
        file.write_bytes(msgspec.json.encode(collection))
        yield file
