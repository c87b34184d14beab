# Appraisal Policy for Arm CCA: affirming only if every claim below is known to be good.
package appraisal.cca

import data.ear

reads := [
	"hardware_known",
	"debug",
	"match.matched",
	"match.set",
	"fields.cca-platform-lifecycle",
	"fields.cca-unproven-devices",
]

vector := {
	"instance-identity": identity,
	"executables": executables,
	"configuration": configuration,
	"hardware": hardware,
	"runtime-opaque": runtime_opaque,
}

# Instance identity: the platform token is signed by a key known for this instance.
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

# Configuration: nothing belongs to platform or realm that this token does not prove (RMM 2.0 adds devices).
configuration := {
	"value": ear.configuration.approved,
	"reason": "no_devices",
	"detail": "neither platform nor realm has devices added",
} if {
	input.fields["cca-unproven-devices"] == false
} else := {
	"value": ear.configuration.unsafe,
	"reason": "devices_unproven",
	"detail": "devices are added to platform or realm, and this token does not prove them",
}

# Hardware: secured platforms only (lifecycle 0x3000 to 0x30ff).
hardware := {
	"value": ear.hardware.genuine,
	"reason": "platform_secured",
	"detail": "the platform is in the secured lifecycle state",
} if {
	is_number(lifecycle)
	lifecycle >= 12288
	lifecycle <= 12543
} else := {
	"value": ear.hardware.contraindicated,
	"reason": "platform_not_secured",
	"detail": "the platform is not in the secured lifecycle state",
}

lifecycle := input.fields["cca-platform-lifecycle"]

# Runtime opacity: nobody may look inside.
runtime_opaque := {
	"value": ear.runtime_opaque.encrypted,
	"reason": "memory_encrypted",
	"detail": "debug is off",
} if {
	input.debug == false
} else := {
	"value": ear.runtime_opaque.visible,
	"reason": "debug_enabled",
	"detail": "debug is on, or the Evidence does not say that it is off",
}
