# Every target sets up .venv by itself and is quick when nothing has changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help setup demo test chaos storm soak fuzz fidelity redteam chart docs-check lint format schemas bench lock clean
.DEFAULT_GOAL := help

help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(INSTALLED) ## Install everything, pinned by hash, into .venv

# --no-deps: the lock is complete, and overrides one bound of faust-streaming (see pyproject.toml) that pip would insist on.
$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing 5 GB into $(VENV), without a word: three minutes, longer on a slow disk or network"
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: $(INSTALLED) ## The main job: a real Kafka, two workers, sample events (DEMO='--keep' leaves it running)
	$(BIN)/moderation-worker demo $(DEMO)

# Tests run in so many processes, each with a Kafka of its own: they wait a third of their time, so three keep two cores
# busy. JOBS=0 runs them in one.
JOBS ?= 3
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test: $(INSTALLED) ## All tests, quick ones first, on a real Kafka (TEST='-m "not kafka"' leaves some out)
	$(BIN)/moderation-worker schemas --check
	$(BIN)/python -m deploy.tools
	$(PYTEST) -m "not chaos and not docs" $(TEST)

chaos: $(INSTALLED) ## The tests that kill and restart workers many times (minutes)
	$(PYTEST) -m chaos $(TEST)

SEED ?= 1
EVENTS ?= 100000
storm: $(INSTALLED) ## Kills, stops, joins, broker bounces, poison; then the books (SEED=1 EVENTS=100000; some ten minutes)
	$(BIN)/python -m tests.chaos --seed $(SEED) --events $(EVENTS)

MINUTES ?= 60
soak: $(INSTALLED) ## One worker at 300 events/s for a long time: memory, lag, losses (MINUTES=60)
	$(BIN)/python -m tests.chaos.soak --minutes $(MINUTES)

fidelity: $(INSTALLED) ## 1,400 prompts against the release's own code: labels, categories, scores (minutes)
	$(BIN)/python -m pytest tests/guards/llama_guard/test_fidelity.py --fidelity=full

RECORDS ?= 10000
fuzz: $(INSTALLED) ## Fuzzed records, each with exactly one outcome (RECORDS=10000 SEED=1)
	$(BIN)/python -m pytest tests/fuzz --fuzz-records=$(RECORDS) --fuzz-seed=$(SEED)

redteam: $(INSTALLED) ## The bypass suite: structural attacks as data, and what must become of each (seconds)
	$(BIN)/python -m pytest tests/redteam

chart: $(INSTALLED) ## Image, compose file, chart, alerts: linters, schemas, tests (fetches helm, promtool ... into .tools/)
	$(BIN)/python -m deploy.tools
	$(BIN)/python -m pytest tests/deploy $(TEST)

docs-check: $(INSTALLED) ## The pages: links, commands (those that can run are run), blocks, names (a minute or two)
	$(BIN)/moderation-worker schemas --check
	$(BIN)/python -m pytest tests/docs $(TEST)

lint: $(INSTALLED) ## ruff, mypy --strict, import floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(INSTALLED) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: $(INSTALLED) ## Generate what is generated: schemas/, docs, the chart's schema, the dashboard
	$(BIN)/moderation-worker schemas
	$(BIN)/python -m deploy.values_schema
	$(BIN)/python -m deploy.dashboard
	$(BIN)/python -m tests.redteam.page

bench: $(INSTALLED) ## Measure this machine: the guard engine and the stream, each against what it replaces
	$(BIN)/moderation-worker bench guards
	$(BIN)/moderation-worker bench device-busy
	$(BIN)/moderation-worker bench stream
	$(BIN)/moderation-worker bench tenants

lock: $(INSTALLED) ## Compile requirements.lock from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --quiet --output-file requirements.lock

clean: ## Remove everything that was made
	rm -rf examples/go/build examples/java/target
	rm -rf $(VENV) .tools build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
