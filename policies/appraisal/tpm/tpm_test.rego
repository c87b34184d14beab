package appraisal.tpm_test

import data.appraisal.tpm as policy
import data.ear

healthy := {
	"hardware_known": true,
	"debug": false,
	"match": {"matched": true, "set": "web"},
	"fields": {
		"ak_source": "certificate",
		"boot_measured": true,
		"pcr_bank": "sha256",
		"revocation_checked": true,
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

test_enrolled_key_needs_no_revocation_list if {
	found := findings({"fields": {"ak_source": "enrolled", "revocation_checked": false}}).hardware
	found.value == ear.hardware.genuine
	found.reason == "ak_enrolled"
}

test_unchecked_revocation_is_unsafe if {
	every wrong in [false, null, "true", 1] {
		found := findings({"fields": {"revocation_checked": wrong}}).hardware
		found.value == ear.hardware.unsafe
		found.reason == "revocation_unchecked"
	}
}

test_key_that_nobody_endorses_is_unrecognized if {
	every wrong in ["", "zzz", null, ["enrolled"]] {
		findings({"fields": {"ak_source": wrong}}).hardware.value == ear.hardware.unrecognized
	}
}
