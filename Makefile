# Every check has one definition here; .ci/run and people call the same targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
STUDY ?= studies/fashion_mnist.toml
NAME ?= fashion-mnist
TO ?= exports/
BENCH ?=
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The oldest torch that pyproject.toml allows.
OLDEST := .venv-oldest
OLDEST_TORCH := torch==2.11.0
# Stealing keeps tests of one file together, so that what they share is made once.
PARALLEL := -n logical --maxprocesses 8 --dist worksteal
# Tests that run side by side, and the processes that they start, have one core each.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help setup study evaluate export honesty book bench tables gpu dashboard postgres postgres-stop test test-oldest test-slow test-browser test-wheel check \
	lint types imports format lock docs outputs clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(READY) ## Make .venv and install from requirements.lock

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Makefile: Python must be 3.11 or newer, but got $$($(PYTHON) --version 2>&1). Say make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(READY): requirements.lock pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

study: $(READY) ## Run a study: make study STUDY=studies/digits.toml
	$(BIN)/selection run $(STUDY)

evaluate: $(READY) ## Open a study's held-out set, once: make evaluate NAME=digits
	$(BIN)/selection evaluate $(NAME)

export: $(READY) ## Export a study's winner: make export NAME=digits TO=digits/
	$(BIN)/selection export $(NAME) --to $(TO)

docs: $(READY) ## Rewrite the parts of docs/ that follow from the code
	$(BIN)/python docs/generate.py

outputs: $(READY) ## Rewrite the terminal output shown in README and the tutorial
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python docs/outputs.py

honesty: $(READY) ## Rewrite docs/honesty.md: reported scores beside known truths; takes half an hour
	$(BIN)/python -m benchmarks.honesty > docs/honesty.md.new
	@mv docs/honesty.md.new docs/honesty.md

book: $(READY) ## Rewrite docs/book.md: the book's figures beside ours
	$(BIN)/python -m benchmarks.book > docs/book.md.new
	@mv docs/book.md.new docs/book.md

bench: $(READY) ## Rewrite docs/benchmarks.md; takes half an hour; BENCH=--quick for a short run
	@cat benchmarks/intro.md > docs/benchmarks.md.new
	@for name in peers_table where_time_goes recipe_cost many_cores precision quality samplers sweep_cost bookkeeping workers stored_bytes scale scale_driver startup pages; do \
		$(BIN)/python -m benchmarks.$$name $(BENCH) >> docs/benchmarks.md.new || exit 1; \
	done
	@mv docs/benchmarks.md.new docs/benchmarks.md

tables: $(READY) ## Measure recipes on public tables and rewrite docs/tables.md; takes many hours
	$(BIN)/python -m benchmarks.tables --page docs/tables.md

gpu: $(READY) ## Benchmark a CUDA device and rewrite docs/gpu.md
	$(BIN)/python -m benchmarks.gpu > docs/gpu.md.new || { test -s docs/gpu.md.new || rm docs/gpu.md.new; exit 1; }
	@mv docs/gpu.md.new docs/gpu.md

postgres: $(READY) ## Start a PostgreSQL server in data/postgres and print how to use it
	@$(BIN)/python -m tests.postgres_server start data/postgres

postgres-stop: $(READY) ## Stop it; its data stays
	@$(BIN)/python -m tests.postgres_server stop data/postgres

test: $(READY) ## Run the test suite, on all cores
	$(PYTEST) $(PARALLEL)

# tests/conftest.py needs packages that this environment does not have.
test-oldest: $(OLDEST)/.ready ## Run tests/train on the oldest supported torch
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest --confcutdir tests/train tests/train $(PARALLEL)

$(OLDEST)/.ready: pyproject.toml | $(BIN)/uv
	$(BIN)/uv venv --quiet --clear --python $(PYTHON) $(OLDEST)
	$(BIN)/uv pip install --quiet --python $(OLDEST)/bin/python $(OLDEST_TORCH) --editable . \
		pytest pytest-xdist hypothesis
	@touch $@

test-slow: $(READY) ## Run the tests marked slow, on all cores
	$(PYTEST) -m slow $(PARALLEL)

test-browser: $(READY) ## Run the tests in a real browser; installs Chromium where it can
	$(BIN)/python -m tests.browser
	$(BIN)/python -m pytest -m browser -rs

test-wheel: $(READY) ## Build the wheel and use it in a fresh environment and an empty folder
	.ci/wheel

dashboard: $(READY) ## Serve Optuna Dashboard and our pages on this machine
	$(BIN)/selection serve

check: lint types imports ## Lint, types and import contracts

lint: $(READY) ## Check format and style with ruff
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY) ## Check types with mypy
	$(BIN)/mypy

imports: $(READY) ## Check the import contracts
	$(BIN)/lint-imports

format: $(READY) ## Rewrite files in ruff's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: | $(BIN)/uv ## Rewrite requirements.lock to the newest versions allowed
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --group dev \
		--generate-hashes --no-header --no-annotate --no-emit-index-url \
		pyproject.toml --output-file requirements.lock

clean: ## Remove .venv and caches; databases and data stay
	rm -rf $(VENV) $(OLDEST) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
