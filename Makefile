# `make help` lists what there is. Needs GNU make 4.3, Python 3.11 or 3.12 and no root.

PYTHON ?= $(if $(shell python3.11 --version 2>/dev/null),python3.11,python3)
VENV := .venv
BIN := $(VENV)/bin
# Stamps: what the lock names is there; what pyproject.toml says of ourselves is too.
LOCKED := $(VENV)/.locked
STAMP := $(VENV)/.installed
WORKERS ?= 2
BENCHES ?= fold packed freshness serving audience feast spark send_time worlds loop public cohorts

# `make demo DEMO_EXIT=1`, or the same from the environment.
export DEMO_EXIT

PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
# In a third of pip's time; pip where another index is set, which uv would not ask, or uv fails.
UV_INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python
UV_COMPILE := $(BIN)/uv pip compile pyproject.toml --generate-hashes --no-emit-index-url --no-header \
	--no-annotate --python-version 3.11 --quiet

.DEFAULT_GOAL := help
.PHONY: setup demo test test-long lint bench lock help
.SILENT:

help: ## list these targets
	sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' Makefile | expand -t 12

setup: $(STAMP) ## make .venv as requirements.lock has it; redone only when that or pyproject.toml changed

demo: setup ## run the product from end to end on simulated mail
	$(BIN)/opportune demo

test: lint ## the gate: lint, then all tests but the long ones
	echo "pytest, $(WORKERS) at a time"
	$(BIN)/python -m pytest --quiet -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-long: setup ## what takes half a minute or more of a core: pages, examples, Spark, images, kills
	$(BIN)/python -m pytest --quiet -m long

lint: setup ## style, format, types and who may import whom
	echo "ruff check"
	$(BIN)/ruff check --quiet .
	echo "ruff format --check"
	$(BIN)/ruff format --check --quiet .
	echo "mypy"
	$(BIN)/mypy
	echo "lint-imports"
	$(BIN)/lint-imports

bench: setup ## measure speed; nothing else should run on the machine
	for name in $(BENCHES); do \
		echo "python -m tests.benchmarks.bench_$$name"; \
		$(BIN)/python -m tests.benchmarks.bench_$$name || exit 1; \
	done

lock: ## resolve both locks anew
	test -x $(BIN)/uv || { echo "run make setup first: it installs uv" >&2; exit 1; }
	echo "requirements.lock"
	$(UV_COMPILE) --all-extras --group dev -o requirements.lock
	echo "requirements-serving.lock"
	$(UV_COMPILE) --extra serving --constraint requirements.lock -o requirements-serving.lock

$(LOCKED): requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null || { \
		echo "needs Python 3.11 or 3.12, but $(PYTHON) is: $$($(PYTHON) --version 2>&1 | head -n 1);" \
			"name another with make PYTHON=..." >&2; exit 1; }
	echo "making $(VENV) with $$($(PYTHON) --version)"
	$(PYTHON) -m venv --clear $(VENV)
	echo "installing requirements.lock (a minute or some)"
	awk '/^[a-z]/ { keep = /^uv==/ } keep' requirements.lock > $(VENV)/uv.lock
	$(PIP) install --require-hashes --no-deps --no-compile -r $(VENV)/uv.lock
	{ ! $(BIN)/python -m pip config list | grep -q '[.]index-url=' \
		&& $(UV_INSTALL) --require-hashes --no-deps -r requirements.lock; } \
		|| $(PIP) install --require-hashes --no-deps --no-compile -r requirements.lock
	$(VENV)/bin/python -m compileall -q -j 0 -x '[/_]tests?[/.]' $(VENV)/lib  # on all cores, as pip does not
	touch $@

$(STAMP): $(LOCKED) pyproject.toml
	echo "installing opportune from here"
	$(PIP) install --no-build-isolation --no-deps -e .
	$(PIP) check
	touch $@
