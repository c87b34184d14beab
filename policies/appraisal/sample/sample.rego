# Appraisal Policy for the sample TEE: its Evidence proves nothing, so it is refused. A development tenant may bring its
# own policy; the Verifier never calls a sample affirming, whatever the policy says.
package appraisal.sample

import data.ear

reads := ["match.matched"]

vector := {
	"instance-identity": {
		"value": ear.instance_identity.unrecognized,
		"reason": "sample_proves_nothing",
		"detail": "sample Evidence carries no proof of any hardware",
	},
	"executables": executables,
}

# Executables: reported for development; the identity above decides.
executables := {"value": ear.executables.approved, "reason": "reference_values_match"} if {
	input.match.matched == true
} else := {"value": ear.executables.unrecognized, "reason": "reference_values_mismatch"}
