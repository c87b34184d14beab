"""Test vendors and simulated devices: synthetic, cryptographically complete Evidence for every TEE."""
