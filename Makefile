# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What an installed copy depends on: links are made file by file, so a new file needs a new installation.
SOURCES := pyproject.toml constraints.txt $(wildcard fusionseg/*.py fusionseg/cli/*.py models/*.py pipeline/*.py pipeline/*/* pipeline/*/templates/* flows/*.py profiles/* data_manifests/*)

.PHONY: demo test fast lint types docs clean

demo: $(VENV)/installed
	$(BIN)/fusionseg demo

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest

fast: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m "not real and not system"

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .

# From a folder without Python: in this one mypy would take fusionseg/ for the whole package.
types: $(VENV)/installed-dev
	cd docs && ../$(BIN)/mypy --config-file ../pyproject.toml -p fusionseg
	cd docs_site && ../$(BIN)/mypy --config-file ../pyproject.toml .

# Strict: links, anchors and pages left out are errors. Read build/site/index.html; the search works with `mkdocs serve`.
docs: $(VENV)/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "FusionSeg needs Python 3.11 or newer; try: make demo PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

# What follows from the graph is written too: deployments, the DAG in pipeline/__init__.py.
# "strict" links file by file, so that type checkers follow and the folders of the checkout keep their names.
$(VENV)/installed: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --config-settings editable_mode=strict -e .
	$(BIN)/python -m fusionseg.flows.derived
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --config-settings editable_mode=strict -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .venv-newest build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
