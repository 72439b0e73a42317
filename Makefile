# `make demo` and `make test` need Python >= 3.11 and make, nothing else: the first call makes .venv and installs into it.
#
#   make EXTRAS=cuda13 demo        on an NVIDIA GPU (EXTRAS=tpu on a TPU)
#   make PYTHON=python3.13 test    with a Python of your choice, for the first call

.DEFAULT_GOAL := help
.PHONY: help setup demo docs language test test-slow lint format clean
SHELL := /bin/sh

PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3.12 python3.13 python3.14 python3.11 python3)
VENV ?= .venv
EXTRAS ?=
RESULTS ?= results
# Files go to workers whole, because module fixtures hold finished sweeps, in the order of tests/conftest.py; most of a
# test's time is compilation.
PYTEST_ARGS ?= --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# In the mode of users (no x64, no checked annotations): what kernels promise in any mode, and their examples.
USER_TESTS := tests/test_contract.py tests/test_contract_modes.py tests/test_inputs.py \
  $(filter-out w2s_jax/training.py w2s_jax/incontext%,$(wildcard w2s_jax/*.py))

RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed$(EXTRAS:%=-%)

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv and install everything into it

demo: $(STAMP) ## the quick risk sweep, its figures, and what they say (minutes on two cores)
	$(RUN) -m sims.risk_sweep --preset quick --out $(RESULTS)
	$(RUN) -m figures.make --results $(RESULTS) --out $(RESULTS)/figures
	$(RUN) -m sims.risk_sweep.headline $(RESULTS)/risk_sweep.zarr

docs: $(STAMP).docs ## the documentation site, tutorials run, in site/index.html (minutes on two cores)
	NO_MKDOCS_2_WARNING=1 $(RUN) -W ignore -m mkdocs build --strict --quiet
	@echo "site/index.html is built; its search needs a server: $(RUN) -m http.server --directory site"

language: $(STAMP) ## the alignment experiment on a real language model (downloads 98.4 MB once)
	$(RUN) -m sims.language --preset quick --out $(RESULTS)

test: $(STAMP) ## the fast test suite, and its leg in single precision
	$(RUN) -m pytest -m "not slow" $(PYTEST_ARGS)
	W2S_TESTS=user $(RUN) -m pytest -m "not slow" $(PYTEST_ARGS) $(USER_TESTS)

test-slow: $(STAMP) ## the slow tests
	$(RUN) -m pytest -m slow $(PYTEST_ARGS)

lint: $(STAMP) ## ruff (format and rules) and pyright
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m pyright --pythonpath $(RUN)

format: $(STAMP) ## let ruff rewrite the files
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

clean: ## remove the environments and all caches; results stay
	rm -rf $(VENV) .venv311 .cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first candidate that starts (a pyenv shim may exist and yet fail), is new enough and can make environments.
# An environment that works is kept: a change of pyproject.toml only installs what is new.
$(STAMP): pyproject.toml constraints.txt
	@set -e; \
	if ! $(RUN) -c 'import pip' >/dev/null 2>&1; then \
	  python=; without_venv=; \
	  for candidate in $(CANDIDATES); do \
	    $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	    if $$candidate -c 'import ensurepip, venv' >/dev/null 2>&1; then python=$$candidate; break; fi; \
	    without_venv="$${without_venv:-$$candidate}"; \
	  done; \
	  if [ -z "$$python" ] && [ -n "$$without_venv" ]; then \
	    version=$$($$without_venv -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    echo "$$without_venv cannot make virtual environments: install its venv module" \
	      "(Debian and Ubuntu: apt install python$$version-venv), or name another Python: make PYTHON=... setup" >&2; \
	    exit 1; \
	  elif [ -z "$$python" ]; then \
	    echo "w2s_jax needs Python >= 3.11 and none of these starts: $(CANDIDATES). Install one," \
	      "or name it: make PYTHON=path/to/python setup" >&2; \
	    exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$($$python --version) ($$python)"; \
	  $$python -m venv --clear $(VENV); \
	fi
	@echo "Installing w2s_jax and what it needs into $(VENV) (a minute or two the first time)"
	$(RUN) -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt -e ".[sims,tests$(EXTRAS:%=,%)]"
	$(RUN) -m compileall -qq -j 0 $(VENV)/lib || true  # once, where processes may not write byte code
	@touch $@

# What the site needs beside it.
$(STAMP).docs: $(STAMP)
	$(RUN) -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt -e ".[docs]"
	@touch $@
