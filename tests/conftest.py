"""Where the tests find real evidence: beside the checkout, or nowhere (those tests then skip and say so)."""

import os
from pathlib import Path

import pytest

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
