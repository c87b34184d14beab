"""The default policies on what the verifiers prove of simulated devices, healthy and faulty."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from attest_pipeline import verifiers
from attest_pipeline.adapters.rego import RegoEngine
from attest_pipeline.adapters.site import DEFAULT_TEES
from attest_pipeline.appraisal import Appraiser
from attest_pipeline.cli.simulated import vendors as simulated_vendors
from attest_pipeline.matching import ReferenceValues
from attest_pipeline.model import Appraisal, Claims, Endorsements, Matched, Policy
from attest_pipeline.simulator.amd import AmdVendor
from attest_pipeline.simulator.ascend import AscendVendor
from attest_pipeline.simulator.aws import AwsVendor
from attest_pipeline.simulator.device import Fault, Vendor
from attest_pipeline.simulator.itrustee import ItrusteeVendor

POLICIES = Path(__file__).resolve().parents[2] / "policies" / "appraisal"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
CHALLENGE = bytes(64)


@pytest.fixture(scope="module")
def vendors() -> tuple[Vendor, ...]:
    return simulated_vendors(NOW, (*DEFAULT_TEES, "nitro", "nvidia-gpu", "nvidia-switch"))


@pytest.fixture(scope="module")
def silicon(vendors: tuple[Vendor, ...]) -> dict[str, Vendor]:
    milan = next(vendor for vendor in vendors if vendor.tee == "snp")
    return {"Milan": milan, "Genoa": AmdVendor(NOW, "Genoa"), "Turin": AmdVendor(NOW, "Turin")}


def prove(vendor: Vendor, serial: int, fault: Fault | None = None) -> Claims:
    anchors = {anchor.vendor: (anchor.spki,) for anchor in vendor.trust_anchors()}
    verifier = verifiers.load([vendor.tee], anchors)[vendor.tee]
    evidence = vendor.evidence(serial, CHALLENGE, fault)
    published = vendor.endorsements()
    items = {ref.item: published.get(f"{ref.kind}/{ref.key}", ()) for ref in verifier.endorsements_for(evidence)}
    return verifier.verify(evidence, Endorsements(items), challenge=CHALLENGE[: verifier.challenge_bytes], now=NOW)


def default_policy(engine: RegoEngine, tee: str) -> Policy:
    return engine.vet((POLICIES / tee / f"{tee}.rego").read_text())


def judge(engine: RegoEngine, vendor: Vendor, fault: Fault | None = None) -> Appraisal:
    claims = prove(vendor, 7, fault)
    matched = Matched(claims, ReferenceValues([vendor.reference_values()]).match(claims))
    policy = default_policy(engine, vendor.tee)
    return Appraiser(engine).appraise(matched, policy, fresh=True, replayed=False).appraisal


def test_every_field_that_a_policy_reads_is_one_that_its_verifier_gives(
    engine: RegoEngine, vendors: tuple[Vendor, ...], silicon: dict[str, Vendor]
) -> None:
    given: dict[str, set[str]] = {}
    for vendor in (*vendors, *silicon.values()):
        given.setdefault(vendor.tee, set()).update(prove(vendor, 7).fields)

    for tee, fields in given.items():
        reads = default_policy(engine, tee).reads
        assert {path.removeprefix("fields.") for path in reads if path.startswith("fields.")} <= fields


def test_healthy_devices_are_affirming(engine: RegoEngine, vendors: tuple[Vendor, ...]) -> None:
    for vendor in vendors:
        appraisal = judge(engine, vendor)

        assert appraisal.status == "affirming", (vendor.tee, appraisal.reasons)


@pytest.mark.parametrize("product", ["Milan", "Genoa", "Turin"])
def test_every_product_of_amd_is_affirming_at_its_minimum_and_not_below(
    engine: RegoEngine, silicon: dict[str, Vendor], product: str
) -> None:
    outdated = {reason.claim: reason.reason for reason in judge(engine, silicon[product], Fault.OUTDATED_TCB).reasons}

    assert judge(engine, silicon[product]).status == "affirming"
    assert outdated["hardware"] == "tcb_below_minimum"


def test_key_of_a_provider_stands_for_hardware_it_does_not_name(engine: RegoEngine) -> None:
    reasons = {reason.claim: reason for reason in judge(engine, AmdVendor(NOW, vlek=True)).reasons}

    assert reasons["instance-identity"].value == 2
    assert reasons["instance-identity"].reason == "provider_identified"


def test_a_document_of_an_hour_ago_is_contraindicated_though_its_chain_is_valid_for_two_more(
    engine: RegoEngine,
) -> None:
    appraisal = judge(engine, AwsVendor(NOW - timedelta(hours=1)))
    reasons = {reason.claim: reason.reason for reason in appraisal.reasons}

    assert appraisal.status == "contraindicated"
    assert reasons["instance-identity"] == "document_stale"


def test_firmware_that_only_the_host_speaks_for_is_a_warning_though_it_is_known(engine: RegoEngine) -> None:
    vendor = AscendVendor(ItrusteeVendor(NOW))
    reasons = {reason.claim: reason.reason for reason in judge(engine, vendor).reasons}

    assert judge(engine, vendor).status == "warning"
    assert reasons["executables"] == "firmware_list_of_the_host"
    assert judge(engine, vendor, Fault.UNKNOWN_MEASUREMENT).status == "contraindicated"


def test_faults_that_the_proof_lets_through_are_the_policys_to_find(
    engine: RegoEngine, vendors: tuple[Vendor, ...]
) -> None:
    found = {
        (vendor.tee, fault): judge(engine, vendor, fault).status
        for vendor in vendors
        for fault, rejection in vendor.faults().items()
        if rejection is None
    }

    assert {fault for _, fault in found} >= {Fault.DEBUG, Fault.OUTDATED_TCB, Fault.UNKNOWN_MEASUREMENT}
    assert set(found.values()) <= {"warning", "contraindicated"}
    assert all(status == "contraindicated" for (_, fault), status in found.items() if fault is not Fault.OUTDATED_TCB)
