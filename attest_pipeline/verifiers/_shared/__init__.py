"""Tools that several verifiers share. Nothing here knows a TEE."""
