# Everything a clone needs: `make study`, `make test`, `make check`. `make help` lists the targets and their settings.
TABLE  ?= diabetes
TARGET ?= target
BUDGET ?= 90s
OUT    ?= runs/$(TABLE)
JOBS   ?= 2
BENCH  ?= tables.py run --smoke
ARGS   ?=
TORCH  ?=
PIP_OPTIONS ?=

VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/.stamps
LOWEST := build/lowest
PINS   := pyproject.toml constraints.txt
NATIVE := setup.py $(wildcard poise/kernels/*.[ch])
# -qq: errors only; pip warns of every index that lacks a package
PIP    := -m pip install -qq --disable-pip-version-check $(PIP_OPTIONS)
PYTEST := $(BIN)/python -m pytest -q

# The lab's pages are tested in Debian's Chromium; those tests skip where it is not, so its lack is said, not an error.
CHROMIUM := command -v chromium > /dev/null || command -v chromium-browser > /dev/null || \
	sh tools/system_packages.sh chromium || echo "Without Chromium the browser tests of the lab skip."

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help study test test-all test-lowest mutants check bench clean install install-dev

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "Settings: TABLE=$(TABLE) TARGET=$(TARGET) BUDGET=$(BUDGET) OUT=$(OUT) (study), JOBS=$(JOBS) ARGS='-k name' (tests),"
	@echo "          BENCH='$(BENCH)' (bench), PYTHON=python3.12 (which Python, >= 3.11), PIP_OPTIONS (more options for pip install)"

study: install  ## the demo: search a recipe for one table, report in OUT
	@echo "== poise study $(TABLE): $(BUDGET), report in $(OUT)"
	@$(BIN)/poise study $(TABLE) --target $(TARGET) --budget $(BUDGET) --out $(OUT) --force

test: install-dev  ## the tests, without the campaigns
	@echo "== pytest -m 'not campaign'"
	@$(PYTEST) -n $(JOBS) -m "not campaign" $(ARGS)

test-all: install-dev  ## the tests with the campaigns (minutes)
	@echo "== pytest"
	@$(PYTEST) -n $(JOBS) $(ARGS)

check: install-dev  ## format, lint, types, imports, documents
	@echo "== ruff format --check"; $(BIN)/ruff format --check .
	@echo "== ruff check"; $(BIN)/ruff check --quiet .
	@echo "== mypy --strict poise"; $(BIN)/mypy
	@echo "== lint-imports"; $(BIN)/lint-imports --no-logo
	@echo "== documents: links, file lengths, paths"; $(PYTEST) tests/docs/test_links.py tests/docs/test_files.py

mutants: install-dev  ## seed silent defects, one at a time: the tests must notice each (ARGS: words of their names)
	@echo "== tools/mutants.py"
	@$(BIN)/python tools/mutants.py $(ARGS)

bench: install-dev  ## the comparison with the rivals (BENCH: which script of benchmarks/, and how)
	@echo "== benchmarks/$(BENCH)"
	@$(BIN)/python benchmarks/$(BENCH)

clean:  ## caches and builds (.venv and runs/ stay)
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name .git -prune -o -path ./$(VENV) -prune -o -type d -name __pycache__ -exec rm -rf {} +

install: $(STAMPS)/study
install-dev: $(STAMPS)/dev

# torch goes first and pinned: a plain `torch` may bring the CUDA build.
$(STAMPS)/torch: $(PINS)
	@[ -x $(BIN)/python ] || { echo "== create $(VENV)"; sh tools/make_venv.sh $(VENV); }
	@echo "== install torch"; $(BIN)/python $(PIP) -c constraints.txt setuptools torch
	@mkdir -p $(STAMPS) && touch $@

# The venv's own setuptools builds (--no-build-isolation), so nothing unpinned is fetched.
$(STAMPS)/study: $(STAMPS)/torch $(NATIVE)
	@echo "== install poise[study]"; $(BIN)/python $(PIP) -c constraints.txt --no-build-isolation -e ".[study]"
	@touch $@

$(STAMPS)/dev: $(STAMPS)/study
	@echo "== install poise[dev]"; $(BIN)/python $(PIP) -c constraints.txt --no-build-isolation -e ".[dev]"
	@$(CHROMIUM)
	@! command -v npm >/dev/null || { echo "== npm ci in web"; npm ci --prefix web --silent --no-audit --no-fund </dev/null \
		|| echo "npm ci failed: the tests that rebuild the lab's page are skipped"; }
	@touch $@

test-lowest: install-dev  ## the tests with the lowest versions pyproject.toml allows (but today's torch, or TORCH=2.10.0)
	@echo "== create $(LOWEST)"; rm -rf $(LOWEST); PYTHON="$(abspath $(BIN)/python)" sh tools/make_venv.sh $(LOWEST)
	@$(BIN)/python tools/lowest_versions.py $(TORCH) > $(LOWEST)/constraints.txt
	@echo "== install the lowest versions"; $(LOWEST)/bin/python $(PIP) -c $(LOWEST)/constraints.txt setuptools torch
	@$(LOWEST)/bin/python $(PIP) -c $(LOWEST)/constraints.txt --no-build-isolation -e ".[all]" \
		hypothesis pytest pytest-xdist scipy
	@echo "== pytest"; $(LOWEST)/bin/python -m pytest -q -n $(JOBS) -m "not campaign" $(ARGS)
