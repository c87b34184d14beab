package appraisal["az-tdx-vtpm_test"]

import data.appraisal["az-tdx-vtpm"] as policy
import data.ear

healthy := {
	"hardware_known": true,
	"debug": false,
	"match": {"matched": true, "set": "web"},
	"tcb_status": "UpToDate",
	"fields": {
		"boot_measured": true,
		"evidence_version": 2,
		"migratable": false,
		"pcr_bank": "sha256",
		"reserved_tdattributes": false,
		"secure_boot": true,
		"service_td": false,
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

test_every_status_of_intel_has_its_value if {
	values := {
		"UpToDate": ear.hardware.genuine,
		"SWHardeningNeeded": ear.hardware.unsafe,
		"ConfigurationNeeded": ear.hardware.unsafe,
		"ConfigurationAndSWHardeningNeeded": ear.hardware.unsafe,
		"OutOfDate": ear.hardware.unsafe,
		"OutOfDateConfigurationNeeded": ear.hardware.unsafe,
		"TDRelaunchAdvised": ear.hardware.unsafe,
		"TDRelaunchAdvisedConfigurationNeeded": ear.hardware.unsafe,
		"Revoked": ear.hardware.contraindicated,
		"uptodate": ear.hardware.unrecognized,
	}
	every status, value in values {
		findings({"tcb_status": status}).hardware.value == value
	}
}

test_missing_status_is_unrecognized if {
	findings({"tcb_status": null}).hardware.value == ear.hardware.unrecognized
}

test_migratable_domain_is_unsupportable if {
	refused({"fields": {"migratable": true}})
}

test_service_domain_is_unsupportable if {
	refused({"fields": {"service_td": true}})
}

test_reserved_attributes_are_unsupportable if {
	refused({"fields": {"reserved_tdattributes": true}})
}

test_attributes_of_a_wrong_type_are_unsupportable if {
	every wrong in [null, 0, "", "false", [], {}] {
		refused({"fields": {"migratable": wrong}})
	}
}

refused(change) if findings(change).configuration.value == ear.configuration.unsupportable
