# `make` alone tells what there is. Everything happens in .venv; PYTHON makes it (>= 3.11).

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
# As pip does with what is not editable; else a shell that forbids Python to write it pays each time.
COMPILE := $(BIN)/python -m compileall -q agentd cli/agentd_cli
PYTEST := $(BIN)/python -m pytest
# agentd as users get it: a wheel whose hot modules are compiled, in an environment of its own.
WHEEL  := .venv-wheel
BUILT  := build/wheel
ARGS   ?=
# What does not reach into compiled code, which nothing can be put into: all that starts processes,
# and what reads bytes that others send.
WHOLE  ?= $(PARSERS) tests/integration tests/faults
PARSERS := tests/unit/transport $(patsubst %,tests/property/test_%.py,protocol repeated serialization)
# Most tests wait for processes and heartbeats; PARALLEL= runs them one after the other.
PARALLEL ?= -n 4 --dist worksteal

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install run test test-all test-wheel faults lint fmt types check cov wheel \
	bench bench-compare bench-profile bench-docs clean

help: ## Show this help
	@echo "usage: make TARGET [PYTHON=python3.12] [ARGS='more arguments of pytest, of bench']"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(VENV)/.dev ## Make .venv with agentd (editable) and the tools of the developers

run: $(VENV)/.run ## Run the example: two agents, hosted by a daemon of their own
	@$(BIN)/python examples/librarian.py

test: $(VENV)/.dev ## Run all tests but the slow ones (a few minutes)
	@$(PYTEST) -q -m "not slow" $(PARALLEL) $(ARGS)

test-all: $(VENV)/.dev ## Run all tests, the slow ones too
	@$(PYTEST) -q -o faulthandler_timeout=600 $(PARALLEL) $(ARGS)

test-wheel: $(WHEEL)/.made ## Run the tests of whole processes, and of parsers, against the compiled wheel
	@rm -rf build/tests && mkdir -p build/tests  # without agentd/ and cli/, which would be in front
	@cp -r tests benchmarks examples configs docs README.md CHANGELOG.md Makefile pyproject.toml build/tests/
	@cd build/tests && ../../$(WHEEL)/bin/python -m pytest -q -m "not slow" --compiled \
	  $(PARALLEL) $(WHOLE) $(ARGS)

faults: $(VENV)/.dev ## Run the tests that kill, stop and cut off processes, the slow ones too
	@$(PYTEST) -q tests/faults $(ARGS)

lint: $(VENV)/.dev ## Check style and formatting
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet || { echo "not formatted; run: make fmt"; exit 1; }

fmt: $(VENV)/.dev ## Format the code and mend what can be mended
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format

types: $(VENV)/.dev ## Check types (tests/typing checks the API as users type it)
	@$(BIN)/mypy agentd cli/agentd_cli benchmarks

check: lint types test ## What CI runs

cov: $(VENV)/.dev ## Run the tests and tell which lines none of them reached
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -q -m "not slow" $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

wheel: $(WHEEL)/.made ## Build the source and a wheel for this Python, its hot modules compiled
	@ls $(BUILT)/*.whl

bench: $(VENV)/.dev $(WHEEL)/.made ## Measure, with the goals beside it (ARGS='--rows call,pipelined --passes 5 --long')
	@$(BIN)/python -m benchmarks run --python $(WHEEL)/bin/python $(ARGS)

bench-compare: $(VENV)/.dev $(WHEEL)/.made ## Measure this revision and another in turns (BASE=main ARGS='--rows call')
	@test -n "$(BASE)" || { echo "against which revision? make bench-compare BASE=main"; exit 2; }
	@$(BIN)/python -m benchmarks compare $(BASE) --python $(WHEEL)/bin/python $(ARGS)

bench-profile: $(VENV)/.dev ## Tell where a call's microseconds go (ARGS='--rows call,aio --seconds 10')
	@$(BIN)/python -m benchmarks profile $(ARGS)

bench-docs: $(VENV)/.dev ## Put results into docs/benchmarks.md (ARGS='--run FILE.json --peers FILE.json')
	@$(BIN)/python -m benchmarks docs $(ARGS)

clean: ## Remove .venv and all that was built
	@rm -rf $(VENV) $(WHEEL) dist build htmlcov .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- the virtual environment; each stamp is newer than pyproject.toml when it is up to date --------

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "$(PYTHON) was not found: install Python 3.11 or newer, or name one: make PYTHON=python3.12"; \
	  exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "agentd needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V 2>&1);" \
	       "name another: make PYTHON=python3.12"; \
	  exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) -V) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.made pyproject.toml
	@echo "Installing agentd ..."
	@$(PIP) install --editable .
	@$(COMPILE)
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml
	@echo "Installing agentd and the tools of the developers ..."
	@$(PIP) install --editable '.[dev]'
	@$(COMPILE)
	@touch $(VENV)/.run $@

# By way of the source distribution: what is compiled is left in a folder that goes away.
$(WHEEL)/.made: $(VENV)/.dev $(shell find agentd cli -name '*.py')
	@echo "Building the wheel (a minute or two) ..."
	@rm -rf $(BUILT) $(WHEEL) && mkdir -p $(BUILT)
	@HATCH_BUILD_HOOKS_ENABLE=1 $(BIN)/python -m build --outdir $(BUILT) > build/wheel.log 2>&1 \
	  || { tail -n 12 build/wheel.log | cut -c 1-300; exit 1; }
	@$(BIN)/python -m venv $(WHEEL)
	@$(WHEEL)/bin/python -m pip --quiet --disable-pip-version-check install "$$(ls $(BUILT)/*.whl)[dev]"
	@touch $@
