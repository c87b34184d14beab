package appraisal["ascend-npu_test"]

import data.appraisal["ascend-npu"] as policy
import data.ear

on_tpm := {
	"hardware_known": true,
	"match": {"matched": true, "set": "web"},
	"fields": {
		"ak_source": "certificate",
		"binding": "tpm",
		"boot_measured": true,
		"pcr_bank": "sha256",
		"revocation_checked": true,
	},
}

on_itrustee := {
	"hardware_known": true,
	"match": {"matched": true, "set": "web"},
	"fields": {"binding": "itrustee", "scenario": "sce_no_as"},
}

findings(host, change) := vector if {
	vector := policy.vector with input as object.union(host, change)
}

test_healthy_host_with_a_tpm_has_the_best_findings if {
	every claim, finding in findings(on_tpm, {}) {
		finding.value == object.get({"executables": ear.executables.approved_boot}, claim, 2)
	}
}

test_list_that_only_a_nonce_binds_is_a_warning_and_nothing_else_is if {
	every claim, finding in findings(on_itrustee, {}) {
		finding.value == object.get({"executables": ear.executables.unsafe}, claim, 2)
	}
	findings(on_itrustee, {}).executables.reason == "firmware_list_of_the_host"
}

test_nothing_is_good_about_no_input if {
	vector := policy.vector with input as {}
	every finding in vector {
		finding.value >= 32
	}
}

test_every_finding_says_why if {
	every host in [on_tpm, on_itrustee] {
		every finding in findings(host, {}) {
			count(finding.reason) > 0
		}
	}
}

test_unidentified_host_is_unrecognized if {
	every wrong in [false, null, "true", 1] {
		findings(on_tpm, {"hardware_known": wrong})["instance-identity"].value == ear.instance_identity.unrecognized
	}
}

test_mismatch_is_contraindicated if {
	every host in [on_tpm, on_itrustee] {
		every wrong in [false, null, "true", 1] {
			found := findings(host, {"match": {"matched": wrong, "set": "web"}}).executables
			found.value == ear.executables.contraindicated
			found.reason == "reference_values_mismatch"
		}
	}
}

test_no_reference_values_is_unrecognized if {
	every host in [on_tpm, on_itrustee] {
		found := findings(host, {"match": {"matched": false, "set": null}}).executables
		found.value == ear.executables.unrecognized
		found.reason == "no_reference_values"
	}
}

test_unknown_binding_is_contraindicated_whatever_matches if {
	every binding in ["", "nonce", null, true, ["tpm"]] {
		found := findings(on_tpm, {"fields": {"binding": binding}})
		found.executables.reason == "firmware_unbound"
		found.executables.value == ear.executables.contraindicated
		found.hardware.value == ear.hardware.unrecognized
	}
}

test_weak_bank_is_contraindicated_whatever_matches if {
	every bank in ["sha1", "", "zzz", null, ["sha256"]] {
		found := findings(on_tpm, {"fields": {"pcr_bank": bank}}).executables
		found.value == ear.executables.contraindicated
		found.reason == "boot_not_measured"
	}
}

test_boot_that_was_not_measured_is_contraindicated if {
	every wrong in [false, null, "true", 1] {
		findings(on_tpm, {"fields": {"boot_measured": wrong}}).executables.reason == "boot_not_measured"
	}
}

test_enrolled_key_needs_no_revocation_list if {
	found := findings(on_tpm, {"fields": {"ak_source": "enrolled", "revocation_checked": false}}).hardware
	found.value == ear.hardware.genuine
	found.reason == "ak_enrolled"
}

test_unchecked_revocation_is_unsafe if {
	every wrong in [false, null, "true", 1] {
		found := findings(on_tpm, {"fields": {"revocation_checked": wrong}}).hardware
		found.value == ear.hardware.unsafe
		found.reason == "revocation_unchecked"
	}
}

test_key_that_nobody_endorses_is_unrecognized if {
	every wrong in ["", "zzz", null, ["enrolled"]] {
		findings(on_tpm, {"fields": {"ak_source": wrong}}).hardware.value == ear.hardware.unrecognized
	}
}

test_a_service_that_vouches_for_the_key_is_a_warning if {
	findings(on_itrustee, {"fields": {"scenario": "sce_as_no_daa"}}).hardware.value == ear.hardware.unsafe
}

test_unknown_scenarios_are_unrecognized if {
	every scenario in ["sce_as_with_daa", "", null, true, 1] {
		findings(on_itrustee, {"fields": {"scenario": scenario}}).hardware.value == ear.hardware.unrecognized
	}
}

test_what_speaks_for_one_kind_of_host_says_nothing_of_the_other if {
	findings(on_tpm, {"fields": {"ak_source": null, "scenario": "sce_no_as"}}).hardware.value == ear.hardware.unrecognized
	enrolled := {"fields": {"ak_source": "enrolled", "scenario": null}}
	findings(on_itrustee, enrolled).hardware.value == ear.hardware.unrecognized
}
