# make run: the main job. make test: every check. Both make .venv first, and are quick after that.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test lint clean

run: .venv/run
	$(BIN)/gradexp run -cn learning_rate

test: lint
	$(BIN)/pytest
	$(BIN)/pytest tests/apart
	$(BIN)/pytest gradexp

lint: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/run: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv/dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@ .venv/run

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
