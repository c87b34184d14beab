package appraisal.sample_test

import data.appraisal.sample
import data.ear

test_sample_is_refused_whatever_it_matches if {
	every matched in [true, false, null] {
		vector := sample.vector with input as {"match": {"matched": matched}}
		vector["instance-identity"].value == ear.instance_identity.unrecognized
	}
}

test_executables_are_reported if {
	vector := sample.vector with input as {"match": {"matched": true}}
	vector.executables.value == ear.executables.approved
}

test_mismatch_is_reported if {
	vector := sample.vector with input as {"match": {"matched": false}}
	vector.executables.value == ear.executables.unrecognized
}
