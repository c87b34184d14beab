package appraisal.sgx_test

import data.appraisal.sgx
import data.ear

healthy := {
	"hardware_known": true,
	"debug": false,
	"match": {"matched": true, "set": "web"},
	"tcb_status": "UpToDate",
}

findings(change) := vector if {
	vector := sgx.vector with input as object.union(healthy, change)
}

test_healthy_device_has_the_best_findings if {
	every finding in findings({}) {
		finding.value == 2
	}
}

test_nothing_is_good_about_no_input if {
	vector := sgx.vector with input as {}
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
	findings({"debug": true})["runtime-opaque"].value == ear.runtime_opaque.visible
}

test_unknown_debug_is_visible if {
	findings({"debug": null})["runtime-opaque"].value == ear.runtime_opaque.visible
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

test_every_status_of_intel_has_its_value if {
	values := {
		"UpToDate": ear.hardware.genuine,
		"SWHardeningNeeded": ear.hardware.unsafe,
		"ConfigurationNeeded": ear.hardware.unsafe,
		"ConfigurationAndSWHardeningNeeded": ear.hardware.unsafe,
		"OutOfDate": ear.hardware.unsafe,
		"OutOfDateConfigurationNeeded": ear.hardware.unsafe,
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
