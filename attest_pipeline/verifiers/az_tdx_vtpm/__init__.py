"""Azure confidential VMs on Intel TDX: vTPM and paravisor (`docs/verifiers/az-tdx-vtpm.md`)."""

from attest_pipeline.verifiers.az_tdx_vtpm.verify import AzTdxVerifier

__all__ = ["AzTdxVerifier"]
