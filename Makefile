# The verbs of the project. `make` alone prints them; PYTHON=... chooses the interpreter of a new environment.
BIN := .venv/bin
export PYTHON
.DEFAULT_GOAL := help
.PHONY: help run test check evaluate evaluate-full chaos bench docs lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

run: ## set up, build the graph on the embedded prices, serve until Ctrl-C
	@deploy/setup.sh runtime
	@$(BIN)/lakehouse up --stop-with-parent

test: ## set up and run the tests
	@deploy/setup.sh dev
	@$(BIN)/python -m pytest

check: ## lint, format, types, floors, style of the SQL
	@deploy/setup.sh dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/sqlfluff lint dbt_project/models

FEATURES = $(BIN)/lakehouse materialize --missing --select 'group:raw or group:market'
evaluate: ## forecast 2004 to 2022 year by year with every model, write docs/results.md (about 15 minutes, goes on after a stop)
	@deploy/setup.sh runtime
	@$(FEATURES)
	@$(BIN)/python -m ml.evaluation

evaluate-full: ## the same with rolling windows and networks of other seeds (an hour or more)
	@deploy/setup.sh runtime
	@$(FEATURES)
	@$(BIN)/python -m ml.evaluation --full

chaos: ## kill -9 ingestion and materialisation 50 times (ROUNDS="--rounds 10 --seed 1"), compare the lakes
	@deploy/setup.sh dev
	@$(BIN)/python -m tests.chaos $(ROUNDS)

bench: ## measure what the project promises (WHAT=indicators, serving or spark for the long ones)
	@deploy/setup.sh dev
	@$(BIN)/python -m benchmarks $(WHAT)

docs: ## write the pages that are made from code
	@deploy/setup.sh runtime
	@$(BIN)/python docs/generate.py

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-header --no-annotate pyproject.toml
lock: ## bring the lock files in line with pyproject.toml (UPGRADE=--upgrade for the newest versions)
	@deploy/setup.sh dev
	@$(COMPILE) $(UPGRADE) --output-file requirements.lock
	@$(COMPILE) $(UPGRADE) --extra dev --constraints requirements.lock --output-file requirements-dev.lock

clean: ## remove the environment and every cache; your lake in .lakehouse stays
	@rm -rf .venv setup.log build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@rm -rf dbt_project/target dbt_project/logs logs
	@find . -path ./.lakehouse -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
