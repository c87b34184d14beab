package appraisal["nvidia-gpu_test"]

import data.appraisal["nvidia-gpu"] as policy
import data.ear

healthy := {
	"hardware_known": true,
	"match": {"matched": true, "set": "fleet"},
	"fields": {"rim_driver": true, "rim_vbios": true, "revocation_checked": true},
}

findings(change) := vector if {
	vector := policy.vector with input as object.union(healthy, change)
}

test_healthy_device_has_the_best_findings if {
	every finding in findings({}) {
		finding.value == 2
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
	found := findings({"match": {"matched": false, "set": "fleet"}}).executables
	found.value == ear.executables.contraindicated
	found.reason == "reference_values_mismatch"
}

test_no_reference_values_is_unrecognized if {
	found := findings({"match": {"matched": false, "set": null}}).executables
	found.value == ear.executables.unrecognized
	found.reason == "no_reference_values"
}

test_revocation_unchecked_is_a_warning if {
	found := findings({"fields": {"revocation_checked": false}}).hardware
	found.value == ear.hardware.unsafe
	found.reason == "revocation_unchecked"
}

test_firmware_that_nobody_endorses_is_a_warning if {
	findings({"fields": {"rim_driver": false}}).hardware.reason == "firmware_unendorsed"
	findings({"fields": {"rim_vbios": false}}).hardware.reason == "firmware_unendorsed"
	findings({"fields": {"rim_driver": false}}).hardware.value == ear.hardware.unsafe
}

test_answers_of_a_wrong_type_are_contraindicated if {
	every wrong in [null, "true", 1, [], {}] {
		findings({"fields": {"rim_driver": wrong}}).hardware.value == ear.hardware.contraindicated
		findings({"fields": {"revocation_checked": wrong}}).hardware.value == ear.hardware.contraindicated
	}
}
