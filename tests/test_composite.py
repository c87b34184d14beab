"""A confidential VM with its GPUs: one collection, one challenge, one token."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from bus_client import over_nonce, over_tick
from msgspec.structs import replace
from topologies import TENANT, library

from attest_pipeline import result
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.adapters.site import Site, ensure, issuer
from attest_pipeline.cli.simulated import write_tenant
from attest_pipeline.ear import Status
from attest_pipeline.freshness import Tick, issue_nonce, nonce_challenge
from attest_pipeline.model import EvidenceCollection, NonceChallenge
from attest_pipeline.pipeline import Pipeline
from attest_pipeline.result import AttestationResult
from attest_pipeline.simulator.amd import AmdVendor
from attest_pipeline.simulator.nvidia import NvidiaVendor

NOW = 1_795_000_000
AGENT = "node-1"
MOMENT = datetime.fromtimestamp(NOW, UTC)
TICK = Tick(TENANT, 9, b"t" * 32, NOW - 10, NOW + 10)
CPU, GPU, SWITCH = AmdVendor(MOMENT), NvidiaVendor("nvidia-gpu", MOMENT), NvidiaVendor("nvidia-switch", MOMENT)
MACHINE = ((CPU, 1), (GPU, 1), (GPU, 2), (SWITCH, 1))


class Verifying:
    """A tenant that admits CPUs, GPUs and switches."""

    def __init__(self, site: Site, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._key = site.nonce_key.read_bytes()
        self._jwk = FileSigner.load(site.signing_key).public_jwk()

    def nonce(self, agent: str = AGENT) -> bytes:
        return issue_nonce(self._key, TENANT, agent, expires=NOW + 60, salt=bytes(16))

    def token(self, collection: EvidenceCollection) -> bytes:
        return self._pipeline.run(collection, agent=AGENT, now=NOW, ticks={TICK.epoch: TICK})

    def attest(self, collection: EvidenceCollection) -> AttestationResult:
        token = self.token(collection)
        return result.check(token, [self._jwk], audience=TENANT, issuer=issuer(TENANT), now=NOW)


@pytest.fixture(scope="module")
def verifying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verifying]:
    site = Site(tmp_path_factory.mktemp("composite") / "site")
    ensure(site)
    over_nonce(AGENT, bytes(56), *MACHINE)  # the devices exist before what endorses them is written
    write_tenant(site, TENANT, (CPU, GPU, SWITCH))
    with library(site) as pipeline:
        yield Verifying(site, pipeline)


def rejections(attested: AttestationResult) -> list[str | None]:
    """Why each Evidence was rejected, in order; None where it was not."""
    found = (submod.details for submod in attested.submods.values())
    return [details.reason if details.outcome == "rejected" else None for details in found]


def test_one_challenge_attests_the_whole_machine(verifying: Verifying) -> None:
    for collection in (over_nonce(AGENT, verifying.nonce(), *MACHINE), over_tick(AGENT, TICK, *MACHINE)):
        attested = verifying.attest(collection)
        assert attested.status == Status.AFFIRMING
        assert list(attested.submods) == ["snp", "nvidia-gpu", "nvidia-gpu-1", "nvidia-switch"]
        assert all(submod.details.fresh for submod in attested.submods.values())


def test_equal_evidence_gives_equal_tokens(verifying: Verifying) -> None:
    collection = over_nonce(AGENT, verifying.nonce(), *MACHINE)
    assert verifying.token(collection) == verifying.token(collection)


def test_a_gpu_that_answered_another_agent_condemns_the_machine(verifying: Verifying) -> None:
    nonce = verifying.nonce()
    own = over_nonce(AGENT, nonce, (CPU, 1))
    borrowed = over_nonce("node-2", nonce, (GPU, 1))
    attested = verifying.attest(replace(own, evidence=(*own.evidence, *borrowed.evidence)))
    assert rejections(attested) == [None, "challenge_mismatch"]
    assert attested.status == Status.CONTRAINDICATED


def test_a_gpu_that_answered_another_nonce_condemns_the_machine(verifying: Verifying) -> None:
    own = over_nonce(AGENT, verifying.nonce(), (CPU, 1))
    old = over_nonce(AGENT, verifying.nonce()[:-1] + b"\0", (GPU, 1))
    attested = verifying.attest(replace(own, evidence=(*own.evidence, *old.evidence)))
    assert rejections(attested) == [None, "challenge_mismatch"]


def test_the_challenge_of_the_cpu_is_not_that_of_its_gpu(verifying: Verifying) -> None:
    nonce = verifying.nonce()
    challenge = nonce_challenge(TENANT, AGENT, "snp", nonce, None)
    collection = EvidenceCollection(evidence=(GPU.evidence(1, challenge),), challenge=NonceChallenge(nonce))
    assert rejections(verifying.attest(collection)) == ["challenge_mismatch"]


def test_the_nonce_of_a_gpu_is_the_first_half_of_its_challenge(verifying: Verifying) -> None:
    nonce = verifying.nonce()
    challenge = nonce_challenge(TENANT, AGENT, "nvidia-gpu", nonce, None)
    for value, accepted in ((challenge, True), (challenge[32:] + challenge[:32], False)):
        collection = EvidenceCollection(evidence=(GPU.evidence(1, value),), challenge=NonceChallenge(nonce))
        assert (verifying.attest(collection).status == Status.AFFIRMING) is accepted
