# bpfcrypto: `make` prints what there is.
#
# VENV     where the virtual environment lives        (make demo VENV=/tmp/venv)
# PYTHON   the interpreter to make it with            (make test PYTHON=python3.13)
# ARGS     options for the tool behind a target       (make test ARGS='-k capture')

VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.bpfcrypto
DEVELOPMENT := $(VENV)/.bpfcrypto-dev

.DEFAULT_GOAL := help
.PHONY: help setup demo test fuzz lint format bpf bench bench-link clean

help: ## print this
	@echo "bpfcrypto: BPF programs with crypto kfuncs, on any machine or on the real kernel"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(RUNTIME) ## make .venv with bpfcrypto in it (needs Python >= 3.11)

demo: $(RUNTIME) ## encrypt and decrypt a real capture, and compare: the main job
	@$(BIN)/python examples/demo.py $(ARGS)

test: $(DEVELOPMENT) ## run the tests; those that need bpf(2) are skipped where it is not to be had
	@$(BIN)/python -m pytest -q $(ARGS)

fuzz: $(DEVELOPMENT) ## compare the verifiers on random programs for a minute (ARGS='--seconds 600'); needs bpf(2)
	@$(BIN)/python tools/fuzz_verifier.py $(ARGS)

lint: $(DEVELOPMENT) ## formatting, lint, types, layers
	@$(BIN)/ruff format --check --quiet . || { echo "hint: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(DEVELOPMENT) ## let ruff format the tree and fix what it can
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

bpf: $(DEVELOPMENT) ## rebuild every committed BPF object with the pinned compiler
	@$(BIN)/python tools/build_objects.py $(ARGS)

bench: $(DEVELOPMENT) ## measure, and print one table
	@$(BIN)/python -m bench $(ARGS)

bench-link: $(DEVELOPMENT) ## measure ESP between two network namespaces; needs root
	@$(BIN)/python -m bench.link $(ARGS)

clean: ## remove what the targets above made
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis $(VENV)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME): pyproject.toml
	@sh tools/venv.sh "$(VENV)" . "$@"

$(DEVELOPMENT): pyproject.toml
	@sh tools/venv.sh "$(VENV)" '.[dev]' "$@" "$(RUNTIME)"
