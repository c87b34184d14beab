# Appraisal Policy for AMD SEV-SNP: affirming only if every claim below is known to be good.
package appraisal.snp

import data.ear

reads := [
	"hardware_known",
	"debug",
	"match.matched",
	"match.set",
	"fields.migrate_ma",
	"fields.product",
	"fields.revocation_checked",
	"fields.signing_key",
	"fields.tcb_bl",
	"fields.tcb_fmc",
	"fields.tcb_snp",
	"fields.tcb_tee",
	"fields.tcb_ucode",
	"fields.vmpl",
]

vector := {
	"instance-identity": identity,
	"configuration": configuration,
	"executables": executables,
	"hardware": hardware,
	"runtime-opaque": runtime_opaque,
}

# Instance identity: the report chains to AMD's root and names its chip, or a provider's VLEK stands for the chip. A
# VCEK with a masked CHIP_ID names nobody.
identity := {
	"value": ear.instance_identity.recognized,
	"reason": "hardware_identified",
	"detail": "the hardware proved its identity",
} if {
	input.hardware_known == true
} else := {
	"value": ear.instance_identity.recognized,
	"reason": "provider_identified",
	"detail": "signed by a VLEK: the provider vouches for its fleet, and no chip is named",
} if {
	input.fields.signing_key == "vlek"
} else := {
	"value": ear.instance_identity.unrecognized,
	"reason": "hardware_unknown",
	"detail": "the Evidence does not name the hardware",
}

# Configuration: the most privileged level of a guest that nobody can move.
configuration := {
	"value": ear.configuration.approved,
	"reason": "guest_policy_approved",
	"detail": "VMPL 0, no migration agent",
} if {
	input.fields.vmpl == 0
	input.fields.migrate_ma == false
} else := {
	"value": ear.configuration.unsafe,
	"reason": "vmpl_lowered",
	"detail": "the report was asked for at a VMPL other than 0",
} if {
	is_number(input.fields.vmpl)
	input.fields.vmpl > 0
	input.fields.migrate_ma == false
} else := {
	"value": ear.configuration.unsupportable,
	"reason": "guest_policy_refused",
	"detail": "a migration agent is allowed, or the guest policy is not known",
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

# Hardware: a product named below, not revoked, with no component of its TCB below the minimum.
hardware := {
	"value": ear.hardware.genuine,
	"reason": "tcb_at_minimum",
	"detail": "not revoked, and no TCB component is below the minimum of this policy",
} if {
	input.fields.revocation_checked == true
	every component, least in minimum {
		is_number(input.fields[component])
		input.fields[component] >= least
	}
} else := {
	"value": ear.hardware.unsafe,
	"reason": "revocation_unchecked",
	"detail": "no revocation list of AMD was at hand",
} if {
	minimum
	input.fields.revocation_checked == false
} else := {
	"value": ear.hardware.unsafe,
	"reason": "tcb_below_minimum",
	"detail": "a TCB component is below the minimum of this policy",
} if {
	minimum
} else := {
	"value": ear.hardware.unrecognized,
	"reason": "product_refused",
	"detail": "a product that this policy does not name",
}

minimum := minimum_tcb[input.fields.product]

# The least security patch level of each component. AMD publishes no status like Intel's: these are the levels that
# maintained clouds reported in 2025 and 2026 (Bergamo and Siena count as Genoa, with microcode from 25). Raise them as
# AMD's bulletins demand, and take out a product to distrust it.
minimum_tcb := {
	"Milan": {"tcb_bl": 4, "tcb_tee": 0, "tcb_snp": 24, "tcb_ucode": 219},
	"Genoa": {"tcb_bl": 10, "tcb_tee": 0, "tcb_snp": 23, "tcb_ucode": 25},
	"Turin": {"tcb_fmc": 1, "tcb_bl": 1, "tcb_tee": 1, "tcb_snp": 4, "tcb_ucode": 81},
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
