# `make check` is what the pre-commit hooks run; `./scripts/test` runs it with the tests that need servers.
BIN ?= .venv/bin

.PHONY: check format test schema

check:
	./scripts/check
	$(BIN)/pytest -q -m "not stack"

format:
	$(BIN)/ruff check --fix sinks tests scripts
	$(BIN)/ruff format sinks tests scripts

test:
	./scripts/test

# The JSON schema of `cdc health --json`; a test compares it with the code.
schema:
	$(BIN)/python -c "from sinks.health.report import schema; print(schema(), end='')" > docs/health.schema.json
