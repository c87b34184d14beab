"""The environment of a worker: every name known, every value of its type."""

from pathlib import Path

import pytest

from attest_pipeline.errors import Misconfigured
from workers._settings import Settings, from_environment


def test_names_become_fields_and_other_programs_names_are_left_alone() -> None:
    found = from_environment(
        {
            "ATTEST_NATS_URL": "nats://h:1",
            "ATTEST_FRAME": "7",
            "ATTEST_SIGNING_KEY": "/k/s.pem",
            "HOME": "/",
            "ATTESTED": "1",
        }
    )
    assert (found.nats_url, found.frame, found.signing_key) == ("nats://h:1", 7, Path("/k/s.pem"))
    assert from_environment({}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ATTEST_SINGING_KEY", "/k/s.pem"),
        ("ATTEST_", "x"),
        ("ATTEST_FRAME", "many"),
        ("ATTEST_FRAME", "0"),
        ("ATTEST_FRAME", "257"),
        ("ATTEST_ATTEMPTS", "3"),
        ("ATTEST_EPOCH_SECONDS", "0"),
        ("ATTEST_HEALTH_PORT", "65536"),
        ("ATTEST_LOG_LEVEL", "loud"),
    ],
)
def test_an_unknown_name_or_a_wrong_value_is_misconfigured(name: str, value: str) -> None:
    with pytest.raises(Misconfigured, match="environment"):
        from_environment({name: value})


def test_a_path_that_a_kind_needs_is_named_when_it_is_missing() -> None:
    assert Settings(signing_key=Path("/k")).path("signing_key") == Path("/k")
    with pytest.raises(Misconfigured, match="set ATTEST_SIGNING_KEY"):
        Settings().path("signing_key")
