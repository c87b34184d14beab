"""What the policies of all that stands on a TPM say of simulated devices, and what they share with the hardware's."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from attest_pipeline import verifiers
from attest_pipeline.adapters.rego import RegoEngine
from attest_pipeline.appraisal import Appraiser
from attest_pipeline.cli.simulated import vendors as simulated_vendors
from attest_pipeline.matching import ReferenceValues
from attest_pipeline.model import Appraisal, Endorsements, Matched
from attest_pipeline.simulator.azure import AzureVendor
from attest_pipeline.simulator.device import Fault, Vendor

POLICIES = Path(__file__).resolve().parents[2] / "policies" / "appraisal"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
CHALLENGE = bytes(range(64))
TEES = ("tpm", "az-snp-vtpm", "az-tdx-vtpm", "ascend-npu")


@pytest.fixture(scope="module")
def vendors() -> dict[str, Vendor]:
    return {vendor.tee: vendor for vendor in simulated_vendors(NOW, TEES)}


def policy_of(tee: str) -> str:
    return (POLICIES / tee / f"{tee}.rego").read_text()


def judge(engine: RegoEngine, vendor: Vendor, fault: Fault | None = None, text: str | None = None) -> Appraisal:
    anchors = {anchor.vendor: (anchor.spki,) for anchor in vendor.trust_anchors()}
    verifier = verifiers.load([vendor.tee], anchors)[vendor.tee]
    evidence, published = vendor.evidence(7, CHALLENGE, fault), vendor.endorsements()
    refs = verifier.endorsements_for(evidence)
    items = {ref.item: found for ref in refs if (found := published.get(f"{ref.kind}/{ref.key}", ()))}
    challenge = CHALLENGE[: verifier.challenge_bytes]
    claims = verifier.verify(evidence, Endorsements(items), challenge=challenge, now=NOW)
    policy = engine.vet(policy_of(vendor.tee) if text is None else text)
    assert {path.removeprefix("fields.") for path in policy.reads if path.startswith("fields.")} <= {
        *claims.fields,
        "tcb_fmc",  # of Turin alone
        "scenario",  # of iTrustee alone
    }
    matched = Matched(claims, ReferenceValues([vendor.reference_values()]).match(claims))
    return Appraiser(engine).appraise(matched, policy, fresh=True, replayed=False).appraisal


@pytest.mark.parametrize("tee", TEES)
def test_a_healthy_machine_is_affirming(engine: RegoEngine, vendors: dict[str, Vendor], tee: str) -> None:
    appraisal = judge(engine, vendors[tee])
    assert appraisal.status == "affirming", appraisal.reasons


@pytest.mark.parametrize("tee", TEES)
def test_a_fault_that_the_proof_lets_through_is_the_policys_to_find(
    engine: RegoEngine, vendors: dict[str, Vendor], tee: str
) -> None:
    passed = [fault for fault, rejection in vendors[tee].faults().items() if rejection is None]
    found = {fault: judge(engine, vendors[tee], fault).status for fault in passed}
    expected = {Fault.DEBUG: "contraindicated", Fault.UNKNOWN_MEASUREMENT: "contraindicated"}
    expected[Fault.OUTDATED_TCB] = "contraindicated" if tee == "az-snp-vtpm" else "warning"
    assert found == {fault: expected[fault] for fault in passed}


@pytest.mark.parametrize("tee", ["az-snp-vtpm", "az-tdx-vtpm"])
@pytest.mark.parametrize("version", [0, 1])
def test_evidence_of_an_old_version_is_contraindicated_unless_the_policy_admits_it(
    engine: RegoEngine, vendors: dict[str, Vendor], tee: str, version: int
) -> None:
    (hardware,) = simulated_vendors(NOW, (tee.split("-")[1],))
    vendor = AzureVendor(hardware, version)
    refused = judge(engine, vendor)
    assert refused.status == "contraindicated"
    assert {reason.reason for reason in refused.reasons if reason.value >= 32} == {"evidence_version_old"}
    admitting = policy_of(tee).replace("admitted_versions := {2}", f"admitted_versions := {{{version}, 2}}")
    assert judge(engine, vendor, text=admitting).status == "affirming"
    assert judge(engine, vendors[tee], text=admitting).status == "affirming"


def test_azure_and_amd_have_one_minimum() -> None:
    def minimum(tee: str) -> str:
        text = policy_of(tee)
        return text[text.index("minimum_tcb := {") : text.index("# Runtime opacity")]

    assert minimum("az-snp-vtpm") == minimum("snp")
