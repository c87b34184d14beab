"""The text of the server configuration and the files of its users; what the server makes of it is tested on one."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from attest_pipeline.adapters.nats_bus import NatsBus
from attest_pipeline.adapters.nats_config import (
    BrokerSpec,
    Tenant,
    credentials_file,
    ensure_credentials,
    read_credentials,
    server_config,
    users_of,
)
from attest_pipeline.errors import Misconfigured


def spec(*tenants: Tenant, **changes: object) -> BrokerSpec:
    return msgspec.structs.replace(BrokerSpec(store="store"), tenants=tenants, **changes)


def config(chosen: BrokerSpec, directory: Path) -> dict[str, Any]:
    text = server_config(chosen, ensure_credentials(directory, users_of(chosen)))
    decoded: dict[str, Any] = msgspec.json.decode(text)
    return decoded


def test_defaults_are_the_safe_ones(tmp_path: Path) -> None:
    made = config(spec(), tmp_path)
    assert made["jetstream"] | {"max_file_store": 0} == {
        "store_dir": "store", "sync_interval": "always", "strict": True, "max_file_store": 0,
    }  # fmt: skip
    assert str(made["listen"]).startswith("127.0.0.1:")
    assert str(made["http"]).startswith("127.0.0.1:")
    assert made["max_payload"] == 4 * 1024 * 1024
    assert "no_auth_user" not in made
    assert "sync_interval" not in config(spec(sync_always=False), tmp_path)["jetstream"]


def test_every_user_has_a_key_of_its_own_and_no_secret_is_in_the_text(tmp_path: Path) -> None:
    chosen = spec(Tenant(name="acme", agents=("a1", "a2"), gateways=("g1",), fleet=True))
    users = users_of(chosen)
    keys = ensure_credentials(tmp_path, users)
    assert len(set(keys.values())) == len(users) == 10 + 5
    assert ensure_credentials(tmp_path, users) == keys
    text = server_config(chosen, keys)
    for user in users:
        assert read_credentials(credentials_file(tmp_path, user.account, user.name)).seed not in text
    assert len(re.findall(r'"U[A-Z2-7]{55}"', text)) == len(users)


@pytest.mark.parametrize(
    "tenants",
    [
        (Tenant(name="a.b"),),
        (Tenant(name="acme", agents=("a*",)),),
        (Tenant(name="acme", agents=("a", "a")),),
        (Tenant(name="acme", agents=("a",), gateways=("a",)),),
        (Tenant(name="acme", agents=("relying-party",)),),
        (Tenant(name="acme", agents=("fleet",), fleet=True),),
    ],
)
def test_names_that_are_no_token_or_not_unique_are_refused(tenants: tuple[Tenant, ...], tmp_path: Path) -> None:
    with pytest.raises(Misconfigured):
        config(spec(*tenants), tmp_path)


def test_a_tenant_may_be_called_like_the_service(tmp_path: Path) -> None:
    accounts = config(spec(Tenant(name="SVC", relying_party=False)), tmp_path)["accounts"]
    assert set(accounts) == {"SVC", "tenant-SVC"}


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{}", b'{"account":"SVC","user":"x","seed":"SUAA","inbox_prefix":"_INBOX_x"}',
     b'{"account":"SVC","user":"x","seed":"","inbox_prefix":"_INBOX_x"}', b"\xff",
     '{"account":"SVC","user":"x","seed":"ä","inbox_prefix":"_INBOX_x"}'.encode()],
)  # fmt: skip
async def test_credentials_that_are_none_are_said_to_be_so(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Misconfigured, match="credentials"):
        await NatsBus.connect("nats://127.0.0.1:1", credentials=path, name="x", clock=lambda: 0.0)


def test_credentials_must_be_named() -> None:
    with pytest.raises(Misconfigured, match="name the JSON file"):
        read_credentials(None)
