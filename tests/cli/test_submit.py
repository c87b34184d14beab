import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from command import Attest, Up

from attest_pipeline import wire
from attest_pipeline.adapters import nats_link
from attest_pipeline.adapters.nats_config import BrokerSpec, Tenant, ensure_credentials, users_of
from attest_pipeline.adapters.site import Site, ensure
from attest_pipeline.attester.client import Agent, NoResult, Results
from attest_pipeline.cli.simulated import write_tenant
from attest_pipeline.model import Evidence, EvidenceCollection, SuppliedChallenge
from attest_pipeline.simulator.device import Fault, Vendor

CHALLENGE = bytes(range(64))
AGENT = "node-1"
GATEWAY = "rack-1"


class Running(NamedTuple):
    """A running stack, and devices that it knows."""

    site: Site
    vendor: Vendor

    def evidence(self, directory: Path, fault: Fault | None = None, *, as_of: int | None = None) -> Path:
        """A file of Evidence, different at every call."""
        collection = EvidenceCollection(
            evidence=(self.vendor.evidence(1, CHALLENGE, fault),),
            challenge=SuppliedChallenge(CHALLENGE),
            as_of=int(time.time()) if as_of is None else as_of,
        )
        path = directory / "evidence.json"
        path.write_bytes(msgspec.json.encode(collection))
        return path


@pytest.fixture(scope="module")
def running(vendors: Sequence[Vendor], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    vendor = next(vendor for vendor in vendors if vendor.tee == "snp")
    vendor.evidence(1, CHALLENGE)
    site = Site(tmp_path_factory.mktemp("state"))
    write_tenant(site, "default", [vendor])
    ensure(site)
    stack = Up(site.root, "--agent", AGENT, "--gateway", GATEWAY, "--fused", "1")
    yield Running(site, vendor)
    assert stack.interrupt() == 0


def _submit(attest: Attest, running: Running, file: Path, *more: str) -> tuple[int, str, str]:
    return attest("submit", file, "--state", running.site.root, "--agent", AGENT, *more)


@pytest.mark.integration
def test_a_relying_party_gets_the_token_as_a_file(attest: Attest, running: Running, tmp_path: Path) -> None:
    token = tmp_path / "TOKEN"
    assert _submit(attest, running, running.evidence(tmp_path), "--token-file", str(token))[0] == 0
    names = ("--audience", "default", "--issuer", "urn:attest-pipeline:default")
    assert attest("token", "verify", token, "--jwks", running.site.jwks, *names).code == 0


@pytest.mark.integration
def test_evidence_is_not_sent_where_its_token_could_not_be_written(
    attest: Attest, running: Running, tmp_path: Path
) -> None:
    file = running.evidence(tmp_path)
    code, _, err = _submit(attest, running, file, "--token-file", str(tmp_path / "nowhere" / "TOKEN"))
    assert (code, "nowhere/TOKEN: No such file" in err) == (4, True)
    assert _submit(attest, running, file)[0] == 0, "it was sent, and gets no second result"


@pytest.mark.integration
@pytest.mark.parametrize("lane", ["durable", "interactive"])
def test_submitted_evidence_gets_its_verdict(attest: Attest, running: Running, tmp_path: Path, lane: str) -> None:
    code, out, err = _submit(attest, running, running.evidence(tmp_path), "--lane", lane)
    assert (code, err) == (0, "")
    assert f"{AGENT} is affirming" in out
    assert "reference values" in out


@pytest.mark.integration
def test_a_bad_verdict_ends_with_exit_code_1(attest: Attest, running: Running, tmp_path: Path) -> None:
    file = running.evidence(tmp_path, Fault.BAD_SIGNATURE)
    code, out, _ = _submit(attest, running, file, "--output", "json")
    assert code == 1
    assert msgspec.json.decode(out)["submods"]["snp"]["attest_pipeline"]["reason"] == "bad_signature"


@pytest.mark.integration
def test_options_say_what_a_state_directory_would(attest: Attest, running: Running, tmp_path: Path) -> None:
    site = running.site
    listen = msgspec.json.decode((site.broker / "nats-server.conf").read_bytes())["listen"]
    credentials = site.broker / "credentials" / "tenant-default" / f"{AGENT}.json"
    names = ["--agent", AGENT, "--url", f"nats://{listen}", "--credentials", credentials, "--jwks", site.jwks]
    file = running.evidence(tmp_path)
    assert attest("submit", file, *names, "--audience", "default", "--issuer", "urn:attest-pipeline:default").code == 0
    wrong = attest("submit", file, *names, "--audience", "default", "--issuer", "urn:other", "--lane", "interactive")
    assert wrong.code == 1
    assert "issued by" in wrong.err


@pytest.mark.integration
def test_no_result_in_time_ends_with_exit_code_3(attest: Attest, running: Running, tmp_path: Path) -> None:
    file = running.evidence(tmp_path)
    assert _submit(attest, running, file)[0] == 0
    code, out, err = _submit(attest, running, file, "--wait", "0.1")  # the same again gets no second result
    assert (code, out) == (3, "")
    assert "are the workers running?" in err


@pytest.mark.integration
def test_the_result_of_another_attestation_is_not_taken(
    attest: Attest, running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = wire.decode_collection(running.evidence(tmp_path).read_bytes(), wire.JSON)
    ask = Agent.verify

    async def ask_for_another(agent: Agent, _collection: EvidenceCollection, seconds: float) -> bytes:
        return await ask(agent, other, seconds)

    monkeypatch.setattr(Agent, "verify", ask_for_another)
    code, _, err = _submit(attest, running, running.evidence(tmp_path), "--lane", "interactive")
    assert code == 1
    assert "another attestation" in err


# ── through a gateway ─────────────────────────────────────────────────────────────────────────────────────────────────
def _batch(attest: Attest, running: Running, *more: object) -> tuple[int, str, str]:
    return attest("batch", *more, "--state", running.site.root, "--gateway", GATEWAY)


@pytest.mark.integration
def test_agents_behind_a_gateway_each_get_their_verdict(attest: Attest, running: Running, tmp_path: Path) -> None:
    good = running.evidence(tmp_path)
    code, out, err = _batch(attest, running, f"blade-1={good}", f"blade-2={good}")
    assert (code, err) == (0, "")
    assert "blade-1 is affirming" in out
    assert "blade-2 is affirming" in out


@pytest.mark.integration
def test_one_bad_verdict_of_a_batch_ends_with_exit_code_1_and_harms_no_other(
    attest: Attest, running: Running, tmp_path: Path
) -> None:
    (tmp_path / "bad").mkdir()
    good, bad = running.evidence(tmp_path), running.evidence(tmp_path / "bad", Fault.BAD_SIGNATURE)
    code, out, _ = _batch(attest, running, f"blade-3={bad}", f"blade-4={good}", "--output", "json")
    first, second = (msgspec.json.decode(line) for line in out.splitlines())
    assert code == 1
    assert (first["sub"], first["submods"]["snp"]["attest_pipeline"]["reason"]) == ("blade-3", "bad_signature")
    assert (second["sub"], second["submods"]["snp"]["ear_status"]) == ("blade-4", "affirming")


@pytest.mark.integration
def test_a_batch_that_was_sent_before_gets_no_second_results(attest: Attest, running: Running, tmp_path: Path) -> None:
    pair = f"blade-5={running.evidence(tmp_path)}"
    assert _batch(attest, running, pair)[0] == 0
    code, out, err = _batch(attest, running, pair, "--wait", "0.1")
    assert (code, out) == (3, "")
    assert "1 of 1 results did not come" in err


@pytest.mark.integration
def test_a_batch_shows_what_came_in_time(
    attest: Attest, running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = running.evidence(tmp_path)
    late = wire.attestation_id("default", "blade-6", wire.decode_collection(file.read_bytes(), wire.JSON)).hex()
    hear = Results.token

    async def hear_all_but_one(heard: Results, identity: str, seconds: float) -> bytes:
        if identity == late:
            raise NoResult("it did not come in time")
        return await hear(heard, identity, seconds)

    monkeypatch.setattr(Results, "token", hear_all_but_one)
    code, out, err = _batch(attest, running, f"blade-6={file}", f"blade-7={file}")
    assert code == 3
    assert "blade-7 is affirming" in out
    assert "blade-6" not in out
    assert "1 of 2 results did not come" in err


# ── without a stack ───────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def state(tmp_path: Path) -> Site:
    """A state directory whose stack does not run."""
    site = Site(tmp_path / "state")
    ensure(site)
    (site.broker / "nats-server.conf").write_text('{"listen": "127.0.0.1:1"}')
    return site


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A collection that any Verifier would refuse."""
    path = tmp_path / "evidence.json"
    path.write_bytes(msgspec.json.encode(EvidenceCollection(evidence=(Evidence("snp", {}),))))
    return path


def test_a_broker_that_is_away_ends_with_exit_code_4_and_says_what_to_do(
    attest: Attest, state: Site, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_link, "_START_SECONDS", 0.3)
    users = users_of(BrokerSpec(store="", tenants=(Tenant(name="default", agents=(AGENT,)),)))
    ensure_credentials(state.broker / "credentials", users)
    done = attest("submit", file, "--state", state.root, "--agent", AGENT)
    assert (done.code, done.out) == (4, "")
    assert "start the stack with `attest up`" in done.err


def test_an_agent_without_credentials_is_a_usage_error(attest: Attest, state: Site, file: Path) -> None:
    done = attest("submit", file, "--state", state.root, "--agent", "stranger")
    assert done.code == 2
    assert "stranger.json: No such file" in done.err


@pytest.mark.parametrize(("tenant", "missing"), [("nobody", "nobody/tenant.json"), ("default", "nats-server.conf")])
def test_a_state_that_lacks_something_is_a_usage_error(
    attest: Attest, state: Site, file: Path, tenant: str, missing: str
) -> None:
    (state.broker / "nats-server.conf").unlink()
    done = attest("submit", file, "--state", state.root, "--agent", AGENT, "--tenant", tenant)
    assert done.code == 2
    assert missing in done.err


def test_what_is_not_said_is_asked_for(attest: Attest, file: Path) -> None:
    done = attest("submit", file, "--agent", AGENT, "--issuer", "urn:x")
    assert done.code == 2
    assert "say --state, or else --credentials --jwks --audience" in done.err


def test_what_is_no_collection_is_not_sent(attest: Attest, state: Site) -> None:
    done = attest("submit", "-", "--state", state.root, "--agent", AGENT, stdin=b'{"evidence": []}')
    assert (done.code, done.out) == (1, "")
    assert "malformed" in done.err
