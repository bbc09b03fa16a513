# Two commands need nothing but Python 3.11 or later, git and make: `make demo` and `make test`. `make e2e` needs more.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
TOOLS := .venv/tools
AIRFLOW := 3.3.2

# The checks of `make test`, four at a time, the longest first; those of complete Airflows mostly wait.
CHECKS := check-system-3 check-coverage check-airflow-2 check-airflow-3 check-system-2 check-rest check-lowest
E2E := check-e2e-3 check-e2e-2 check-e2e-alone
# The same tests on the other Pythons of this machine.
PYTHONS := check-python-3.12 check-python-3.13
INSTALL := $(TOOLS)/bin/nox --install-only -s
LOG_OF_INSTALL = > .venv/install-$@.log 2>&1 || { cat .venv/install-$@.log; exit 1; }
IN_PARALLEL := $(MAKE) --no-print-directory --jobs=4 --keep-going --output-sync=target

.PHONY: help demo test test-pythons e2e bench bench-mapped lint docs dist clean $(CHECKS) $(E2E) $(PYTHONS)
.DEFAULT_GOAL := help

help: ## show this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

demo: .venv/demo/.ready ## run a DAG that tags a project of the local Paperspace (no account needed)
	@.venv/demo/bin/python tests/demo.py

test: $(TOOLS)/.ready ## run every check: lint, types, tests on both Airflow lines, package, docs
	@echo "Installing Airflow and the test tools..."
	@$(INSTALL) tests lowest $(LOG_OF_INSTALL)
	@echo "Running $(words $(CHECKS)) groups of checks, four at a time. The output of each follows when it ends."
	@$(IN_PARALLEL) $(CHECKS)

test-pythons: $(TOOLS)/.ready ## run the tests on Python 3.12 and 3.13 as well
	@$(INSTALL) pythons --no-error-on-missing-interpreters $(LOG_OF_INSTALL)
	@$(IN_PARALLEL) $(PYTHONS)

# -R: the environments are installed already, one after the other, because two builds at once would disturb each other.
check-coverage:
	@$(TOOLS)/bin/nox -R -s coverage

check-airflow-3:
	@$(TOOLS)/bin/nox -R -s uncovered

check-airflow-2:
	@$(TOOLS)/bin/nox -R -s "tests(airflow='2.11.2')"

check-system-3:
	@$(TOOLS)/bin/nox -R -s "tests(airflow='3.3.2')" -- tests/system

check-system-2:
	@$(TOOLS)/bin/nox -R -s "tests(airflow='2.11.2')" -- tests/system

check-lowest:
	@$(TOOLS)/bin/nox -R -s lowest

check-rest:
	@$(TOOLS)/bin/nox -s lint types package docs

check-e2e-3:
	@$(TOOLS)/bin/nox -R -s "e2e(airflow='3.3.2')"

check-e2e-2:
	@$(TOOLS)/bin/nox -R -s "e2e(airflow='2.11.2')"

# Tests that start an Airflow of their own.
check-e2e-alone:
	@$(TOOLS)/bin/nox -R -s "e2e(airflow='3.3.2')" -- tests/e2e/alone

$(PYTHONS): check-python-%:
	@$(TOOLS)/bin/nox --no-error-on-missing-interpreters -R -s pythons-$*

e2e: dist ## run the wheel in a complete Airflow with PostgreSQL, Redis and Celery (needs Debian packages)
	@echo "Installing the wheel beside both Airflows..."
	@$(INSTALL) e2e $(LOG_OF_INSTALL)
	@$(IN_PARALLEL) $(E2E)

bench: .venv/bench/.ready ## measure requests, time, memory and import cost
	@.venv/bench/bin/python -m tests.bench

bench-mapped: dist ## measure mapped tasks in the Airflow of make e2e
	@$(TOOLS)/bin/nox -s "e2e(airflow='$(AIRFLOW)')" -- --measure

lint: $(TOOLS)/.ready ## run ruff, the import contracts and mypy
	@$(TOOLS)/bin/nox -s lint types

docs: $(TOOLS)/.ready ## build the documentation in docs/_build, and check its links
	@$(TOOLS)/bin/nox -s docs

dist: $(TOOLS)/.ready ## build the sdist and the wheel in dist/, twice, and check that both builds are equal
	@$(TOOLS)/bin/nox -s distributions

clean: ## remove everything that was made here
	@rm -rf .venv .nox .demo .bench .hypothesis .*_cache .coverage* *.egg-info docs/_build docs/reference/python dist build
	@find . -name __pycache__ -prune -exec rm -rf {} +

$(TOOLS)/.ready:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed, and no python3 is on the PATH." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or later is needed; $(PYTHON) is $$($(PYTHON) -V). Set PYTHON=/path/to/python3.11." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module. On Debian and Ubuntu: apt-get install python3-venv." >&2; exit 1; }
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
