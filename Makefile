# `make demo` and `make test` do everything, set-up included.  `make help` lists the rest.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= runs/demo

.PHONY: help demo test lint types unit package tutorials clean

help:
	@echo "make demo     train on generated images, evaluate, leave pictures in $(DEMO)"
	@echo "make test     lint, types, tests, sdist and wheel, smoke test of the installed wheel"
	@echo "make tutorials   run the notebooks again and keep their outputs"
	@echo "make clean    remove environments and build results (never runs/)"

$(VENV)/python-is-new-enough:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "minimask needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	         "Choose one with: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/python-is-new-enough pyproject.toml setup.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

demo: $(VENV)/installed
	$(BIN)/minimask train --recipe demo --out $(DEMO)
	$(BIN)/minimask evaluate $(DEMO)

test: lint types unit package

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

unit: $(VENV)/installed-dev
	$(BIN)/python -m pytest --quiet --durations=15

package: $(VENV)/installed-dev
	$(BIN)/python tests/packaging/build_and_smoke.py

tutorials: $(VENV)/installed-dev
	$(BIN)/python tutorials/build.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
