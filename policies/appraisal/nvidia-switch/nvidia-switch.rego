# Appraisal Policy for NVIDIA NVSwitches: affirming only if every claim below is known to be good.
package appraisal["nvidia-switch"]

import data.ear

reads := [
	"hardware_known",
	"match.matched",
	"match.set",
	"fields.revocation_checked",
	"fields.rim_vbios",
]

vector := {
	"instance-identity": identity,
	"executables": executables,
	"hardware": hardware,
}

# Instance identity: the report chains to NVIDIA's root, and the chip's own certificate names it.
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

# Executables: the versions that the Verifier Owner wants, as one set. That a version measures what it should is for
# the RIM to say.
executables := {
	"value": ear.executables.approved,
	"reason": "reference_values_match",
	"detail": "every version and measurement is a Reference Value of one set",
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
	"detail": "versions or measurements differ from every Reference Value Set; see the mismatches",
}

# Hardware: firmware that the RIM of NVIDIA vouches for, and no certificate revoked. Altered firmware, or firmware in
# debug mode, measures otherwise.
hardware := {
	"value": ear.hardware.genuine,
	"reason": "firmware_endorsed",
	"detail": "every measurement is that of the RIM of its BIOS, and nothing is revoked",
} if {
	input.fields.rim_vbios == true
	input.fields.revocation_checked == true
} else := {
	"value": ear.hardware.unsafe,
	"reason": "revocation_unchecked",
	"detail": "not every certificate has an OCSP response of NVIDIA",
} if {
	input.fields.rim_vbios == true
	input.fields.revocation_checked == false
} else := {
	"value": ear.hardware.unsafe,
	"reason": "firmware_unendorsed",
	"detail": "the RIM of its BIOS was not at hand: nobody vouches for the measurements",
} if {
	is_boolean(input.fields.rim_vbios)
	is_boolean(input.fields.revocation_checked)
} else := {
	"value": ear.hardware.contraindicated,
	"reason": "firmware_unknown",
	"detail": "the claims do not say what vouches for the firmware",
}
