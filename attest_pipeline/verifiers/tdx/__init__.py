"""Intel TDX: quotes v4 and v5 over a TD report 1.0 or 1.5."""

from attest_pipeline.verifiers.tdx.verify import TdxVerifier

__all__ = ["TdxVerifier"]
