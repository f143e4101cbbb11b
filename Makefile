# FaceOps. `make` says what there is; every target does its own set-up on a fresh machine.

PYTHONS ?= python3.13 python3.12 python3.11 python3
PORT ?= 5000
WORKERS ?= 2

export PATH := $(CURDIR)/.venv/bin:$(PATH)
# The switches that keep the libraries' analytics off have one place: faceops.base.analytics.
QUIETLY := eval "$$(python -W ignore -m faceops.base.analytics)" &&
# On a terminal uv shows what it does; in a log only what goes wrong. Compiled once, here: where
# PYTHONDONTWRITEBYTECODE is set, as in many containers, every start would compile torch again.
UV_INSTALL := uv pip install --compile-bytecode --python .venv/bin/python \
  $$(test -t 2 || echo --quiet)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup weights demo repro mlflow up down test lint format lock clean

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

# The first interpreter that runs, is new enough and can make environments: a name on the PATH
# alone proves nothing, it may be a version manager's stand-in, or belong to a half-made .venv.
FIND_PYTHON := import ensurepip, sys, venv; \
  sys.version_info < (3, 11) or print(getattr(sys, "_base_executable", sys.executable))

.venv/.tools:
	@for name in $(PYTHONS); do \
	  python=$$($$name -c '$(FIND_PYTHON)' 2>/dev/null); \
	  if [ -n "$$python" ]; then break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "FaceOps needs Python 3.11 or later with its venv module; none of these is: $(PYTHONS)." \
	    "Install one (on Debian also python3-venv) or name one: make PYTHONS=/path/to/python3" >&2; \
	  exit 1; \
	fi; \
	echo "making .venv with $$("$$python" --version)"; \
	"$$python" -m venv --clear .venv
	@uv --version >/dev/null 2>&1 || .venv/bin/python -m pip install -qq \
	  --disable-pip-version-check 'uv>=0.8,<1'
	@touch $@

.venv/.installed: .venv/.tools requirements.lock pyproject.toml
	@echo "installing $$(wc -l < requirements.lock | tr -d ' ') pinned packages into .venv (5 GB, mostly torch)"
	@$(UV_INSTALL) -r requirements.lock
	@$(UV_INSTALL) --no-deps -e .
	@touch $@

setup: .venv/.installed ## Make .venv and install exactly what requirements.lock pins

weights: setup ## Fetch the outside weights of weights.toml and verify them
	@$(QUIETLY) faceops weights fetch

demo: setup ## Rebuild, release and identify on people who do not exist, and show the result
	@$(QUIETLY) python -m demo

repro: setup ## Run the stages that are out of date (on synthetic people if there is no data/)
	@test -d data || { $(QUIETLY) faceops data synthetic; }
	@$(QUIETLY) dvc repro

mlflow: setup ## Open MLflow on the local records: http://127.0.0.1:5000 (PORT=...)
	@$(QUIETLY) mlflow ui --backend-store-uri sqlite:///mlflow.db --port $(PORT)

up: setup ## Start an MLflow and a Prefect server here (MLFLOW_PORT=5000 PREFECT_PORT=4200)
	@$(QUIETLY) python -m flows.servers up

down: setup ## Stop the two servers that `make up` started
	@$(QUIETLY) python -m flows.servers down

# A thread a worker: more would wait for each other on the cores that the workers share.
test: lint ## Check style and types, then run all tests, WORKERS=2 at a time
	@$(QUIETLY) OMP_NUM_THREADS=1 pytest -n $(WORKERS) --dist loadgroup

lint: setup ## Check style and types only
	@ruff check .
	@ruff format --check --quiet . || { ruff format --diff --quiet .; exit 1; }
	@mypy

format: setup ## Put the code into the one format
	@ruff check --fix --quiet .
	@ruff format .

# A new file, since uv keeps the versions that it finds in an old one.
lock: .venv/.tools ## Choose the newest versions anew and pin them in requirements.lock
	@rm -f requirements.lock.new
	@uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
	  --no-header --no-emit-index-url --no-annotate --all-extras pyproject.toml \
	  -o requirements.lock.new >/dev/null
	@mv requirements.lock.new requirements.lock
	@echo "requirements.lock pins $$(wc -l < requirements.lock | tr -d ' ') packages"

clean: ## Remove what can be computed again: build/ and caches, never data or records
	@rm -rf build .pytest_cache .ruff_cache .mypy_cache dvc_plots
	@find src tests flows demo -name __pycache__ -type d -prune -exec rm -rf {} +
