# `make demo` and `make test` work on a fresh machine with Python >= 3.11.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
# Test files are divided among as many processes as there are cores, up to four, in the
# order of tests/conftest.py.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-all smoke lint docs bench clean

# The newest CPython >= 3.12 that starts, from the PATH or from pyenv.
NEWER := $(firstword $(shell for p in python3.14 python3.13 python3.12 \
  $$(ls -d $$HOME/.pyenv/versions/3.1[2-9]*/bin/python 2>/dev/null | sort -rV); do \
  $$p -c 'import venv, ensurepip' 2>/dev/null && command -v $$p; done))

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check --editable '.[train]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(RUN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(RUN)/python -m experiments.demo --out out/demo

test: $(VENV)/.installed-dev
	$(RUN)/python -m pytest -m 'not slow' $(PARALLEL)

test-all: $(VENV)/.installed-dev
	$(RUN)/python -m pytest $(PARALLEL)

# Runs the tests marked `smoke` on a newer Python and hence a newer JAX, where there is one.
smoke:
ifeq ($(NEWER),)
	@echo 'smoke: skipped, since no Python >= 3.12 was found'
else
	test -f $(VENV)-newer/.installed || $(NEWER) -m venv $(VENV)-newer
	test -f $(VENV)-newer/.installed || $(VENV)-newer/bin/pip install --quiet \
	  --disable-pip-version-check --editable '.[dev]'
	touch $(VENV)-newer/.installed
	$(VENV)-newer/bin/python -m pytest -m smoke $(PARALLEL)
endif

lint: $(VENV)/.installed-dev
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/basedpyright --pythonpath $(RUN)/python
	@echo 'the longest functions (a report, no limit):'
	@$(RUN)/python -m tests.longest_functions 5

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --strict
	@echo 'out/site/index.html'

bench: $(VENV)/.installed-dev
	for name in affine_conv network rasterizer fit landmarks data; do \
	  $(RUN)/python -m experiments.benchmarks.$$name || exit 1; done

clean:
	rm -rf $(VENV) $(VENV)-newer .cache out
