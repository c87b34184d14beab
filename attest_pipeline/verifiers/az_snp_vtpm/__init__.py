"""Azure confidential VMs on AMD SEV-SNP: vTPM and paravisor (`docs/verifiers/az-snp-vtpm.md`)."""

from attest_pipeline.verifiers.az_snp_vtpm.verify import AzSnpVerifier

__all__ = ["AzSnpVerifier"]
