# make run    a server on the embedded default, in one command
# make test   everything: checks, then the whole suite, in JOBS processes (one more than two processors: tests wait a lot)
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
JOBS   ?= 3

.PHONY: run test check lock bench gate growth soak clean

run: $(VENV)/.run
	@$(BIN)/waybill serve $(ARGS)

test: check
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

check: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Waybill beside its peers, which are built below .bench/ when they are not there; ARGS=--quick for a minute.
bench: $(VENV)/.test
	$(BIN)/python -m bench.side_by_side $(ARGS)

# What a request costs, held to bench/ceilings.yaml; a part of the suite too.
gate: $(VENV)/.test
	$(BIN)/python -m bench.gate $(ARGS)

# How the cost of a request grows; ARGS=--quick for a minute. Fills a ledger of a million requests (5 GB) below $TMPDIR.
growth: $(VENV)/.test
	$(BIN)/python -m bench.growth --json docs/growth.json --svg docs/growth.svg $(ARGS)

# 10,000 requests of all kinds over half an hour, with faults; ARGS="--minutes 1 --requests 600" for a short one.
soak: $(VENV)/.test
	$(BIN)/python -m bench.soak $(ARGS)

# Writes the locks anew; needs uv.
lock:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes pyproject.toml requirements/build.in -o requirements/run.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --extra all pyproject.toml requirements/build.in -c requirements/run.lock -o requirements/image.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --extra all --group dev pyproject.toml requirements/build.in -o requirements/test.lock

# 1,000 clients, of whom a third leaves and comes back: each picture is bought once, and what was left is rescued.
.PHONY: crowd
crowd: $(VENV)/.test
	$(BIN)/python -m tests.flights.crowd $(ARGS)

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/pip:
	$(PYTHON) -c 'import sys; sys.exit("Waybill needs Python 3.11 or newer; this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25'

$(VENV)/.run: $(VENV)/bin/pip requirements/run.lock pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/run.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: $(VENV)/bin/pip requirements/test.lock pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/test.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.run
