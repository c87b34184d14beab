# Appraisal Policy for Ascend NPUs: affirming only if every claim below is known to be good.
# Identity and hardware are those of the host: an NPU without a key of its own cannot show any.
package appraisal["ascend-npu"]

import data.ear

reads := [
	"hardware_known",
	"match.matched",
	"match.set",
	"fields.ak_source",
	"fields.binding",
	"fields.boot_measured",
	"fields.pcr_bank",
	"fields.revocation_checked",
	"fields.scenario",
]

vector := {
	"instance-identity": identity,
	"executables": executables,
	"hardware": hardware,
}

# Instance identity: the host's Evidence is signed by a key that is enrolled or certified.
identity := {
	"value": ear.instance_identity.recognized,
	"reason": "host_identified",
	"detail": "the host of the NPU proved its identity",
} if {
	input.hardware_known == true
} else := {
	"value": ear.instance_identity.unrecognized,
	"reason": "hardware_unknown",
	"detail": "the Evidence does not name the host of the NPU",
}

# Executables: firmware and host are Reference Values of one set, as a whole, and what the kernel measured is in a TPM.
# A list that only a nonce binds is what the host says of itself: good at best as long as nobody took the host over.
executables := {
	"value": ear.executables.contraindicated,
	"reason": "firmware_unbound",
	"detail": "nothing that is known binds the firmware measurement list",
} if {
	not input.fields.binding in {"tpm", "itrustee"}
} else := {
	"value": ear.executables.contraindicated,
	"reason": "boot_not_measured",
	"detail": "a bank other than SHA-256, SHA-384 or SHA-512, or PCR 0 or 4 unquoted or zero",
} if {
	input.fields.binding == "tpm"
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
} if {
	not input.match.matched == true
} else := {
	"value": ear.executables.unsafe,
	"reason": "firmware_list_of_the_host",
	"detail": "every measurement is a Reference Value of one set, but the host itself wrote the list",
} if {
	input.fields.binding == "itrustee"
} else := {
	"value": ear.executables.approved_boot,
	"reason": "reference_values_match",
	"detail": "every measurement is a Reference Value of one set",
}

measured if {
	input.fields.pcr_bank in {"sha256", "sha384", "sha512"}
	input.fields.boot_measured == true
}

# Hardware: who vouches for the host. Huawei's root, the operator, or a TPM manufacturer that has not revoked it.
hardware := {
	"value": ear.hardware.genuine,
	"reason": "device_genuine",
	"detail": "the host's root key chains to Huawei's root",
} if {
	input.fields.binding == "itrustee"
	input.fields.scenario == "sce_no_as"
} else := {
	"value": ear.hardware.unsafe,
	"reason": "device_vouched_by_service",
	"detail": "an attestation key service vouches for the host's quoting key; Huawei's root does not",
} if {
	input.fields.binding == "itrustee"
	input.fields.scenario == "sce_as_no_daa"
} else := {
	"value": ear.hardware.genuine,
	"reason": "ak_enrolled",
	"detail": "the operator enrolled the attestation key of the host",
} if {
	input.fields.binding == "tpm"
	input.fields.ak_source == "enrolled"
} else := {
	"value": ear.hardware.genuine,
	"reason": "ak_certified",
	"detail": "a TPM manufacturer certifies the attestation key of the host, and has not revoked it",
} if {
	input.fields.binding == "tpm"
	input.fields.ak_source == "certificate"
	input.fields.revocation_checked == true
} else := {
	"value": ear.hardware.unsafe,
	"reason": "revocation_unchecked",
	"detail": "no revocation list of the manufacturer was at hand",
} if {
	input.fields.binding == "tpm"
	input.fields.ak_source == "certificate"
} else := {
	"value": ear.hardware.unrecognized,
	"reason": "host_unendorsed",
	"detail": "nobody is known to vouch for the host",
}
