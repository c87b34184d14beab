# Appraisal Policy for Hygon CSV: affirming only if every claim below is known to be good.
package appraisal.csv

import data.ear

reads := [
	"hardware_known",
	"debug",
	"match.matched",
	"match.set",
	"fields.report_version",
	"fields.policy_es",
]

vector := {
	"instance-identity": identity,
	"executables": executables,
	"runtime-opaque": runtime_opaque,
}

# Instance identity: the chip's key (CEK) chains to Hygon's root.
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

# Runtime opacity: nobody may look inside, and the host does not see the registers (CSV2 and CSV3).
runtime_opaque := {
	"value": ear.runtime_opaque.visible,
	"reason": "policy_unproven",
	"detail": "only a Reference Value of the measurement proves the policy of a version 1 report",
} if {
	not policy_proven
} else := {
	"value": ear.runtime_opaque.encrypted,
	"reason": "memory_and_registers_protected",
	"detail": "debug is off, memory and registers are encrypted",
} if {
	input.debug == false
	input.fields.policy_es == true
} else := {
	"value": ear.runtime_opaque.isolated,
	"reason": "registers_visible",
	"detail": "debug is off, but the guest policy does not ask for encrypted registers (CSV2)",
} if {
	input.debug == false
	input.fields.policy_es == false
} else := {
	"value": ear.runtime_opaque.visible,
	"reason": "debug_enabled",
	"detail": "debug is on, or the Evidence does not say that it is off",
}

# No signature covers the mask over a version 1 report: see docs/verifiers/csv.md.
policy_proven if input.fields.report_version == 2

policy_proven if {
	input.fields.report_version == 1
	input.match.matched == true
}
