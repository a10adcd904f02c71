# OncoPixel PACS. `make demo` and `make test` do all set-up themselves.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# torch comes first and alone: a CPU build, or the CUDA build that your index serves.
TORCH ?= torch==2.13.0
DEMO_FLAGS ?=
GOLDEN := tests/end_to_end/test_golden_checklist.py
# Modules are compiled when they are first imported: most of what is installed never is, and to
# compile all of it takes longer than to install it.
export PIP_NO_COMPILE ?= 1
# Three test processes for two cores: many tests wait for a server, an archive or a disk.
BESIDE ?= --numprocesses $(shell $(PYTHON) -c 'import os; print(os.cpu_count() * 3 // 2)') --maxprocesses 8

.PHONY: demo test coverage check lint types layers docs licences image-locks release clean help

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

demo: $(VENV)/ready ## The whole loop on this machine, with a synthetic study
	@$(BIN)/oncopixel demo $(DEMO_FLAGS)

# The golden checklist looks at what the other tests built, so it has a turn of its own.
test: $(VENV)/ready-dev ## Every test; TESTS="tests/unit" or TESTS="-k word" runs some of them
	@export GOLDEN_COLLECTION=$$(mktemp -d); \
	trap 'rm -rf "$$GOLDEN_COLLECTION"' EXIT; \
	$(BIN)/python -m pytest $(BESIDE) --dist loadfile --no-loadscope-reorder -m "not golden" \
		$(PYTEST_FLAGS) $(TESTS) \
	$(if $(TESTS),,&& $(BIN)/python -m pytest $(BESIDE) --dist worksteal -m golden $(GOLDEN))

coverage: $(VENV)/ready-dev ## Every test, and which lines and branches of the product they run
	@$(BIN)/python -m pytest --cov --cov-report=term:skip-covered $(TESTS)

check: lint types layers ## Style, types and import rules

lint: $(VENV)/ready-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(VENV)/ready-dev
	@$(BIN)/mypy

layers: $(VENV)/ready-dev
	@$(BIN)/lint-imports

docs: $(VENV)/ready-docs ## Build the documentation into site/
	@$(BIN)/mkdocs build --strict --quiet

licences: $(VENV)/ready-release ## Write THIRD_PARTY_LICENSES.md anew
	@$(BIN)/python -m release.third_party

image-locks: $(VENV)/ready-release ## Write the digests that the images are built from anew
	@PATH=$(BIN):$$PATH $(BIN)/python -m release.image_locks

release: $(VENV)/ready-release ## Make a release in dist/, proven in a clean environment; PUBLISH=yes uploads it
	@$(BIN)/python -m release --torch "$(TORCH)" $(if $(PUBLISH),--publish)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "The virtual environment cannot be made; on Debian: apt install python3-venv"; exit 1; }

# Each stamp is newer than what it was made from, so set-up is done once.
$(VENV)/ready: requirements.lock requirements-build.lock pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) (once; a few minutes) ..."
	@$(BIN)/pip install --quiet "$(TORCH)" || \
		{ echo "torch could not be installed; check the network, or set TORCH to a wheel"; exit 1; }
	@$(BIN)/pip install --quiet -r requirements-build.lock -r requirements.lock || \
		{ echo "The locked dependencies could not be installed; check the network and try again"; exit 1; }
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/ready-dev: requirements-dev.lock $(VENV)/ready
	@$(BIN)/pip install --quiet -r requirements-dev.lock
	@touch $@

$(VENV)/ready-docs: requirements-docs.lock $(VENV)/ready
	@$(BIN)/pip install --quiet -r requirements-docs.lock
	@touch $@

$(VENV)/ready-release: requirements-release.lock $(VENV)/ready
	@$(BIN)/pip install --quiet -r requirements-release.lock
	@touch $@

clean: ## Remove the environment and everything a demonstration made
	rm -rf $(VENV) oncopixel-demo site dist build
