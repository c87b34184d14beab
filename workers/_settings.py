"""The only reader of the environment: `ATTEST_*` becomes one Struct, and an unknown name stops the start-up."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from attest_pipeline.errors import Misconfigured

PREFIX: Final = "ATTEST_"


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a process needs to run; paths are read by the kinds that need them and by no other.

    `state` is the directory with keys and credentials, `credentials` the JSON file with this kind's NATS user,
    `config` the directory of tenant configurations. `frame` is the most Evidences judged together, `attempts` the
    deliveries after which Evidence becomes a dead letter. `collateral` makes parse ask the collateral worker for what
    the tenant's configuration does not hold.
    """

    nats_url: str = "nats://127.0.0.1:4222"
    credentials: Path | None = None
    signing_key: Path | None = None
    nonce_key: Path | None = None
    bell_key: Path | None = None
    bell_keys: Path | None = None
    config: Path | None = None
    policies: Path | None = None
    webhooks: Path | None = None
    collateral: bool = False
    collateral_state: Path | None = None
    tenants: str = ""
    epoch_seconds: Annotated[int, Meta(ge=1)] = 300
    health_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    frame: Annotated[int, Meta(ge=1, le=256)] = 64
    attempts: Annotated[int, Meta(ge=4)] = 6
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"

    def path(self, name: str) -> Path:
        """A path that this kind cannot do without. Raises Misconfigured."""
        value = getattr(self, name)
        if not isinstance(value, Path):
            raise Misconfigured(f"set {PREFIX}{name.upper()}: this worker kind needs it")
        return value


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Settings of the `ATTEST_*` variables. Raises Misconfigured for an unknown name or a wrong value."""
    given = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)}
    try:
        return msgspec.convert(given, Settings, strict=False, dec_hook=lambda kind, value: kind(value))
    except msgspec.ValidationError as error:
        raise Misconfigured(f"environment: {error}") from None
