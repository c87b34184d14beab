# Appraisal Policy for Azure confidential VMs on Intel TDX: affirming only if every claim below is known to be good.
package appraisal["az-tdx-vtpm"]

import data.ear

reads := [
	"hardware_known",
	"debug",
	"match.matched",
	"match.set",
	"tcb_status",
	"fields.boot_measured",
	"fields.evidence_version",
	"fields.migratable",
	"fields.pcr_bank",
	"fields.reserved_tdattributes",
	"fields.secure_boot",
	"fields.service_td",
]

vector := {
	"instance-identity": identity,
	"configuration": configuration,
	"executables": executables,
	"hardware": hardware,
	"runtime-opaque": runtime_opaque,
}

# Instance identity: the paravisor's quote chains to Intel's root and names its platform.
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

# Configuration: the trust domain can neither be moved nor joined, and starts only what is signed. SEPT_VE_DISABLE is off
# in every VM of Azure, whose paravisor handles #VE itself.
configuration := {
	"value": ear.configuration.approved,
	"reason": "attributes_approved",
	"detail": "not migratable, no service TD, secure boot",
} if {
	closed
	input.fields.secure_boot == true
} else := {
	"value": ear.configuration.unsafe,
	"reason": "secure_boot_off",
	"detail": "the paravisor does not say that secure boot is on",
} if {
	closed
} else := {
	"value": ear.configuration.unsupportable,
	"reason": "attributes_refused",
	"detail": "migratable, bound to a service TD, or reserved attributes are set",
}

closed if {
	input.fields.migratable == false
	input.fields.service_td == false
	input.fields.reserved_tdattributes == false
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

# Hardware: it spoke after the challenge; Intel's word on the TCB (the worst of platform, module and quoting enclave).
hardware := {
	"value": ear.hardware.contraindicated,
	"reason": "evidence_version_old",
	"detail": "the quote may be from long before the challenge; to allow that, add the version to admitted_versions",
} if {
	not admitted
} else := finding if {
	finding := tcb[input.tcb_status]
} else := {"value": ear.hardware.unrecognized, "reason": "tcb_unknown", "detail": "no known TCB status"}

admitted if input.fields.evidence_version in admitted_versions

# Versions of the Evidence's JSON. Only from 2 on has the hardware's report seen the challenge; of an older one it may be as
# old as the vTPM's key, from before an update of TCB or paravisor. Add 1, or 0 and 1, to admit them.
admitted_versions := {2}

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
	"TDRelaunchAdvised": {"value": ear.hardware.unsafe, "reason": "tcb_td_relaunch_advised"},
	"TDRelaunchAdvisedConfigurationNeeded": {
		"value": ear.hardware.unsafe,
		"reason": "tcb_td_relaunch_advised_configuration_needed",
	},
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
