package appraisal.cca_test

import data.appraisal.cca
import data.ear

healthy := {
	"hardware_known": true,
	"debug": false,
	"match": {"matched": true, "set": "web"},
	"fields": {"cca-platform-lifecycle": 12288, "cca-unproven-devices": false},
}

findings(change) := vector if {
	vector := cca.vector with input as object.union(healthy, change)
}

test_healthy_device_has_the_best_findings if {
	every finding in findings({}) {
		finding.value == 2
	}
}

test_nothing_is_good_about_no_input if {
	vector := cca.vector with input as {}
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

test_secured_states_are_genuine if {
	every state in [12288, 12543] {
		findings({"fields": {"cca-platform-lifecycle": state}}).hardware.value == ear.hardware.genuine
	}
}

test_other_states_are_contraindicated if {
	every state in [0, 4096, 12287, 12544, 16384, 24576] {
		findings({"fields": {"cca-platform-lifecycle": state}}).hardware.value == ear.hardware.contraindicated
	}
}

test_states_of_a_wrong_type_are_contraindicated if {
	every wrong in [null, "12288", "zzz", [], {}, true] {
		findings({"fields": {"cca-platform-lifecycle": wrong}}).hardware.value == ear.hardware.contraindicated
	}
}

test_devices_that_nobody_proved_are_unsafe if {
	every devices in [true, null, 0, "false"] {
		findings({"fields": {"cca-unproven-devices": devices}}).configuration.value == ear.configuration.unsafe
	}
}
