# Appraisal Policy for Huawei iTrustee: affirming only if every claim below is known to be good.
# No claim on runtime opacity: a report does not say whether the platform is in debug state.
package appraisal.itrustee

import data.ear

reads := [
	"hardware_known",
	"match.matched",
	"match.set",
	"fields.scenario",
]

vector := {
	"instance-identity": identity,
	"executables": executables,
	"hardware": hardware,
}

# Instance identity: a certificate names the device's key, or the key that quotes for it.
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

# Executables: the measurements are Reference Values of one set, as a whole.
executables := {
	"value": ear.executables.approved,
	"reason": "reference_values_match",
	"detail": "every measurement is a Reference Value of one set",
} if {
	input.match.matched == true
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

# Hardware: Huawei's root vouches for the device itself, or only a service of the operator for its quoting key.
hardware := {
	"value": ear.hardware.genuine,
	"reason": "device_genuine",
	"detail": "the device's root key chains to Huawei's root",
} if {
	input.fields.scenario == "sce_no_as"
} else := {
	"value": ear.hardware.unsafe,
	"reason": "device_vouched_by_service",
	"detail": "an attestation key service vouches for the quoting key; Huawei's root does not",
} if {
	input.fields.scenario == "sce_as_no_daa"
} else := {
	"value": ear.hardware.unrecognized,
	"reason": "device_unknown",
	"detail": "the Evidence does not say who vouches for the device",
}
