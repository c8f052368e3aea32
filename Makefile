# `make check` is what continuous integration and the pre-commit hooks run. ./scripts/test makes .venv.
BIN ?= .venv/bin
CODE := sinks tests scripts

.PHONY: check lint format types layers test schema

check: lint types layers test

lint:
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

format:
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

types:
	$(BIN)/mypy

layers:
	$(BIN)/lint-imports

test:
	$(BIN)/pytest -q -m "not stack"

# the JSON schema of `cdc health --json`; a test compares it with the code
schema:
	$(BIN)/python -c "from sinks.health.report import schema; print(schema(), end='')" > docs/health.schema.json
