# Everything a newcomer or CI does with fob. `make help` lists it.
# PYTHON makes the virtual environment .venv, once; after that nothing here needs the network.

PYTHON ?= python3
BIN := .venv/bin
# one more than there are processors: a third of the time the tests wait and use none
WORKERS := --numprocesses=$$(($$(nproc) + 1)) --maxprocesses=4 --dist=loadfile
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install

.PHONY: help demo test test-all run lint bench bench-peers bench-report runner clean
.DELETE_ON_ERROR:

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /make \1	/p' Makefile

demo: .venv/runtime  ## from a file to an endpoint, every HTTP exchange shown; leaves nothing behind
	@$(BIN)/python -m fob.cli.demo py_example.py

test: .venv/development  ## the tests, side by side, in four minutes (make test PYTEST='-k marathon' for some)
	@$(BIN)/python -m pytest $(WORKERS) -m 'not slow and not docker' $(PYTEST)

test-all: .venv/development  ## every test, and every server started as users start it; Docker wanted
	@$(BIN)/python -m pytest $(WORKERS) --executed $(PYTEST)

run: .venv/runtime  ## the service in the foreground, on http://127.0.0.1:9999
	@exec $(BIN)/python -m fob serve

lint: .venv/development  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/runtime  ## measure fob: starts, calls, up to 1,000 functions, in 3 minutes; writes bench/results/
	@$(BIN)/python -m bench.run alone $(BENCH)

bench-peers: .venv/runtime  ## measure fob beside what else there is, which it installs, and 10,000 functions at rest; 15 minutes
	@$(BIN)/python -m bench.run peers $(BENCH)

bench-report: .venv/runtime bench/.peers/report/installed  ## tables and plots from bench/results/
	@$(BIN)/python -m bench.report
	@PYTHONPATH=service bench/.peers/report/bin/python -m bench.plots

runner: .venv/runtime  ## link and pack what travels with a function, after changing service/fob/runner
	@$(BIN)/python -m fob.runner.linker.packing

clean:  ## remove the virtual environment and every cache
	rm -rf .venv bench/.peers build service/*.egg-info .pytest_cache .mypy_cache .ruff_cache
	find service tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: set-up is done again only when what it read has changed.
.venv/runtime: .venv/made pyproject.toml service/requirements.txt
	@echo "installing fob into .venv ..."
	@$(PIP) --editable .
	@touch $@

.venv/development: .venv/runtime requirements.txt
	@echo "installing the test and lint packages into .venv ..."
	@$(PIP) --requirement requirements.txt
	@touch $@

bench/.peers/report/installed: .venv/made bench/requirements.txt
	@echo "installing the packages for plots into bench/.peers/report ..."
	@$(PYTHON) -m venv --clear bench/.peers/report
	@bench/.peers/report/bin/python -m pip --quiet --disable-pip-version-check install --requirement bench/requirements.txt
	@touch $@

.venv/made:
	@$(PYTHON) -c '' 2>/dev/null || { \
	  echo "fob needs Python 3.11 or newer, and '$(PYTHON)' does not run. Install it, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "fob needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name a newer one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments: its venv module is missing (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv
	@touch $@
