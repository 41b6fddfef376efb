PYTHON ?= python3
BIN := .venv/bin
# What a process compiles, the next one reads.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test lint types layers doctests tests slow docs bench clean

setup: .venv/ready

.venv/ready: PACKAGE := .[dev]
.venv/demo: PACKAGE := .
.venv/ready .venv/demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable "$(PACKAGE)"
	# pip compiles with one core. Libraries hold templates that no Python compiles, and tests that nobody imports.
	$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true
	touch $@

demo: .venv/demo
	$(BIN)/python examples/quickstart.py

# The types are checked on one core while the tests begin on the other.
test: setup
	$(MAKE) --jobs 2 lint types layers doctests tests

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports

doctests: setup
	$(BIN)/python -m pytest --doctest-modules src

tests: setup
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder -m "not slow"

slow: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m slow

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .paribus runs figures
