# StreamLake. `make` lists what there is; each target sets up what it needs and ends with its verdict.

PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,$(if $(shell $(p) -c 'import sys; print(sys.version_info >= (3, 11) or "")' 2>/dev/null),$(p))))
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet --no-input
PYTEST := $(BIN)/python -m pytest
SIDE_BY_SIDE := -n 2
AIRFLOW := .venv-airflow

.DEFAULT_GOAL := help
.PHONY: help demo demo-kafka test lint unit integration bench bench-http profile shapes torture torture-http memory simulate mutants airflow airflow-serve test-airflow lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[1mmake %-12s\033[0m %s\n", $$1, $$2}'

demo: $(VENV)/.demo  ## real flights through real processes, one killed, and the proof; nothing but Python needed
	@$(BIN)/python -m streamlake demo

demo-kafka: $(VENV)/.dev  ## the same on a real Kafka and a fake GCS, found or started
	@$(BIN)/python -m tests.services --kafka --gcs -- $(BIN)/python -m streamlake demo --as-set

test: $(VENV)/.dev  ## every test; on real Kafka and GCS API where they can be had
	@$(PYTEST) $(SIDE_BY_SIDE) tests && echo "test: passed"

unit: $(VENV)/.dev  ## only what needs no server
	@$(PYTEST) $(SIDE_BY_SIDE) tests/unit && echo "unit: passed"

integration: $(VENV)/.dev  ## only what runs on real Kafka, a real GCS API and real processes
	@$(PYTEST) tests/integration && echo "integration: passed"

SEED ?= 1
MINUTES ?= 1.5
BROKERS ?= 1
torture: $(VENV)/.dev  ## kill, freeze and starve real processes by SEED for MINUTES; also BROKERS=3, OUT=file
	@$(BIN)/python -m tests.torture --seed $(SEED) --minutes $(MINUTES) --brokers $(BROKERS) $(if $(OUT),--out $(OUT))

torture-http: $(VENV)/.dev  ## 100,000 events over HTTP while brokers die and freeze; every answer against the log; SEED=
	@$(BIN)/python -m tests.torture_http --seed $(SEED)

memory: MINUTES = 5
memory: $(VENV)/.dev  ## a consumer's RSS without storage for MINUTES, and with 64 partitions of 900 KB events; also OUT=file
	@$(BIN)/python -m tests.torture.memory --minutes $(MINUTES) $(if $(OUT),--out $(OUT))

bench: $(VENV)/.dev  ## landing speed beside consume() alone, a bare loop and every peer found; 15 minutes
	@$(BIN)/python -m benchmarks.landing

bench-http: $(VENV)/.dev  ## the front door beside plain FastAPI, raw ASGI and hello world, by wrk; 6 minutes
	@$(BIN)/python -m benchmarks.http

profile: $(VENV)/.dev  ## where landing's CPU time goes, by stage, thread and line
	@$(BIN)/python -m benchmarks.profile

SEEDS ?= 1000
simulate: $(VENV)/.dev  ## the real landing core in SEEDS simulated worlds: nothing lost, nothing twice
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS)

mutants: $(VENV)/.dev  ## every wrong protocol there is, and the seed that kills it
	@$(BIN)/python -m tests.simulation.registry

shapes: $(VENV)/.dev  ## whether a record costs the same in topics of every shape, and a quiet topic nothing; an hour
	@$(BIN)/python -m benchmarks.shapes

lint: $(VENV)/.dev  ## style, types, layers, contracts of the files
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-logo >/dev/null && echo "lint: passed"

airflow: $(AIRFLOW)/.ready  ## an environment with Airflow, and whether it takes our DAGs
	@$(AIRFLOW)/bin/python airflow/control_plane.py --home $(AIRFLOW)/home --dags

airflow-serve: $(AIRFLOW)/.ready  ## Airflow's UI and REST API with our DAGs, on 127.0.0.1, until Ctrl-C
	@$(AIRFLOW)/bin/python airflow/control_plane.py

test-airflow: $(VENV)/.dev $(AIRFLOW)/.ready  ## the DAGs on real Kafka and GCS API, then once through a whole Airflow
	@$(BIN)/python -m tests.services --kafka --gcs -- $(AIRFLOW)/bin/python -m pytest airflow/tests && echo "test-airflow: passed"

lock: $(VENV)/.dev  ## pin every dependency anew, with hashes
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --all-extras --group dev pyproject.toml -o requirements/dev.lock
	@$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --extra api --group demo -c requirements/dev.lock pyproject.toml -o requirements/demo.lock
	@$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --extra api --extra client --extra kafka --extra gcs --extra parquet --extra quality --group build -c requirements/dev.lock pyproject.toml -o requirements/image.lock
	@$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --extra kafka --extra gcs --extra parquet --extra quality --group airflow pyproject.toml -o requirements/airflow.lock
	@$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --extra kafka --extra gcs --extra parquet --extra quality --group airflow-test -c requirements/airflow.lock pyproject.toml -o requirements/airflow-test.lock
	@echo "lock: written"

clean:  ## remove environments, caches and the demo's folder
	@rm -rf $(VENV) .venv-* .streamlake .cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	@find . -name __pycache__ -prune -exec rm -rf {} +
	@echo "clean: done"

# The environment: what the demo needs is a part of what development needs, pinned to the same versions.

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "this Python has no venv module (on Debian: apt install python3-venv)"; exit 1; }

define install
	@echo "setting up $(VENV) ($(1)) ..."
	@$(PIP) install --require-hashes -r requirements/$(1).lock
	@$(PIP) install --require-hashes --no-deps --no-build-isolation -r requirements/flights.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@
endef

$(VENV)/.dev: $(BIN)/python requirements/dev.lock requirements/flights.txt pyproject.toml
	$(call install,dev)
	@touch $(VENV)/.demo

$(VENV)/.demo: $(BIN)/python requirements/demo.lock requirements/flights.txt pyproject.toml
	$(call install,demo)

# Airflow's own: it pins an older FastAPI than the API's.
$(AIRFLOW)/.ready: requirements/airflow-test.lock pyproject.toml
	@echo "setting up $(AIRFLOW) ..."
	@test -x $(AIRFLOW)/bin/python || $(PYTHON) -m venv $(AIRFLOW)
	@$(AIRFLOW)/bin/python -m pip --disable-pip-version-check --quiet --no-input install --require-hashes -r requirements/airflow-test.lock
	@$(AIRFLOW)/bin/python -m pip --disable-pip-version-check --quiet --no-input install --no-deps --no-build-isolation -e .
	@touch $@
