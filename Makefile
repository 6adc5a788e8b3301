PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
BENCH := .venv/bench

.PHONY: demo test matrix fuzz lint lint-page docs bench clean

demo: $(READY)
	$(BIN)/python examples/ioi_demo.py

test: $(READY) lint
	$(BIN)/python -m pytest -n 2

# Every row of the matrix, of which `make test` trains a few; what it found goes into docs/guarantees.md.
matrix: $(READY)
	$(BIN)/python -m tests.matrix.run
	$(BIN)/python -m pytest -n 2 -m matrix tests/matrix

# Odd pairs, records, checkpoints, names, commands, schedules and requests, of which `make test` tries a few.
fuzz: $(READY)
	$(BIN)/python -m pytest -n 2 --hypothesis-profile=fuzz --hypothesis-seed=0 tests/fuzz tests/fuzz/every_checkpoint.py

lint: $(READY) lint-page
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The page's scripts. Nobody needs node to use the page; CI has it, so that they are always checked there.
lint-page:
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory node_modules/ready && npm run --silent lint; \
	elif test -n "$$CI"; then echo "CI checks the page's scripts and found no npm on PATH: install it"; exit 1; \
	else echo "no npm on PATH: the page's scripts are not checked"; fi

node_modules/ready: package.json package-lock.json .npmrc
	npm ci --silent
	touch $@

# Strict: a warning is an error, and so is a cell of the walkthrough that fails.
docs: $(READY)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(BENCH)/ready
	$(BENCH)/bin/python -m benchmarks.run
	$(BENCH)/bin/python -m benchmarks.estimates.tables
	$(BENCH)/bin/python -m benchmarks.estimates.run
	$(BENCH)/bin/python -m benchmarks.estimates.clock

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
	rm -rf .venv node_modules
