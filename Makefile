# `make demo` and `make test` work on a fresh machine with Python >= 3.11.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin

.PHONY: demo test test-all lint bench clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(RUN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(RUN)/python experiments/demo.py --out out/demo

test: $(VENV)/.installed-dev
	$(RUN)/python -m pytest -m 'not slow'

test-all: $(VENV)/.installed-dev
	$(RUN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/basedpyright

bench: $(VENV)/.installed-dev
	for f in experiments/bench_*.py; do $(RUN)/python $$f || exit 1; done

clean:
	rm -rf $(VENV) .cache out
