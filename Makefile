# `make help` lists what there is. PYTHON=python3.12 picks another interpreter.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: help setup demo test check bench clean

help: ## List the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup: ## Install everything into .venv (once: minutes; again: seconds)
	@$(PYTHON) scripts/bootstrap.py

demo: setup ## Real flights: raw tables to champion, scores and drift
	@$(BIN)/python scripts/demo.py

test: setup ## All checks and all tests
	@$(MAKE) --no-print-directory check
	@$(BIN)/python scripts/run_tests.py

check: setup ## Format, lint, types, import fences, by pre-commit
	@SKIP=unit $(BIN)/pre-commit run --all-files

bench: setup ## Benchmarks; their results go to docs/benchmarks.md
	@$(BIN)/python scripts/bench/year.py

clean: ## Remove what demo and tests made; .venv and the caches stay
	@rm -rf data build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
