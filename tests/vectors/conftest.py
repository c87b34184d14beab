"""The walk is made once for all tests of it."""

from pathlib import Path

import pytest
from vectors.record import walk
from vectors.walk import Book


@pytest.fixture(scope="package")
def book(vectors: Path) -> Book:
    return walk(vectors)
