"""The default policies: their own Rego tests, and their verdicts on Claims through the real engine."""

import json
import re
from pathlib import Path

import msgspec
import pytest
import regorus

from attest_pipeline.adapters.rego import RegoEngine
from attest_pipeline.appraisal import UNPROVEN, Appraiser
from attest_pipeline.ear import CLAIM_VALUES, Claim, Status
from attest_pipeline.model import Appraisal, Claims, FieldValue, Match, Matched, Policy
from attest_pipeline.owner.policies import rego_constants

POLICIES = Path(__file__).resolve().parents[2] / "policies"
TEES = (
    "ascend-npu",
    "az-snp-vtpm",
    "az-tdx-vtpm",
    "cca",
    "csv",
    "itrustee",
    "nitro",
    "nvidia-gpu",
    "nvidia-switch",
    "psa",
    "sample",
    "sgx",
    "snp",
    "tdx",
    "tpm",
    "virtcca",
)
TESTS = {tee: (POLICIES / "appraisal" / tee / f"{tee}_test.rego").read_text() for tee in TEES}
RULES = [(tee, rule) for tee, text in TESTS.items() for rule in re.findall(r"^test_\w+", text, re.MULTILINE)]

FIELDS: dict[str, dict[str, FieldValue]] = {
    "ascend-npu": {
        "ak_source": "certificate",
        "binding": "tpm",
        "boot_measured": True,
        "pcr_bank": "sha256",
        "revocation_checked": True,
    },
    "tdx": {"migratable": False, "reserved_tdattributes": False, "sept_ve_disable": True, "service_td": False},
    "sgx": {},
    "snp": {
        "migrate_ma": False,
        "product": "Turin",
        "revocation_checked": True,
        "vmpl": 0,
        "tcb_fmc": 1,
        "tcb_bl": 1,
        "tcb_tee": 1,
        "tcb_snp": 4,
        "tcb_ucode": 81,
    },
    "cca": {"cca-platform-lifecycle": 0x3000, "cca-unproven-devices": False},
    "psa": {"psa-security-lifecycle": 0x3000, "psa-software-measured": True},
    "virtcca": {"platform-lifecycle": 0x30FF, "platform-token": True},
    "nitro": {"document_current": True},
    "nvidia-gpu": {"revocation_checked": True, "rim_driver": True, "rim_vbios": True},
    "nvidia-switch": {"revocation_checked": True, "rim_vbios": True},
    "csv": {"report_version": 2, "policy_es": True},
    "itrustee": {"scenario": "sce_no_as"},
    "tpm": {"ak_source": "certificate", "boot_measured": True, "pcr_bank": "sha256", "revocation_checked": True},
    "az-snp-vtpm": {
        "boot_measured": True,
        "evidence_version": 2,
        "migrate_ma": False,
        "pcr_bank": "sha256",
        "product": "Milan",
        "revocation_checked": True,
        "secure_boot": True,
        "tcb_bl": 4,
        "tcb_tee": 0,
        "tcb_snp": 24,
        "tcb_ucode": 219,
    },
    "az-tdx-vtpm": {
        "boot_measured": True,
        "evidence_version": 2,
        "migratable": False,
        "pcr_bank": "sha256",
        "reserved_tdattributes": False,
        "secure_boot": True,
        "service_td": False,
    },
    "sample": {},
}
MATCHED = Match(matched=True, set="web", version="1")


def text_of(tee: str) -> str:
    return (POLICIES / "appraisal" / tee / f"{tee}.rego").read_text()


def rego_with_tests(tee: str) -> regorus.Engine:
    engine = regorus.Engine()
    for name, text in ((f"{tee}.rego", text_of(tee)), (f"{tee}_test.rego", TESTS[tee]), ("ear.rego", rego_constants())):
        engine.add_policy(name, text)
    engine.set_input_json("{}")
    return engine


@pytest.fixture(scope="module")
def policies(engine: RegoEngine) -> dict[str, Policy]:
    return {tee: engine.vet(text_of(tee)) for tee in TEES}


@pytest.fixture(scope="module")
def appraiser(engine: RegoEngine) -> Appraiser:
    return Appraiser(engine)


def healthy(tee: str, **changes: object) -> Claims:
    claims = Claims(
        tee=tee,
        hardware_id="ab" * 16,
        debug=False,
        tcb_status="UpToDate" if tee in {"tdx", "sgx", "az-tdx-vtpm"} else None,
        measurements={},
        signer=None,
        challenge_verified=True,
        endorsements={},
        fields=FIELDS[tee],
        checks=UNPROVEN if tee == "sample" else ("signature", "challenge"),
    )
    return msgspec.structs.replace(claims, **changes)


@pytest.mark.parametrize(("tee", "rule"), RULES)
def test_rule_holds(tee: str, rule: str) -> None:
    assert rego_with_tests(tee).eval_rule_as_json(f'data.appraisal["{tee}_test"].{rule}') == "true"


@pytest.mark.parametrize("tee", TEES)
def test_every_line_of_a_policy_is_covered_by_its_tests(tee: str) -> None:
    engine = rego_with_tests(tee)
    engine.set_enable_coverage(True)
    for rule in (rule for of, rule in RULES if of == tee):
        engine.eval_rule_as_json(f'data.appraisal["{tee}_test"].{rule}')
    files = {file["path"]: file for file in json.loads(engine.get_coverage_report_as_json())["files"]}

    report = files[f"{tee}.rego"]

    assert report["covered"]
    assert report["not_covered"] == []


def test_every_folder_has_a_policy_and_its_tests() -> None:
    assert {path.name for path in (POLICIES / "appraisal").iterdir()} == set(TEES)
    assert all(sum(of == tee for of, _ in RULES) >= 3 for tee in TEES)


@pytest.mark.parametrize("tee", TEES)
def test_policy_names_only_constants_that_exist(tee: str) -> None:
    named = set(re.findall(r"ear\.(\w+)\.(\w+)", text_of(tee) + TESTS[tee]))

    assert named <= {(claim.replace("-", "_"), name) for claim, values in CLAIM_VALUES.items() for name in values}


@pytest.mark.parametrize("tee", TEES)
def test_policy_passes_its_own_vetting(policies: dict[str, Policy], tee: str) -> None:
    assert (policies[tee].id, policies[tee].tee, policies[tee].allow_unfresh) == (f"appraisal/{tee}", tee, False)


@pytest.mark.parametrize("tee", TEES)
def test_healthy_device_is_affirming_unless_it_is_a_sample(
    appraiser: Appraiser, policies: dict[str, Policy], tee: str
) -> None:
    appraisal = judge(appraiser, policies[tee], healthy(tee))

    assert appraisal.status == (Status.CONTRAINDICATED if tee == "sample" else Status.AFFIRMING)
    assert [reason.claim for reason in appraisal.reasons] == list(appraisal.vector)
    assert all(reason.reason for reason in appraisal.reasons)


def judge(appraiser: Appraiser, policy: Policy, claims: Claims, match: Match = MATCHED) -> Appraisal:
    return appraiser.appraise(Matched(claims, match), policy, fresh=True, replayed=False).appraisal


@pytest.mark.parametrize(
    ("tee", "changes", "claim", "value", "reason"),
    [
        ("tdx", {"debug": True}, Claim.RUNTIME_OPAQUE, 96, "debug_enabled"),
        ("sgx", {"debug": True}, Claim.RUNTIME_OPAQUE, 96, "debug_enabled"),
        ("snp", {"debug": True}, Claim.RUNTIME_OPAQUE, 96, "debug_enabled"),
        ("cca", {"debug": None}, Claim.RUNTIME_OPAQUE, 96, "debug_enabled"),
        ("tdx", {"tcb_status": "OutOfDate"}, Claim.HARDWARE, 32, "tcb_out_of_date"),
        ("tdx", {"tcb_status": "TDRelaunchAdvised"}, Claim.HARDWARE, 32, "tcb_td_relaunch_advised"),
        ("sgx", {"tcb_status": "SWHardeningNeeded"}, Claim.HARDWARE, 32, "tcb_sw_hardening_needed"),
        ("sgx", {"tcb_status": "Revoked"}, Claim.HARDWARE, 96, "tcb_revoked"),
        ("snp", {"hardware_id": None}, Claim.INSTANCE_IDENTITY, 97, "hardware_unknown"),
    ],
)
def test_head_claim_decides(
    appraiser: Appraiser,
    policies: dict[str, Policy],
    tee: str,
    changes: dict[str, object],
    claim: Claim,
    value: int,
    reason: str,
) -> None:
    appraisal = judge(appraiser, policies[tee], healthy(tee, **changes))

    assert appraisal.vector[claim] == value
    assert reason in {found.reason for found in appraisal.reasons}
    assert appraisal.status == (Status.WARNING if value == 32 else Status.CONTRAINDICATED)


@pytest.mark.parametrize("tee", [tee for tee in TEES if tee != "sample"])
@pytest.mark.parametrize("wrong", ["zzz", "", -1, 2**63, None])
def test_field_of_a_wrong_type_or_value_never_passes(
    appraiser: Appraiser, policies: dict[str, Policy], tee: str, wrong: FieldValue
) -> None:
    read = [path.removeprefix("fields.") for path in policies[tee].reads if path.startswith("fields.")]
    numeric = [name for name in read if name in FIELDS[tee]]
    passed = [
        name
        for name in numeric
        if judge(appraiser, policies[tee], healthy(tee, fields={**FIELDS[tee], name: wrong})).status == "affirming"
    ]

    high = {name for name in numeric if name.startswith("tcb_")} if wrong == 2**63 else set()
    assert set(passed) <= high | {"platform-token"}


@pytest.mark.parametrize("tee", [tee for tee in TEES if tee != "sample"])
def test_field_that_is_absent_never_passes(appraiser: Appraiser, policies: dict[str, Policy], tee: str) -> None:
    for name in set(FIELDS[tee]) - {"platform-token"}:
        fields = {key: value for key, value in FIELDS[tee].items() if key != name}

        assert judge(appraiser, policies[tee], healthy(tee, fields=fields)).status != Status.AFFIRMING, name


@pytest.mark.parametrize("tee", [tee for tee in TEES if tee != "sample"])
def test_unknown_measurement_is_contraindicated_and_no_baseline_is_a_warning(
    appraiser: Appraiser, policies: dict[str, Policy], tee: str
) -> None:
    mismatch = Match(matched=False, set="web", version="1")
    unknown = Match(matched=False, set=None, version=None)

    assert judge(appraiser, policies[tee], healthy(tee), mismatch).status == Status.CONTRAINDICATED
    assert judge(appraiser, policies[tee], healthy(tee), unknown).status == Status.WARNING


def test_distrusted_product_is_refused_however_good_its_tcb(engine: RegoEngine, appraiser: Appraiser) -> None:
    text = "".join(line for line in text_of("snp").splitlines(keepends=True) if not line.startswith('\t"Turin"'))

    appraisal = judge(appraiser, engine.vet(text), healthy("snp"))

    assert appraisal.status == Status.CONTRAINDICATED
    assert appraisal.vector[Claim.HARDWARE] == 97


def test_tcb_recovery_turns_the_verdict_on_the_same_measurements(
    appraiser: Appraiser, policies: dict[str, Policy]
) -> None:
    before = judge(appraiser, policies["tdx"], healthy("tdx"))
    after = judge(appraiser, policies["tdx"], healthy("tdx", tcb_status="OutOfDate"))

    assert (before.status, after.status) == (Status.AFFIRMING, Status.WARNING)


def test_verdict_is_the_same_for_every_device_of_a_kind(appraiser: Appraiser, policies: dict[str, Policy]) -> None:
    first = judge(appraiser, policies["snp"], healthy("snp", hardware_id="01" * 64))
    second = judge(appraiser, policies["snp"], healthy("snp", hardware_id="02" * 64))

    assert first is second
