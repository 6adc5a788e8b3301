PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
BENCH := .venv/bench

.PHONY: demo test lint docs bench clean

demo: $(READY)
	$(BIN)/python examples/ioi_demo.py

test: $(READY) lint
	$(BIN)/python -m pytest -n 2

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Strict: a warning is an error, and so is a cell of the walkthrough that fails.
docs: $(READY)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build
	@echo "docs/_build/index.html"

bench: $(BENCH)/ready
	$(BENCH)/bin/python -m benchmarks.run

# Made once, and again only when the dependencies change.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "headwatch needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

# The other tools change what the tests would see, so they have an environment of their own.
$(BENCH)/ready: $(READY) benchmarks/requirements.txt
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e . -r benchmarks/requirements.txt
	touch $@

clean:
	rm -rf .venv
