# make run: the main job. make test: every check, in minutes. make test-all: more of each, too.
# All make .venv first, and are quick after that.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/pytest --quiet --durations 10
# Compiled modules are kept, whatever the shell says: tests are found in half the time.
export PYTHONDONTWRITEBYTECODE =

# What a sweep leaves is the same where Hydra composes and runs each of its jobs.
SWEEPS := $(addprefix tests/test_,composition.py damaged.py forecast.py group_axes.py \
	output_folders.py overview.py runs.py search.py summary.py sweeps.py)

.PHONY: run test test-all apart docstrings lint clean

run: .venv/run
	$(BIN)/gradexp run -cn learning_rate

test: .venv/dev
	$(MAKE) --no-print-directory --jobs 2 --output-sync lint apart docstrings
	$(PYTEST) --numprocesses auto --dist worksteal

test-all: .venv/dev
	$(MAKE) --no-print-directory --jobs 2 --output-sync lint apart docstrings
	$(PYTEST) --numprocesses auto --dist worksteal -m "slow or not slow"
	$(PYTEST) --numprocesses auto --dist worksteal --without-shortcuts $(SWEEPS)

# JAX starts threads, and processes that have them must not be forked, as other tests do.
apart: .venv/dev
	$(PYTEST) tests/apart

# Examples in docstrings, in a process of their own: pytest imports all of gradexp for them.
docstrings: .venv/dev
	$(PYTEST) gradexp

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
