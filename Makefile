PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test lint types layers tests slow docs bench clean

setup: .venv/ready

.venv/ready: PACKAGE := .[dev]
.venv/demo: PACKAGE := .
.venv/ready .venv/demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable "$(PACKAGE)"
	touch $@

demo: .venv/demo
	$(BIN)/python examples/quickstart.py

test: lint types layers tests

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports

tests: setup
	$(BIN)/python -m pytest --doctest-modules src
	$(BIN)/python -m pytest --numprocesses 3 --dist loadgroup -m "not slow"

slow: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup -m slow

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .paribus runs figures
