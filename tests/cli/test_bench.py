from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from command import Attest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from attest_pipeline.adapters.children import cores
from attest_pipeline.cli import bench_verify
from attest_pipeline.cli.floor import SIGNATURES, floor
from attest_pipeline.cli.simulated import vendors
from attest_pipeline.crypto import EcKey, RsaKey
from attest_pipeline.errors import Misconfigured
from attest_pipeline.gm import Sm2Key
from attest_pipeline.model import Evidence
from attest_pipeline.simulator.amd import AmdVendor
from attest_pipeline.simulator.device import Fault

NOW = datetime(2026, 11, 29, tzinfo=UTC)
TINY = ("--devices", 4, "--output", "json")
REPORT = {
    "attestations_per_s", "floor_per_s", "ratio", "cores", "machine_ratio", "p50_ms", "p99_ms", "rss_mb", "lane",
    "processes", "topology", "durability", "tee", "cpu", "runs",
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize(
    ("lane", "topology", "processes"), [("frames", "fused", 1), ("durable", "stages", 4), ("interactive", "fused", 1)]
)
def test_a_pipeline_benchmark_reports_every_figure(attest: Attest, lane: str, topology: str, processes: int) -> None:
    done = attest(
        "bench", "pipeline", "--count", 80, "--runs", 2, "--floor-seconds", 0.01, "--processes", 1, "--lane", lane,
        "--topology", topology, "--durability", "process-kill", *TINY,
    )  # fmt: skip
    assert done.code == 0, done.err
    report = done.json()
    assert report.keys() == REPORT
    assert (report["lane"], report["topology"], report["processes"]) == (lane, topology, processes)
    assert report["durability"] == "process-kill"
    assert report["ratio"] == pytest.approx(report["attestations_per_s"] / report["floor_per_s"], abs=0.001)
    assert report["machine_ratio"] < report["ratio"] < 1
    assert 0 < report["cores"] < cores()
    assert 0 < report["p50_ms"] <= report["p99_ms"]
    assert {"nats-server", "load"} < report["cpu"].keys()
    assert [len(run["rss_mb"]) for run in report["runs"]] == [processes + 2] * 2


@pytest.mark.integration
def test_a_wrong_verdict_makes_the_benchmark_fail(attest: Attest, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = AmdVendor.evidence

    def one_in_debug_mode(self: AmdVendor, serial: int, challenge: bytes, fault: Fault | None = None) -> Evidence:
        return healthy(self, serial, challenge, Fault.DEBUG if serial == 3 else fault)

    monkeypatch.setattr(AmdVendor, "evidence", one_in_debug_mode)
    done = attest("bench", "soak", "--count", 80, "--every", 80, "--processes", 1, *TINY)
    assert done.code == 1
    assert "a healthy device got contraindicated" in done.err
    assert not done.out


@pytest.mark.integration
def test_a_soak_reports_memory_along_the_way_and_its_slope(attest: Attest) -> None:
    done = attest("bench", "soak", "--count", 160, "--every", 80, "--processes", 1, *TINY)
    report = done.json()
    assert [sample["attestations"] for sample in report["samples"]] == [0, 80, 160]
    assert report["slope"].keys() == report["samples"][0]["rss_mb"].keys() == {"config-0", "bell-1", "all-2"}


def test_the_cost_of_verifying_is_told_for_each_tee(attest: Attest) -> None:
    done = attest("bench", "verify", "--tee", "snp", "--tee", "itrustee", "--seconds", 0.01, *TINY)
    costs = done.json()
    assert [cost["tee"] for cost in costs] == ["snp", "itrustee"]
    assert all(cost[kind] > 0 for cost in costs for kind in ("cold", "warm", "signatures", "ratio", "new", "new_ratio"))


def test_the_floor_covers_every_tee_and_all_cores(attest: Attest) -> None:
    told = attest("bench", "floor", "--seconds", 0.02, "--output", "json").json()
    assert told["cores"] >= 1
    assert told["floor_per_s"].keys() == SIGNATURES.keys()
    assert min(told["floor_per_s"].values()) > 0


def test_people_get_tables(attest: Attest) -> None:
    assert "P-256 + RSA-2048" in attest("bench", "floor", "--tee", "az-tdx-vtpm", "--seconds", 0.01).out
    assert "ratio" in attest("bench", "verify", "--tee", "sgx", "--seconds", 0.01, "--devices", 2).out


def test_an_unknown_tee_has_no_floor(attest: Attest) -> None:
    assert attest("bench", "verify", "--tee", "sample").code == 2
    with pytest.raises(Misconfigured, match="no floor for 'sample'"):
        floor("sample", 0)


@pytest.mark.parametrize("tee", SIGNATURES)
def test_the_floor_has_the_signatures_that_a_later_evidence_makes_a_verifier_check(
    tee: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (vendor,) = vendors(NOW, (tee,))
    first, later = (bench_verify.samples(vendor, 1, number)[0] for number in range(2))
    prove = bench_verify.prover(vendor, NOW)
    prove(first)
    checked = signatures_checked(monkeypatch)
    prove(later)
    assert checked == known_signatures(tee, again=False)


@pytest.mark.parametrize("tee", [tee for tee in SIGNATURES if any(signed.again for signed in SIGNATURES[tee])])
def test_what_a_device_sends_again_is_checked_with_its_first_evidence(
    tee: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (vendor,) = vendors(NOW, (tee,))
    (first,) = bench_verify.samples(vendor, 1, 0)
    checked = signatures_checked(monkeypatch)
    bench_verify.prover(vendor, NOW)(first)
    assert all(signature in checked for signature in known_signatures(tee, again=True))


def known_signatures(tee: str, *, again: bool) -> list[tuple[str, Any]]:
    """Key and message size of the signatures in the table; sizes differ a little from one Evidence to another."""
    signatures = SIGNATURES[tee]
    return [(signed.key, pytest.approx(signed.size, rel=0.1)) for signed in signatures if signed.again is again]


def signatures_checked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Key and message size of every signature that is checked from now on."""
    seen: list[tuple[str, int]] = []

    def watch(kind: type, method: str, name: Callable[[Any], str], message: int) -> None:
        check = getattr(kind, method)

        def watched(self: Any, *arguments: Any) -> bool:
            seen.append((name(self), len(arguments[message])))
            return bool(check(self, *arguments))

        monkeypatch.setattr(kind, method, watched)

    watch(EcKey, "verify_der", lambda key: key.curve, 1)
    watch(RsaKey, "verify_pkcs1", lambda key: f"RSA-{rsa_bits(key)}", 1)
    watch(RsaKey, "verify_pss", lambda key: f"RSA-{rsa_bits(key)} PSS", 1)
    watch(Sm2Key, "verify", lambda _: "SM2", 2)
    return seen


def rsa_bits(key: RsaKey) -> int:
    public = load_der_public_key(key.spki)
    assert isinstance(public, RSAPublicKey)
    return public.key_size
