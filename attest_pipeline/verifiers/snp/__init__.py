"""AMD SEV-SNP: attestation reports of Milan, Genoa and Turin under a VCEK or a VLEK."""

from attest_pipeline.verifiers.snp.verify import SnpVerifier

__all__ = ["SnpVerifier"]
