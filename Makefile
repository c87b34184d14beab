# Every verb a developer or CI needs. `make` alone lists them.
PYTHON ?= python3
TARGET ?= *
SECONDS ?= 600
BIN := .venv/bin

.PHONY: help dev check types architecture test fuzz demo bench schemas lock format clean

help:  ## list the verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

dev: .venv/.installed  ## make .venv from the hash-pinned lock

check: dev  ## format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: dev  ## strict types of library, workers and tests
	$(BIN)/mypy

architecture: dev  ## import contracts
	$(BIN)/lint-imports

test: check types architecture  ## everything that must hold
	$(BIN)/attest schemas --check
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered --cov-fail-under=95

fuzz: dev  ## altered input for every parser: TARGET='verify *', SECONDS=600 for each target
	PYTHONPATH=tests $(BIN)/python -m fuzz --target '$(TARGET)' --seconds $(SECONDS)

demo: dev  ## 500 simulated agents of five TEEs through a real broker, in a minute
	$(BIN)/attest demo

bench: dev  ## throughput and latency against the cryptographic floor
	$(BIN)/attest bench pipeline

schemas: dev  ## write schemas/ anew from the Structs
	$(BIN)/attest schemas --write

lock: dev  ## write requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile --quiet --generate-hashes --no-strip-extras --no-header --no-annotate --universal --python-version 3.11 \
		--group dev --output-file requirements.lock pyproject.toml

format: dev  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what the other verbs made
	rm -rf .venv build dist state .coverage .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis fuzz-findings
