# Trustworthiness claim values (draft-ietf-rats-ar4si-09, section 2.3.4) by claim and name.
# Generated from attest_pipeline/ear.py by attest_pipeline.owner.policies.rego_constants; do not edit.
package ear

instance_identity := {
	"no_claim": 0,
	"unexpected_evidence": 1,
	"recognized": 2,
	"untrustworthy": 96,
	"unrecognized": 97,
}

configuration := {
	"no_claim": 0,
	"unexpected_evidence": 1,
	"approved": 2,
	"no_known_vulnerabilities": 3,
	"unsafe": 32,
	"unavailable": 36,
	"unsupportable": 96,
}

executables := {
	"no_claim": 0,
	"unexpected_evidence": 1,
	"approved": 2,
	"approved_boot": 3,
	"unsafe": 32,
	"unrecognized": 33,
	"contraindicated": 96,
}

file_system := {
	"no_claim": 0,
	"unexpected_evidence": 1,
	"approved": 2,
	"unrecognized": 32,
	"contraindicated": 96,
}

hardware := {
	"no_claim": 0,
	"unexpected_evidence": 1,
	"genuine": 2,
	"unsafe": 32,
	"contraindicated": 96,
	"unrecognized": 97,
}

runtime_opaque := {
	"no_claim": 0,
	"unexpected_evidence": 1,
	"encrypted": 2,
	"isolated": 32,
	"visible": 96,
}

storage_opaque := {
	"no_claim": 0,
	"unexpected_evidence": 1,
	"hardware_keys": 2,
	"software_keys": 32,
	"unencrypted": 96,
}

sourced_data := {
	"no_claim": 0,
	"unexpected_evidence": 1,
	"trusted": 2,
	"untrusted": 32,
	"contraindicated": 96,
}
