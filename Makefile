# FaceOps. `make` lists the targets; each one does its own set-up on a fresh machine.

PYTHONS ?= python3.13 python3.12 python3.11 python3
PORT ?= 5000
WORKERS ?= 2
MLFLOW_PORT ?= 5000
PREFECT_PORT ?= 4200

export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Many containers set this; then each of the hundreds of commands of the tests compiles its code.
export PYTHONDONTWRITEBYTECODE :=
# Turns off the usage reports of the libraries.
QUIETLY := eval "$$(python -W ignore -m faceops.base.analytics)" &&
# uv shows its progress on a terminal only.
UV_INSTALL := uv pip install --python .venv/bin/python $$(test -t 2 || echo --quiet)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup weights demo repro mlflow up down check test container-test lint format lock sbom wheel clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' Makefile

# The first interpreter that runs, is new enough and can make environments. A name on the PATH may be
# a version manager's shim, or belong to an incomplete .venv.
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
	@# Bytecode of the core and torch; uv would compile 26,000 files, of which most are never used.
	@python -W ignore -c 'import faceops.identification.run, torch'
	@touch $@

setup: .venv/.installed ## Make .venv and install exactly what requirements.lock pins

weights: setup ## Fetch the outside weights of weights.toml and verify them
	@$(QUIETLY) faceops weights fetch

demo: setup ## Rebuild, release and identify on synthetic people, and print the figures
	@$(QUIETLY) python -m demo

repro: setup ## Run the stages that are out of date (on synthetic people if there is no data/)
	@test -d data || { $(QUIETLY) faceops data synthetic; }
	@$(QUIETLY) dvc repro

mlflow: setup ## Open MLflow on the local records: http://127.0.0.1:5000 (PORT=...)
	@$(QUIETLY) mlflow ui --backend-store-uri sqlite:///mlflow.db --port $(PORT)

# Both servers listen on this machine only, without authentication. Each leads a process group, so
# that it outlives the terminal and `make down` also ends its children. PID files, logs and Prefect's
# records are in .servers/; MLflow uses the same store as everything without a server.
SERVE := env -u MLFLOW_TRACKING_URI -u MLFLOW_RUN_ID -u PREFECT_API_URL \
  python -c 'import os, sys; os.setsid(); os.execvp(sys.argv[1], sys.argv[1:])'
LISTENS = python -c 'import socket; socket.create_connection(("127.0.0.1", $(1)), 1)' 2>/dev/null
ANSWERS = python -c 'import urllib.request as r; r.urlopen("$(1)", timeout=5)' 2>/dev/null
# A PID file that outlived a reboot may name a stranger: the command line must be the server's.
RUNS = ps -o args= -p "$$(cat .servers/$(1).pid 2>/dev/null || echo 0)" 2>/dev/null | grep -q $(1)

# $(call start,NAME,PORT,PORT VARIABLE,COMMAND)
define start
	@mkdir -p .servers; if $(call RUNS,$(1)); then exit 0; fi; \
	if $(call LISTENS,$(2)); then \
	  echo "port $(2) is in use; choose another: $(3)=PORT make up" >&2; exit 1; fi; \
	$(QUIETLY) { $(SERVE) $(4) >.servers/$(1).log 2>&1 & echo $$! >.servers/$(1).pid; }
endef

# $(call ready,NAME,HEALTH ADDRESS)
define ready
	@for second in $$(seq 240); do \
	  if ! $(call RUNS,$(1)); then break; fi; \
	  if $(call ANSWERS,$(2)); then exit 0; fi; sleep 1; \
	done; echo "$(1) did not start; see .servers/$(1).log" >&2; exit 1
endef

# $(call stop,NAME)
define stop
	@if $(call RUNS,$(1)); then pid=$$(cat .servers/$(1).pid); kill -s TERM -- -$$pid; \
	  for second in $$(seq 20); do kill -s 0 -- -$$pid 2>/dev/null || break; sleep 1; done; \
	  kill -s KILL -- -$$pid 2>/dev/null; echo "$(1) stopped"; \
	else echo "$(1) does not run"; fi; rm -f .servers/$(1).pid
endef

up: export MLFLOW_SERVER_ENABLE_JOB_EXECUTION = false
up: export PREFECT_HOME ?= $(CURDIR)/.servers/prefect
up: export PREFECT_SERVER_UI_API_URL = http://127.0.0.1:$(PREFECT_PORT)/api
up: export PREFECT_UI_URL = http://127.0.0.1:$(PREFECT_PORT)
up: setup ## Start an MLflow and a Prefect server here (MLFLOW_PORT=5000 PREFECT_PORT=4200)
	$(call start,mlflow,$(MLFLOW_PORT),MLFLOW_PORT,mlflow server --port $(MLFLOW_PORT) --workers 1 \
	  --backend-store-uri sqlite:///$(CURDIR)/mlflow.db \
	  --default-artifact-root file://$(CURDIR)/mlartifacts \
	  --artifacts-destination file://$(CURDIR)/mlartifacts)
	$(call start,prefect,$(PREFECT_PORT),PREFECT_PORT,prefect server start --port $(PREFECT_PORT))
	$(call ready,mlflow,http://127.0.0.1:$(MLFLOW_PORT)/health)
	$(call ready,prefect,http://127.0.0.1:$(PREFECT_PORT)/api/health)
	@echo "MLflow and Prefect run. To use them from a shell, and to deploy prefect.yaml:"
	@echo "  export MLFLOW_TRACKING_URI=http://127.0.0.1:$(MLFLOW_PORT)"
	@echo "  export PREFECT_API_URL=http://127.0.0.1:$(PREFECT_PORT)/api"
	@echo '  eval "$$(python -W ignore -m faceops.base.analytics)"'
	@echo "  prefect work-pool create faceops --type process"
	@echo "  prefect --no-prompt deploy --all"
	@echo "  prefect worker start --pool faceops"

down: ## Stop the two servers that `make up` started
	$(call stop,mlflow)
	$(call stop,prefect)

check: lint ## Check style and types, then run the fast tests: 90 seconds on two cores
	@$(QUIETLY) OMP_NUM_THREADS=1 pytest -n $(WORKERS) --dist loadfile \
	  -m "not slow and not lfw and not browser"

# One thread a worker: the workers share the cores.
test: lint ## Check style and types, then run all tests, WORKERS=2 at a time
	@$(QUIETLY) OMP_NUM_THREADS=1 pytest -n $(WORKERS) --dist loadgroup

container-test: setup ## Build the images and run them: LFW=DIR
	@$(QUIETLY) python -m benchmarks.containers --lfw "$(LFW)"

lint: setup ## Check style and types
	@ruff check .
	@ruff format --check --quiet . || { ruff format --diff --quiet .; exit 1; }
	@mypy

format: setup ## Format the code
	@ruff check --fix --quiet .
	@ruff format .

# Into a new file: uv keeps the versions that it finds in an existing one.
lock: .venv/.tools ## Resolve the newest versions and pin them in requirements.lock
	@rm -f requirements.lock.new
	@uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
	  --no-header --no-emit-index-url --no-annotate --all-extras pyproject.toml \
	  -o requirements.lock.new >/dev/null
	@mv requirements.lock.new requirements.lock
	@echo "requirements.lock pins $$(wc -l < requirements.lock | tr -d ' ') packages"

sbom: setup ## Write build/sbom.cdx.json: locked packages and weights, as CycloneDX
	@$(QUIETLY) python -m sbom

wheel: .venv/.tools ## Build wheel and source distribution into dist/
	@uv build --quiet && ls dist/faceops-*

clean: ## Remove build/, dist/ and caches, but no data or records
	@rm -rf build dist .pytest_cache .ruff_cache .mypy_cache dvc_plots
	@find src tests flows -name __pycache__ -type d -prune -exec rm -rf {} +
