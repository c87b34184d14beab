# Appraisal Policy for Azure confidential VMs on AMD SEV-SNP: affirming only if every claim below is known to be good.
package appraisal["az-snp-vtpm"]

import data.ear

reads := [
	"hardware_known",
	"debug",
	"match.matched",
	"match.set",
	"fields.boot_measured",
	"fields.evidence_version",
	"fields.migrate_ma",
	"fields.pcr_bank",
	"fields.product",
	"fields.revocation_checked",
	"fields.secure_boot",
	"fields.tcb_bl",
	"fields.tcb_fmc",
	"fields.tcb_snp",
	"fields.tcb_tee",
	"fields.tcb_ucode",
]

vector := {
	"instance-identity": identity,
	"configuration": configuration,
	"executables": executables,
	"hardware": hardware,
	"runtime-opaque": runtime_opaque,
}

# Instance identity: the paravisor's report chains to AMD's root and names its chip.
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

# Configuration: a VM that nobody can move, and that starts only what is signed.
configuration := {
	"value": ear.configuration.approved,
	"reason": "guest_policy_approved",
	"detail": "no migration agent, secure boot",
} if {
	input.fields.migrate_ma == false
	input.fields.secure_boot == true
} else := {
	"value": ear.configuration.unsafe,
	"reason": "secure_boot_off",
	"detail": "the paravisor does not say that secure boot is on",
} if {
	input.fields.migrate_ma == false
} else := {
	"value": ear.configuration.unsupportable,
	"reason": "guest_policy_refused",
	"detail": "a migration agent is allowed, or the guest policy is not known",
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

# Hardware: it spoke after the challenge, a product named below, not revoked, no component of its TCB below the minimum.
hardware := {
	"value": ear.hardware.genuine,
	"reason": "tcb_at_minimum",
	"detail": "not revoked, and no TCB component is below the minimum of this policy",
} if {
	admitted
	input.fields.revocation_checked == true
	every component, least in minimum {
		is_number(input.fields[component])
		input.fields[component] >= least
	}
} else := {
	"value": ear.hardware.contraindicated,
	"reason": "evidence_version_old",
	"detail": "the hardware may have spoken long before the challenge; to allow that, add the version to admitted_versions",
} if {
	not admitted
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

admitted if input.fields.evidence_version in admitted_versions

# Versions of the Evidence's JSON. Only from 2 on has the hardware's report seen the challenge; of an older one it may be as
# old as the vTPM's key, from before an update of TCB or paravisor. Add 1, or 0 and 1, to admit them.
admitted_versions := {2}

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
