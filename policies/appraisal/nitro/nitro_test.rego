package appraisal.nitro_test

import data.appraisal.nitro
import data.ear

healthy := {
	"hardware_known": true,
	"debug": false,
	"match": {"matched": true, "set": "enclave"},
	"fields": {"document_current": true},
}

findings(change) := vector if {
	vector := nitro.vector with input as object.union(healthy, change)
}

test_healthy_enclave_has_the_best_findings if {
	every finding in findings({}) {
		finding.value == 2
	}
}

test_nothing_is_good_about_no_input if {
	vector := nitro.vector with input as {}
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

test_stale_document_is_untrustworthy if {
	every current in [false, null, "true", 1] {
		found := findings({"fields": {"document_current": current}})["instance-identity"]
		found.value == ear.instance_identity.untrustworthy
		found.reason == "document_stale"
	}
}

test_document_of_no_known_age_is_untrustworthy if {
	vector := nitro.vector with input as object.remove(healthy, ["fields"])
	vector["instance-identity"].value == ear.instance_identity.untrustworthy
}

test_debug_is_visible if {
	every debug in [true, null, "false", 0] {
		findings({"debug": debug})["runtime-opaque"].value == ear.runtime_opaque.visible
	}
}

test_mismatch_is_contraindicated if {
	found := findings({"match": {"matched": false, "set": "enclave"}}).executables
	found.value == ear.executables.contraindicated
	found.reason == "reference_values_mismatch"
}

test_no_reference_values_is_unrecognized if {
	found := findings({"match": {"matched": false, "set": null}}).executables
	found.value == ear.executables.unrecognized
	found.reason == "no_reference_values"
}
