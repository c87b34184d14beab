package appraisal["az-snp-vtpm_test"]

import data.appraisal["az-snp-vtpm"] as policy
import data.ear

healthy := {
	"hardware_known": true,
	"debug": false,
	"match": {"matched": true, "set": "web"},
	"fields": {
		"boot_measured": true,
		"evidence_version": 2,
		"migrate_ma": false,
		"pcr_bank": "sha256",
		"product": "Milan",
		"revocation_checked": true,
		"secure_boot": true,
		"tcb_bl": 4,
		"tcb_tee": 0,
		"tcb_snp": 24,
		"tcb_ucode": 219,
	},
}

findings(change) := vector if {
	vector := policy.vector with input as object.union(healthy, change)
}

test_healthy_device_has_the_best_findings if {
	every claim, finding in findings({}) {
		finding.value == object.get({"executables": ear.executables.approved_boot}, claim, 2)
	}
}

test_nothing_is_good_about_no_input if {
	vector := policy.vector with input as {}
	every finding in vector {
		finding.value >= 32
	}
}

test_every_finding_says_why if {
	every finding in findings({}) {
		count(finding.reason) > 0
	}
}

test_unidentified_hardware_is_unrecognized if {
	findings({"hardware_known": false})["instance-identity"].value == ear.instance_identity.unrecognized
}

test_mismatch_is_contraindicated if {
	found := findings({"match": {"matched": false, "set": "web"}}).executables
	found.value == ear.executables.contraindicated
	found.reason == "reference_values_mismatch"
}

test_no_reference_values_is_unrecognized if {
	found := findings({"match": {"matched": false, "set": null}}).executables
	found.value == ear.executables.unrecognized
	found.reason == "no_reference_values"
}

test_weak_bank_is_contraindicated_whatever_matches if {
	every bank in ["sha1", "", "zzz", null, ["sha256"]] {
		found := findings({"fields": {"pcr_bank": bank}}).executables
		found.value == ear.executables.contraindicated
		found.reason == "boot_not_measured"
	}
}

test_boot_that_was_not_measured_is_contraindicated if {
	every wrong in [false, null, "true", 1] {
		findings({"fields": {"boot_measured": wrong}}).executables.reason == "boot_not_measured"
	}
}

test_old_version_is_contraindicated if {
	every version in [0, 1, 3, null, "2", [2]] {
		found := findings({"fields": {"evidence_version": version}}).hardware
		found.value == ear.hardware.contraindicated
		found.reason == "evidence_version_old"
	}
}

test_version_that_is_not_told_is_contraindicated if {
	vector := policy.vector with input as object.remove(healthy, ["fields"])
	vector.hardware.reason == "evidence_version_old"
}

test_version_that_is_admitted_is_good if {
	change := {"fields": {"evidence_version": 1}}
	vector := policy.vector with input as object.union(healthy, change) with policy.admitted_versions as {1, 2}
	vector.hardware.value == ear.hardware.genuine
}

test_debug_is_visible if {
	findings({"debug": true})["runtime-opaque"].value == ear.runtime_opaque.visible
}

test_unknown_debug_is_visible if {
	findings({"debug": null})["runtime-opaque"].value == ear.runtime_opaque.visible
}

test_secure_boot_that_is_not_known_to_be_on_is_unsafe if {
	every wrong in [false, null, "true", 1] {
		found := findings({"fields": {"secure_boot": wrong}}).configuration
		found.value == ear.configuration.unsafe
		found.reason == "secure_boot_off"
	}
}

test_migration_agent_is_unsupportable if {
	every wrong in [true, null, "false", 0] {
		findings({"fields": {"migrate_ma": wrong}}).configuration.value == ear.configuration.unsupportable
	}
}

test_each_component_has_its_minimum if {
	every component, least in {"tcb_bl": 4, "tcb_snp": 24, "tcb_ucode": 219} {
		below({"fields": {component: least - 1}})
	}
}

test_each_product_has_its_minimum if {
	every product, minimum in policy.minimum_tcb {
		at_minimum := object.union({"product": product}, minimum)
		findings({"fields": at_minimum}).hardware.value == ear.hardware.genuine
		every component, least in minimum {
			findings({"fields": object.union(at_minimum, {component: least - 1})}).hardware.value == ear.hardware.unsafe
		}
	}
}

test_components_do_not_make_up_for_one_another if {
	below({"fields": {"tcb_snp": 23, "tcb_ucode": 255}})
}

test_component_of_a_wrong_type_is_below_its_minimum if {
	every wrong in [null, "219", "zzz", [], {}, true] {
		below({"fields": {"tcb_ucode": wrong}})
	}
}

test_missing_component_is_below_its_minimum if {
	below({"fields": {"product": "Turin", "tcb_snp": 255, "tcb_ucode": 255, "tcb_bl": 255, "tcb_tee": 255}})
}

test_unchecked_revocation_is_unsafe if {
	found := findings({"fields": {"revocation_checked": false}}).hardware
	found.value == ear.hardware.unsafe
	found.reason == "revocation_unchecked"
}

test_unnamed_product_is_unrecognized if {
	every product in ["Venice", "", null, ["Milan"]] {
		findings({"fields": {"product": product}}).hardware.value == ear.hardware.unrecognized
		change := {"fields": {"product": product, "revocation_checked": false}}
		findings(change).hardware.value == ear.hardware.unrecognized
	}
}

below(change) if {
	found := findings(change).hardware
	found.value == ear.hardware.unsafe
	found.reason == "tcb_below_minimum"
}
