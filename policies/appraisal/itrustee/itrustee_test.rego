package appraisal.itrustee_test

import data.appraisal.itrustee
import data.ear

healthy := {
	"hardware_known": true,
	"match": {"matched": true, "set": "web"},
	"fields": {"scenario": "sce_no_as"},
}

findings(change) := vector if {
	vector := itrustee.vector with input as object.union(healthy, change)
}

test_healthy_device_has_the_best_findings if {
	every finding in findings({}) {
		finding.value == 2
	}
}

test_nothing_is_good_about_no_input if {
	vector := itrustee.vector with input as {}
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

test_a_service_that_vouches_for_the_key_is_a_warning if {
	findings({"fields": {"scenario": "sce_as_no_daa"}}).hardware.value == ear.hardware.unsafe
}

test_unknown_scenarios_are_unrecognized if {
	every scenario in ["sce_as_with_daa", "", null, true, 1] {
		findings({"fields": {"scenario": scenario}}).hardware.value == ear.hardware.unrecognized
	}
}
