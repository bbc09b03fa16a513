# Two commands need nothing but Python 3.11 or later, git and make: `make demo` and `make test`.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
TOOLS := .venv/tools
AIRFLOW := 3.3.2

.PHONY: help demo test bench lint docs clean
.DEFAULT_GOAL := help

help: ## show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: .venv/demo/.ready ## run a DAG that tags a project of the local Paperspace (no account needed)
	@.venv/demo/bin/python tests/demo.py

test: $(TOOLS)/.ready ## run every check: lint, types, tests on both Airflow lines, package
	@$(TOOLS)/bin/nox

bench: .venv/bench/.ready ## measure requests, time, memory and import cost
	@.venv/bench/bin/python -m tests.bench

lint: $(TOOLS)/.ready ## run ruff, the import contracts and mypy
	@$(TOOLS)/bin/nox -s lint types

docs: $(TOOLS)/.ready ## build the documentation in docs/_build
	@$(TOOLS)/bin/nox -s docs

clean: ## remove all that was made here
	@rm -rf .venv .nox .demo .bench docs/_build dist build

$(TOOLS)/.ready:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed, and no python3 is on the PATH." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or later is needed; $(PYTHON) is $$($(PYTHON) -V). Set PYTHON=/path/to/python3.11." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) lacks the venv module. On Debian and Ubuntu: apt-get install python3-venv." >&2; exit 1; }
	@echo "Setting up the tools in .venv (once)..."
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check nox uv
	@touch $@

.venv/demo/.ready: $(TOOLS)/.ready setup.cfg
	@echo "Installing Airflow $(AIRFLOW) into .venv/demo (once)..."
	@$(TOOLS)/bin/uv venv --quiet --allow-existing --python $(TOOLS)/bin/python .venv/demo
	@$(TOOLS)/bin/uv pip install --quiet --python .venv/demo/bin/python "apache-airflow==$(AIRFLOW)" -e ".[emulator]"
	@touch $@

.venv/bench/.ready: $(TOOLS)/.ready setup.cfg
	@echo "Installing Airflow $(AIRFLOW) into .venv/bench (once)..."
	@$(TOOLS)/bin/uv venv --quiet --allow-existing --python $(TOOLS)/bin/python .venv/bench
	@$(TOOLS)/bin/uv pip install --quiet --python .venv/bench/bin/python "apache-airflow==$(AIRFLOW)" -e ".[emulator]" \
	  apache-airflow-providers-http apache-airflow-providers-dbt-cloud
	@touch $@
