"""One engine for all tests of policies."""

from collections.abc import Iterator

import pytest

from attest_pipeline.adapters.rego import RegoEngine


@pytest.fixture(scope="session")
def engine() -> Iterator[RegoEngine]:
    engine = RegoEngine()
    yield engine
    engine.close()
