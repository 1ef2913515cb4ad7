# Every target sets up what it needs: Python 3.11 and make are enough.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
READY  := $(VENV)/.ready
ARGS   ?=

# Tests and stacks start hundreds of Python processes, and each would compile everything that it imports.
unexport PYTHONDONTWRITEBYTECODE
# Each would also look through all that is installed for plugins of pydantic's, of which there are none.
export PYDANTIC_DISABLE_PLUGINS := __all__

.PHONY: setup demo dev docs test test-long check schemas bench clean images image-trial compose-env pins audit sbom manifests manifests-diff

setup: $(READY)

$(READY): pyproject.toml uv.lock
	@command -v $(PYTHON) >/dev/null || { echo "sagahook needs Python 3.11: install it, or say which with PYTHON=/path/to/python"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --no-deps --only-binary :all: --require-hashes -r deploy/docker/builder.txt
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) sync --quiet --locked --all-extras --inexact
	@touch $@

demo: setup ## the whole way in four scenes, on real Kafka and PostgreSQL
	@$(BIN)/sagahook demo $(ARGS)

dev: setup ## the stack on this machine, with the orders example unless ARGS say otherwise
	@$(BIN)/sagahook dev $(ARGS)

# Most tests wait for Kafka most of the time: three processes, each with a broker and a database of its own, share the files.
TOGETHER := --numprocesses 3 --dist loadfile --no-loadscope-reorder

# What fails beside two others on two busy cores may only have been starved: it is run once more, by itself. One that fails
# again is broken, and one that does not is named, to be mended: it rests on the clock.
test: setup ## the tests, on real Kafka and PostgreSQL
	@$(BIN)/pytest $(TOGETHER) -m "not long" $(ARGS); code=$$?; test $$code -eq 1 || exit $$code; \
		echo "What failed is run once more, by itself:"; $(BIN)/pytest -m "not long" --last-failed --maxfail 1 -v

test-long: setup ## those that take long, in ten minutes more
	@$(BIN)/pytest $(TOGETHER) -m long $(ARGS)

check: setup ## style, types, import directions, schema drift, breaking changes, links of the docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sagahook schemas check
	$(BIN)/sphinx-build $(DOCS) -b dummy . build/docs-check
	$(BIN)/python -m deploy.monitoring check
	$(BIN)/hadolint deploy/docker/Dockerfile deploy/docker/your-sagas/Dockerfile
	$(BIN)/python -m deploy.supply.audit --where-reachable

# A link that leads nowhere, and a page that docs/index.md does not list, are errors.
DOCS := --quiet --fresh-env --nitpicky --fail-on-warning --keep-going --conf-dir docs --doctree-dir build/doctrees

docs: setup ## the docs as a site, in build/site
	@$(BIN)/sphinx-build $(DOCS) -j 2 . build/site
	@echo "build/site/index.html"

schemas: setup ## write what is generated: schemas, references, dashboards
	$(BIN)/sagahook schemas write
	$(BIN)/python -m deploy.monitoring write

manifests: setup ## write what is generated and rendered of deploy/k8s, and check it
	$(BIN)/python -m deploy.checks write
	$(BIN)/python -m deploy.checks

SINCE ?= HEAD

manifests-diff: setup ## what has changed for each overlay, object by object, since a revision: SINCE=main
	@$(BIN)/python -m deploy.checks diff $(SINCE)

bench: setup ## the figures of docs/performance.md, in one run
	$(BIN)/python -m bench $(ARGS)

BUILDER ?= docker
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

images: ## every image, by docker or another BUILDER
	for target in ingest saga-runner tracker notifier cli; do \
		$(BUILDER) build -f deploy/docker/Dockerfile --target $$target -t sagahook/$$target:$(VERSION) \
			--build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) $(ARGS) . || exit 1; \
	done

image-trial: setup ## build them by Debian's buildah, as root, and carry a webhook through what was built
	$(BIN)/python -m deploy.trial $(ARGS)

compose-env: ## secrets and keys for compose.yaml, once
	@$(PYTHON) deploy/docker/compose_env.py

pins: setup ## the digests of images as their tags are today
	$(BIN)/python -m deploy.supply.pins $(ARGS)

audit: setup ## is a vulnerability known in anything that uv.lock names?
	$(BIN)/python -m deploy.supply.audit

sbom: setup ## what the images have of Python, as CycloneDX
	$(BIN)/python -m deploy.supply.sbom $(ARGS)

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
