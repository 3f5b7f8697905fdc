# Everything sets itself up: a machine with Python >= 3.11 and make needs nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: setup check test coverage evidence load rivals soak switch killed fuzz fuzz-http bench bench-smoke demo demo-model clean
.DEFAULT_GOAL := demo

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "entrenous needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --package benches.evidence --package benches.load
	$(BIN)/lint-imports

test: $(STAMP)
	$(BIN)/pytest -n auto --dist worksteal

coverage: $(STAMP)
	$(BIN)/pytest -n auto --dist worksteal tests/unit -k "consent or dpo or audit or privacy" \
	  --cov=entrenous_consent --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100

evidence: $(STAMP)
	$(BIN)/python -m benches.evidence

load: $(STAMP)
	$(BIN)/python -m benches.load

# Environments of their own: what rivals need is no dependency of ours.
.rivals/%/.ready: benches/load/rivals/%.txt
	$(PYTHON) -m venv .rivals/$*
	.rivals/$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

rivals: $(STAMP) .rivals/fastapi/.ready .rivals/mlserver/.ready .rivals/bentoml/.ready
	$(BIN)/python -m benches.load.rivals

switch: $(STAMP)
	$(BIN)/python -m benches.load.switch

soak: $(STAMP)
	$(BIN)/python -m benches.load.soak

killed: $(STAMP)
	$(BIN)/python -m tests.e2e.killed_http "$$(mktemp -d)" 160 11 > docs/evidence/killed.txt

fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz.signals --out docs/evidence/fuzz.txt

fuzz-http: $(STAMP)
	$(BIN)/python -m tests.fuzz.openapi --out docs/evidence/openapi.txt

bench: $(STAMP)
	$(BIN)/pytest benches --benchmark-only --benchmark-disable-gc -p no:randomly

bench-smoke: $(STAMP)
	$(BIN)/pytest benches --benchmark-only --benchmark-disable-gc -p no:randomly \
	  --benchmark-min-rounds=1 --benchmark-max-time=0.05 --benchmark-warmup=off

demo: $(STAMP)
	$(BIN)/entrenous demo --out demo-out

demo-model: $(STAMP)
	$(BIN)/python -m entrenous_exporters.generated

clean:
	rm -rf $(VENV) demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks
