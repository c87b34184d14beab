# Appraisal Policy for Arm PSA: affirming only if every claim below is known to be good.
package appraisal.psa

import data.ear

reads := [
	"hardware_known",
	"debug",
	"match.matched",
	"match.set",
	"fields.psa-security-lifecycle",
	"fields.psa-software-measured",
]

vector := {
	"instance-identity": identity,
	"executables": executables,
	"hardware": hardware,
	"runtime-opaque": runtime_opaque,
}

# Instance identity: the token is signed by a key known for this device.
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

# Executables: the measurements are Reference Values of one set, as a whole. A device may say that it measures nothing.
executables := {
	"value": ear.executables.approved,
	"reason": "reference_values_match",
	"detail": "every measurement is a Reference Value of one set",
} if {
	input.match.matched == true
	input.fields["psa-software-measured"] == true
} else := {
	"value": ear.executables.unrecognized,
	"reason": "software_not_measured",
	"detail": "the device does not measure its software",
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

# Hardware: a secured Root of Trust only (lifecycle 0x3000 to 0x30ff).
hardware := {
	"value": ear.hardware.genuine,
	"reason": "lifecycle_secured",
	"detail": "the device is in the secured lifecycle state",
} if {
	is_number(lifecycle)
	lifecycle >= 12288
	lifecycle <= 12543
} else := {
	"value": ear.hardware.contraindicated,
	"reason": "lifecycle_not_secured",
	"detail": "the device is not in the secured lifecycle state",
}

lifecycle := input.fields["psa-security-lifecycle"]

# Runtime opacity: nobody may look inside. The chip isolates the Root of Trust; few encrypt its memory as well.
runtime_opaque := {
	"value": ear.runtime_opaque.encrypted,
	"reason": "memory_protected",
	"detail": "debug is off; the chip keeps other software out of the Root of Trust",
} if {
	input.debug == false
} else := {
	"value": ear.runtime_opaque.visible,
	"reason": "debug_enabled",
	"detail": "debug is on, or the Evidence does not say that it is off",
}
