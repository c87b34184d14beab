# Appraisal Policy for TPM 2.0: affirming only if every claim below is known to be good.
package appraisal.tpm

import data.ear

reads := [
	"hardware_known",
	"match.matched",
	"match.set",
	"fields.ak_source",
	"fields.boot_measured",
	"fields.pcr_bank",
	"fields.revocation_checked",
]

vector := {
	"instance-identity": identity,
	"executables": executables,
	"hardware": hardware,
}

# Instance identity: the quote is signed by an AK that is enrolled or certified.
identity := {
	"value": ear.instance_identity.recognized,
	"reason": "hardware_identified",
	"detail": "the hardware proved its identity",
} if {
	input.hardware_known == true
} else := {
	"value": ear.instance_identity.unrecognized,
	"reason": "hardware_unknown",
	"detail": "the Evidence does not name the hardware",
}

# Executables: PCRs are Reference Values of one set, as a whole, in a bank that nobody can forge, after a measured boot.
executables := {
	"value": ear.executables.approved_boot,
	"reason": "reference_values_match",
	"detail": "every measurement is a Reference Value of one set",
} if {
	measured
	input.match.matched == true
} else := {
	"value": ear.executables.contraindicated,
	"reason": "boot_not_measured",
	"detail": "a bank other than SHA-256, SHA-384 or SHA-512, or PCR 0 or 4 unquoted or zero",
} if {
	not measured
} else := {
	"value": ear.executables.unrecognized,
	"reason": "no_reference_values",
	"detail": "no Reference Value Set is known for this TEE",
} if {
	input.match.set == null
} else := {
	"value": ear.executables.contraindicated,
	"reason": "reference_values_mismatch",
	"detail": "measurements differ from every Reference Value Set; see the mismatches",
}

measured if {
	input.fields.pcr_bank in {"sha256", "sha384", "sha512"}
	input.fields.boot_measured == true
}

# Hardware: the operator enrolled this TPM, or its manufacturer certifies it and has not revoked that.
hardware := {
	"value": ear.hardware.genuine,
	"reason": "ak_enrolled",
	"detail": "the operator enrolled the attestation key",
} if {
	input.fields.ak_source == "enrolled"
} else := {
	"value": ear.hardware.genuine,
	"reason": "ak_certified",
	"detail": "a TPM manufacturer certifies the attestation key, and has not revoked it",
} if {
	input.fields.ak_source == "certificate"
	input.fields.revocation_checked == true
} else := {
	"value": ear.hardware.unsafe,
	"reason": "revocation_unchecked",
	"detail": "no revocation list of the manufacturer was at hand",
} if {
	input.fields.ak_source == "certificate"
} else := {
	"value": ear.hardware.unrecognized,
	"reason": "ak_unendorsed",
	"detail": "nobody is known to endorse the attestation key",
}
