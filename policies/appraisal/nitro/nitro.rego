# Appraisal Policy for AWS Nitro Enclaves: affirming only if every claim below is known to be good.
package appraisal.nitro

import data.ear

reads := [
	"hardware_known",
	"debug",
	"match.matched",
	"match.set",
	"fields.document_current",
]

vector := {
	"instance-identity": identity,
	"executables": executables,
	"runtime-opaque": runtime_opaque,
}

# Instance identity: the document chains to the root of AWS, names its EC2 instance, and is not one of hours ago.
identity := {
	"value": ear.instance_identity.recognized,
	"reason": "hardware_identified",
	"detail": "AWS vouches for the instance and its enclave",
} if {
	input.hardware_known == true
	input.fields.document_current == true
} else := {
	"value": ear.instance_identity.untrustworthy,
	"reason": "document_stale",
	"detail": "made over 10 minutes before it was received, or over 1 minute after: ask the NSM for a new document for each attestation",
} if {
	input.hardware_known == true
} else := {
	"value": ear.instance_identity.unrecognized,
	"reason": "hardware_unknown",
	"detail": "the Evidence does not name the instance",
}

# Executables: the registers are Reference Values of one set, as a whole.
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

# Runtime opacity: nobody may look inside. The Nitro hypervisor itself is trusted: no enclave can do without.
runtime_opaque := {
	"value": ear.runtime_opaque.encrypted,
	"reason": "memory_protected",
	"detail": "debug is off; the Nitro hypervisor keeps the parent instance out",
} if {
	input.debug == false
} else := {
	"value": ear.runtime_opaque.visible,
	"reason": "debug_enabled",
	"detail": "debug is on, or the Evidence does not say that it is off",
}
