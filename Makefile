# Every target sets up what it needs: Python 3.11 and make are enough.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
READY  := $(VENV)/.ready
ARGS   ?=

# Tests and stacks start hundreds of Python processes, and each would compile everything that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo dev test test-long check schemas bench clean

setup: $(READY)

$(READY): pyproject.toml uv.lock
	@command -v $(PYTHON) >/dev/null || { echo "sagahook needs Python 3.11: install it, or say which with PYTHON=/path/to/python"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(UV) || $(BIN)/python -m pip install --quiet "uv>=0.9,<1"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) sync --quiet --locked --all-extras --inexact
	@touch $@

demo: setup ## the whole way in four scenes, on real Kafka and PostgreSQL
	@$(BIN)/sagahook demo $(ARGS)

dev: setup ## the stack on this machine, with the orders example unless ARGS say otherwise
	@$(BIN)/sagahook dev $(ARGS)

# Most tests wait for Kafka most of the time: three processes, each with a broker and a database of its own, share the files.
TOGETHER := --numprocesses 3 --dist loadfile --no-loadscope-reorder

test: setup ## the tests, on real Kafka and PostgreSQL
	@$(BIN)/pytest $(TOGETHER) -m "not long" $(ARGS)

test-long: setup ## those that take long, in ten minutes more
	@$(BIN)/pytest $(TOGETHER) -m long $(ARGS)

check: setup ## style, types, import directions, schema drift and breaking changes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sagahook schemas check

schemas: setup ## write the JSON Schemas from the models
	$(BIN)/sagahook schemas write

bench: setup ## the figures of docs/performance.md, in one run
	$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
