"""The `attest` command."""
