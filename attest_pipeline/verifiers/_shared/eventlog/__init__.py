"""Measurement logs, read in one pass: what the registers hold if the log is true, and what was measured into them."""
