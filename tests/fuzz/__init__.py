"""Fuzzing of every parser that bytes from outside reach (`docs/fuzzing.md`). Run by `make fuzz`."""
