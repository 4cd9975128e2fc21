# Two commands for a stranger: `make demo` and `make test`. Each makes its own .venv and installs what it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
OUTPUT ?= demo-output

.DEFAULT_GOAL := help
.PHONY: help demo test lint format clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: $(VENV)/.installed ## Pretrain, fine-tune and score on real data, then write a report (CPU, about two minutes)
	@$(BIN)/genomix demo --output $(OUTPUT)

test: $(VENV)/.installed-dev ## Run the tests
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --quiet

lint: $(VENV)/.installed-dev ## Check style, types and the layer contract
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## Format the code and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## Remove the environment and everything that was made
	rm -rf $(VENV) demo-output dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "genomix needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 demo")'
	@echo "making $(VENV) ..." >&2
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing genomix ..." >&2
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing what the tests need ..." >&2
	@$(PIP) --editable '.[dev]'
	@touch $@
