"""Where the tests find real evidence: beside the checkout, or nowhere (those tests then skip and say so)."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attest_pipeline.cli.simulated import vendors as simulated_vendors
from attest_pipeline.simulator.device import Vendor

pytest_plugins = ["bus_fixtures"]
SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Directory of real evidence; skips the test without it."""
    path = Path(os.environ.get("VECTORS", SHARED / "vectors"))
    if not path.is_dir():
        pytest.skip("no real evidence beside the checkout (set VECTORS to its directory)")
    return path


@pytest.fixture(scope="session")
def conformance() -> Path:
    """Directory of the black-box cases and their runner; skips the test without it."""
    path = SHARED / "conformance"
    if not path.is_dir():
        pytest.skip("no conformance cases beside the checkout")
    return path


@pytest.fixture(scope="session")
def vendors() -> tuple[Vendor, ...]:
    """A simulated vendor of every TEE; making their root keys takes a second."""
    return simulated_vendors(datetime.now(UTC))
