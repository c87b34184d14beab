# Appraisal Policy for Intel SGX: affirming only if every claim below is known to be good.
package appraisal.sgx

import data.ear

reads := [
	"hardware_known",
	"debug",
	"match.matched",
	"match.set",
	"tcb_status",
]

vector := {
	"instance-identity": identity,
	"executables": executables,
	"hardware": hardware,
	"runtime-opaque": runtime_opaque,
}

# Instance identity: the quote chains to Intel's root and names its platform.
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

# Hardware: Intel's word on the TCB (the worst of platform, module and quoting enclave).
hardware := finding if {
	finding := tcb[input.tcb_status]
} else := {"value": ear.hardware.unrecognized, "reason": "tcb_unknown", "detail": "no known TCB status"}

tcb := {
	"UpToDate": {"value": ear.hardware.genuine, "reason": "tcb_up_to_date"},
	"SWHardeningNeeded": {"value": ear.hardware.unsafe, "reason": "tcb_sw_hardening_needed"},
	"ConfigurationNeeded": {"value": ear.hardware.unsafe, "reason": "tcb_configuration_needed"},
	"ConfigurationAndSWHardeningNeeded": {
		"value": ear.hardware.unsafe,
		"reason": "tcb_configuration_and_sw_hardening_needed",
	},
	"OutOfDate": {"value": ear.hardware.unsafe, "reason": "tcb_out_of_date"},
	"OutOfDateConfigurationNeeded": {"value": ear.hardware.unsafe, "reason": "tcb_out_of_date_configuration_needed"},
	"Revoked": {"value": ear.hardware.contraindicated, "reason": "tcb_revoked"},
}

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
