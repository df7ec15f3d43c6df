# One environment in .venv/, built from the hash-pinned lock; every target does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
KERNELS := $(VENV)/.compiled

.PHONY: demo test check ui bench docs lock install services clean fmt

install: $(STAMP) $(KERNELS)

$(STAMP): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "igrt needs Python 3.11 to 3.13; '$(PYTHON)' is $$($(PYTHON) --version). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "python3-venv is missing. Install it with: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(STAMP)

# Native code of the kernels, for this processor: a minute, again whenever their sources change.
$(KERNELS): $(STAMP) $(shell find imrt_core registration -name '*.py')
	$(BIN)/igrt compile
	@touch $(KERNELS)

services:
	@sh tools/services.sh

demo: install
	$(BIN)/igrt demo $(DEMO_ARGS)

ui: install
	$(BIN)/igrt ui

test: install services
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TEST_ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python -m benchmarks

docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

# Maintainers: resolve the newest versions and pin them with hashes. No index address goes into the files.
LOCK := $(BIN)/uv pip compile --quiet --universal --no-strip-extras --generate-hashes --no-emit-index-url --no-emit-find-links
lock: pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(LOCK) --output-file requirements/run.lock pyproject.toml
	$(LOCK) --extra dev --output-file requirements/dev.lock pyproject.toml

clean:
	rm -rf $(VENV) build dist *.egg-info docs/_build .mypy_cache .pytest_cache .ruff_cache
