package appraisal.csv_test

import data.appraisal.csv
import data.ear

healthy := {
	"hardware_known": true,
	"debug": false,
	"match": {"matched": true, "set": "web"},
	"fields": {"report_version": 2, "policy_es": true},
}

findings(change) := vector if {
	vector := csv.vector with input as object.union(healthy, change)
}

test_healthy_device_has_the_best_findings if {
	every version in [1, 2] {
		every finding in findings({"fields": {"report_version": version}}) {
			finding.value == 2
		}
	}
}

test_nothing_is_good_about_no_input if {
	vector := csv.vector with input as {}
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

test_debug_is_visible if {
	every debug in [true, null] {
		found := findings({"debug": debug})["runtime-opaque"]
		found.value == ear.runtime_opaque.visible
		found.reason == "debug_enabled"
	}
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

test_visible_registers_are_a_warning if {
	findings({"fields": {"policy_es": false}})["runtime-opaque"].value == ear.runtime_opaque.isolated
}

test_policy_of_version_1_is_unproven_without_a_match if {
	found := findings({"match": {"matched": false, "set": null}, "fields": {"report_version": 1}})["runtime-opaque"]
	found.value == ear.runtime_opaque.visible
	found.reason == "policy_unproven"
}

test_unknown_version_is_visible if {
	every version in [0, 3, "2", null, true] {
		found := findings({"fields": {"report_version": version}})["runtime-opaque"]
		found.value == ear.runtime_opaque.visible
	}
}
