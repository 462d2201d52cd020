# make run: an example sweep. make test: all checks, in minutes. make test-all: the slow tests, too.
# Each of them first installs what it needs into .venv, if it is not there.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/pytest --quiet --durations 10
# Python keeps compiled modules, even if the shell's environment forbids it: pytest then collects the
# tests in half the time.
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

# In a process of their own: JAX starts threads, and other tests fork, which is unsafe with threads.
apart: .venv/dev
	$(PYTEST) tests/apart

# Examples in docstrings, in a process of their own: pytest imports all of gradexp to collect them.
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
