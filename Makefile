# The doors of plusx. `make demo` and `make test` do all set-up themselves: Python 3.11, git and make are all they need.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
RUNS ?= runs
DATA ?=
MINUTES ?= 60

.PHONY: help setup demo check test test-all golden bench bench-long torture clean

help: ## Say what each door does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1" --constraint constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable .
	@touch $@

setup: $(STAMP) ## Make the virtual environment with everything pinned

demo: $(STAMP) ## Train a residual network on real handwritten digits and open up what it did
	$(BIN)/plusx train digits --out $(RUNS)

check: $(STAMP) ## Style, types, the import contract, the shape of the code
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest --quiet tests/test_code_shape.py

test: $(STAMP) ## The default tests, with branch coverage
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term:skip-covered

test-all: $(STAMP) ## Also the slow ones and those over the big data sets (PLUSX_TEST_DATA names their folder)
	$(BIN)/python -m pytest -m "not gpu"

golden: $(STAMP) ## Recompute parameters and multiply-adds of every architecture
	$(BIN)/python -m plusx.evaluation.complexity

bench: $(STAMP) ## Run the benchmarks of minutes, 30 in all, or an hour with DATA=the folder of data sets; fill the README
	$(BIN)/python benchmarks/suite.py --data-root "$(DATA)" --fastai $(VENV)/fastai

bench-long: $(STAMP) ## Run the long ones, three hours: accuracy, time to accuracy, the tutorial, the paper (DATA=folder)
	$(BIN)/python benchmarks/suite.py --data-root "$(DATA)" --runs $(RUNS) --long

torture: $(STAMP) ## Kill runs, fail their disk, damage their states for MINUTES (60), and compare what they come to
	$(BIN)/python benchmarks/torture.py --minutes $(MINUTES)

clean: ## Remove the environment and caches
	rm -rf $(VENV) build dist .import_linter_cache .pytest_cache .ruff_cache .hypothesis .coverage* htmlcov
