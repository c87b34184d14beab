"""What the Verifier Owner administers: policies, Reference Values, trust anchors; pure."""
