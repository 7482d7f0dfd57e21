# make up: everything on this machine. make test: every check. Nothing but Python 3.11+ is needed beforehand.

.DEFAULT_GOAL := help
.PHONY: help bootstrap up up-engine down status test test-fast accept compile bench lint format lock

# The first Python 3.11 or newer wins; name another with PYTHON=/path/to/python. The distribution's own comes first, because it is
# built with profile-guided optimisation, and what version managers build usually is not: that costs the proxy a tenth to a third.
PYTHON ?=
PYTHONS := /usr/bin/python3.11 /usr/bin/python3.12 /usr/bin/python3.13 python3.11 python3.12 python3.13 python3 python
VENV := .venv/bin
ARGS ?=
WORKERS ?= 3

# Usual in containers, and right for a program that starts once. Here it would compile Django anew for every process.
unexport PYTHONDONTWRITEBYTECODE

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*##/  make \1\t/' | expand -t 22

bootstrap:  ## .venv from the lock file; nothing when it is current
	@for python in $(if $(PYTHON),$(PYTHON),$(PYTHONS)); do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then exec $$python deploy/bootstrap.py; fi; \
	done; \
	echo "No Python 3.11 or newer found. Install one (Debian 12: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python" >&2; exit 1

up: bootstrap  ## start everything; Ctrl-C stops it (options: make up ARGS="--web-port 9000 --proxies 2")
	@exec $(VENV)/python manage.py up $(ARGS)

up-engine: bootstrap  ## as up, and the built-in engine serves a tiny model with random weights (installs PyTorch: gigabytes, once)
	@$(VENV)/python deploy/engine.py
	@exec $(VENV)/python manage.py up --engine $(ARGS)

down:  ## stop what `make up` started
	@$(VENV)/python manage.py down $(ARGS)

status:  ## processes, ports, versions
	@$(VENV)/python manage.py status $(ARGS)

test: bootstrap  ## every check: lint, types, walls, tests on real Postgres, Redis and Chromium
	@deploy/chromium.sh
	@$(MAKE) --no-print-directory lint
	@BULKHEAD_LINTED=1 $(VENV)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

test-fast: bootstrap  ## the quick tests: no browser, no kills, nothing slow
	@$(VENV)/python -m pytest -n $(WORKERS) --dist loadgroup -m "not slow and not browser and not kill" $(ARGS)

accept: bootstrap  ## the long checks: everything at full scale, kills included, the proxies compiled where that can be
	-@$(VENV)/python deploy/compile.py
	-@$(VENV)/python deploy/clients.py
	-@$(VENV)/python deploy/engine.py
	@BULKHEAD_ACCEPT=1 $(VENV)/python -m pytest -n $(WORKERS) --dist loadgroup --timeout 1800 $(ARGS)

compile: bootstrap  ## the proxy's hot path as C extensions (optional; needs a C compiler): about a quarter less CPU a request
	@$(VENV)/python deploy/compile.py

bench: bootstrap  ## the proxy's CPU per request beside a bare uvicorn hello-world, in one run; compiled where that can be
	-@$(VENV)/python deploy/compile.py
	@$(VENV)/python -m tests.bench $(ARGS)

lint: bootstrap  ## ruff, mypy (strict where it matters), import walls
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check --quiet .
	@$(VENV)/mypy
	@$(VENV)/lint-imports --no-logo

format: bootstrap  ## ruff's fixes and format
	@$(VENV)/ruff check --fix .
	@$(VENV)/ruff format .

lock: bootstrap  ## resolve pyproject.toml anew into requirements.lock
	@cd "$(CURDIR)" && .venv/tools/bin/uv pip compile pyproject.toml --group dev --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 -o requirements.lock
	@cd "$(CURDIR)" && .venv/tools/bin/uv pip compile --group clients --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 -o deploy/clients.lock
	@cd "$(CURDIR)" && .venv/tools/bin/uv pip compile --group engine --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 -o deploy/engine.lock
