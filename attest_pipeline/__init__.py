"""attest-pipeline: an asynchronous Verifier (RFC 9334) for fleets of confidential-computing machines."""
